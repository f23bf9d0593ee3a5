"""Feature attribution for PyTorch as pure functions on torch.func.

import attrfunc as af

af.ig(model, x, baseline=b, target=3)                    # at the input
af.ig(af.layer(model, "blocks.11"), x, target=3)         # at a layer
af.ig(af.neuron(model, "fc1", 7), x)                     # what drives a neuron
"""

from attrfunc.core.activation import activation
from attrfunc.core.baseline import activation_baseline
from attrfunc.core.errors import ArgumentError, AttributionError, ModelError
from attrfunc.core.target import batch_score
from attrfunc.core.views import View, bind, layer, neuron
from attrfunc.core.visible import operation
from attrfunc.gradient.completeness import completeness_gap, score_change
from attrfunc.gradient.conductance import conductance
from attrfunc.gradient.grad_cam import grad_cam
from attrfunc.gradient.gradient_shap import gradient_shap, gradient_shap_gap
from attrfunc.gradient.input_x_gradient import input_x_gradient
from attrfunc.gradient.integrated_gradients import ig, integrated_gradients
from attrfunc.gradient.internal_influence import internal_influence
from attrfunc.gradient.interpolate import interpolate
from attrfunc.gradient.neuron_conductance import neuron_conductance
from attrfunc.gradient.saliency import saliency
from attrfunc.gradient.smooth import smooth
from attrfunc.gradient.tokens_to_grid import tokens_to_grid
from attrfunc.perturbation.feature_ablation import feature_ablation
from attrfunc.perturbation.feature_groups import number_groups
from attrfunc.perturbation.feature_masks import grid_mask, superpixels
from attrfunc.perturbation.feature_permutation import feature_permutation
from attrfunc.perturbation.occlusion import occlusion
from attrfunc.propagation import rules
from attrfunc.propagation.deep_lift import deep_lift
from attrfunc.propagation.deep_lift_shap import deep_lift_shap
from attrfunc.propagation.lrp import lrp, relevance_gap
from attrfunc.propagation.operation import Operation
from attrfunc.propagation.reveal_cancel import REVEAL_CANCEL
from attrfunc.propagation.rule_book import Opened, RuleBook, natural

__all__ = [
    "REVEAL_CANCEL",
    "ArgumentError",
    "AttributionError",
    "ModelError",
    "Opened",
    "Operation",
    "RuleBook",
    "View",
    "activation",
    "activation_baseline",
    "batch_score",
    "bind",
    "completeness_gap",
    "conductance",
    "deep_lift",
    "deep_lift_shap",
    "feature_ablation",
    "feature_permutation",
    "grad_cam",
    "gradient_shap",
    "gradient_shap_gap",
    "grid_mask",
    "ig",
    "input_x_gradient",
    "integrated_gradients",
    "internal_influence",
    "interpolate",
    "layer",
    "lrp",
    "natural",
    "neuron",
    "neuron_conductance",
    "number_groups",
    "occlusion",
    "operation",
    "relevance_gap",
    "rules",
    "saliency",
    "score_change",
    "smooth",
    "superpixels",
    "tokens_to_grid",
]
