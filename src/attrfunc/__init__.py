"""Feature attribution for PyTorch as pure functions on torch.func.

import attrfunc as af

af.ig(model, x, baseline=b, target=3)                    # at the input
af.ig(af.layer(model, "blocks.11"), x, target=3)         # at a layer
af.ig(af.neuron(model, "fc1", 7), x)                     # what drives a neuron
"""

from attrfunc import concepts, data, gates, influence, insights, metrics, robust, text, viz
from attrfunc.combined.ablation_cam import ablation_cam
from attrfunc.combined.eigen_cam import eigen_cam
from attrfunc.combined.extremal_perturbation import extremal_perturbation
from attrfunc.combined.fullgrad import full_gradients, fullgrad
from attrfunc.combined.guided_grad_cam import guided_grad_cam
from attrfunc.combined.score_cam import score_cam
from attrfunc.combined.xrai import xrai
from attrfunc.core.errors import ArgumentError, AttributionError, ModelError
from attrfunc.core.model.visible import operation
from attrfunc.core.score.activation import activation
from attrfunc.core.score.baseline import activation_baseline
from attrfunc.core.score.target import batch_score
from attrfunc.core.score.views import View, bind, layer, neuron
from attrfunc.diagnosis.examination import doctor
from attrfunc.diagnosis.report import Diagnosis
from attrfunc.gradient.blur_ig import blur_ig
from attrfunc.gradient.completeness import completeness_gap, score_change
from attrfunc.gradient.conductance import conductance
from attrfunc.gradient.grad_cam import grad_cam
from attrfunc.gradient.gradient_shap import gradient_shap, gradient_shap_gap
from attrfunc.gradient.guided_ig import guided_ig
from attrfunc.gradient.input_x_gradient import input_x_gradient
from attrfunc.gradient.integrated_gradients import ig, integrated_gradients
from attrfunc.gradient.integrated_hessians import integrated_hessians
from attrfunc.gradient.internal_influence import internal_influence
from attrfunc.gradient.neuron_conductance import neuron_conductance
from attrfunc.gradient.saliency import saliency
from attrfunc.gradient.sequential_ig import sequential_ig
from attrfunc.gradient.smooth import smooth
from attrfunc.gradient.temporal_ig import temporal_ig
from attrfunc.perturbation import masks, surrogates
from attrfunc.perturbation.banzhaf_values import banzhaf_values
from attrfunc.perturbation.dataset_ablation import dataset_ablation
from attrfunc.perturbation.feature_ablation import feature_ablation
from attrfunc.perturbation.feature_permutation import feature_permutation
from attrfunc.perturbation.gaussian_process_shap import gaussian_process_shap
from attrfunc.perturbation.in_silico_mutagenesis import hypothetical_attributions, in_silico_mutagenesis
from attrfunc.perturbation.kernel_shap import kernel_shap
from attrfunc.perturbation.lime import lime
from attrfunc.perturbation.local_surrogate import local_surrogate
from attrfunc.perturbation.occlusion import occlusion
from attrfunc.perturbation.owen_values import owen_values
from attrfunc.perturbation.rise import rise
from attrfunc.perturbation.shapley_interactions import shapley_interactions
from attrfunc.perturbation.shapley_sampling import shapley_sampling, shapley_sampling_error
from attrfunc.perturbation.shapley_values import shapley_values
from attrfunc.propagation import rules
from attrfunc.propagation.deconvolution import deconvolution
from attrfunc.propagation.deep_lift import deep_lift
from attrfunc.propagation.deep_lift_shap import deep_lift_shap
from attrfunc.propagation.guided_backprop import guided_backprop
from attrfunc.propagation.lrp import lrp, relevance_gap
from attrfunc.propagation.reveal_cancel import REVEAL_CANCEL

__version__ = "0.1.0"

__all__ = [
    "REVEAL_CANCEL",
    "ArgumentError",
    "AttributionError",
    "Diagnosis",
    "ModelError",
    "View",
    "ablation_cam",
    "activation",
    "activation_baseline",
    "banzhaf_values",
    "batch_score",
    "bind",
    "blur_ig",
    "completeness_gap",
    "concepts",
    "conductance",
    "data",
    "dataset_ablation",
    "deconvolution",
    "deep_lift",
    "deep_lift_shap",
    "doctor",
    "eigen_cam",
    "extremal_perturbation",
    "feature_ablation",
    "feature_permutation",
    "full_gradients",
    "fullgrad",
    "gates",
    "gaussian_process_shap",
    "grad_cam",
    "gradient_shap",
    "gradient_shap_gap",
    "guided_backprop",
    "guided_grad_cam",
    "guided_ig",
    "hypothetical_attributions",
    "ig",
    "in_silico_mutagenesis",
    "influence",
    "input_x_gradient",
    "insights",
    "integrated_gradients",
    "integrated_hessians",
    "internal_influence",
    "kernel_shap",
    "layer",
    "lime",
    "local_surrogate",
    "lrp",
    "masks",
    "metrics",
    "neuron",
    "neuron_conductance",
    "occlusion",
    "operation",
    "owen_values",
    "relevance_gap",
    "rise",
    "robust",
    "rules",
    "saliency",
    "score_cam",
    "score_change",
    "sequential_ig",
    "shapley_interactions",
    "shapley_sampling",
    "shapley_sampling_error",
    "shapley_values",
    "smooth",
    "surrogates",
    "temporal_ig",
    "text",
    "viz",
    "xrai",
]
