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
from attrfunc.perturbation.banzhaf_values import banzhaf_values
from attrfunc.perturbation.feature_ablation import feature_ablation
from attrfunc.perturbation.feature_groups import number_groups
from attrfunc.perturbation.feature_masks import grid_mask, superpixels
from attrfunc.perturbation.feature_permutation import feature_permutation
from attrfunc.perturbation.gaussian_process_shap import gaussian_process_shap
from attrfunc.perturbation.kernel_shap import kernel_shap
from attrfunc.perturbation.occlusion import occlusion
from attrfunc.perturbation.owen_values import owen_values
from attrfunc.perturbation.shapley_interactions import shapley_interactions
from attrfunc.perturbation.shapley_sampling import shapley_sampling, shapley_sampling_error
from attrfunc.perturbation.shapley_values import shapley_values

__all__ = [
    "ArgumentError",
    "AttributionError",
    "ModelError",
    "View",
    "activation",
    "activation_baseline",
    "banzhaf_values",
    "batch_score",
    "bind",
    "completeness_gap",
    "conductance",
    "feature_ablation",
    "feature_permutation",
    "gaussian_process_shap",
    "grad_cam",
    "gradient_shap",
    "gradient_shap_gap",
    "grid_mask",
    "ig",
    "input_x_gradient",
    "integrated_gradients",
    "internal_influence",
    "interpolate",
    "kernel_shap",
    "layer",
    "neuron",
    "neuron_conductance",
    "number_groups",
    "occlusion",
    "owen_values",
    "saliency",
    "score_change",
    "shapley_interactions",
    "shapley_sampling",
    "shapley_sampling_error",
    "shapley_values",
    "smooth",
    "superpixels",
    "tokens_to_grid",
]
