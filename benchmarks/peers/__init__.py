"""Every method, in the three ways."""

import warnings

from benchmarks.peers.deep_lift import DEEP_LIFT, DEEP_LIFT_SHAP, HYPOTHETICAL
from benchmarks.peers.gradients import GRAD_CAM, IG, SALIENCY
from benchmarks.peers.guided import DECONVOLUTION, GUIDED_BACKPROP, GUIDED_GRAD_CAM
from benchmarks.peers.lime import lime
from benchmarks.peers.lrp import LRP_ALPHA_BETA, LRP_BOX, LRP_EPSILON, LRP_PLUS
from benchmarks.peers.paths import CONDUCTANCE, INTERNAL_INFLUENCE, NEURON_CONDUCTANCE
from benchmarks.peers.perturbation import ablation, occlusion
from benchmarks.peers.samples import GRADIENT_SHAP, SMOOTH_IG, SMOOTH_SALIENCY
from benchmarks.peers.shapley import exact_shapley, permutation_shapley
from benchmarks.peers.worth import INFIDELITY, PGD, SENSITIVITY_MAX

__all__ = [
    "CONDUCTANCE",
    "DECONVOLUTION",
    "DEEP_LIFT",
    "DEEP_LIFT_SHAP",
    "GRADIENT_SHAP",
    "GRAD_CAM",
    "GUIDED_BACKPROP",
    "GUIDED_GRAD_CAM",
    "HYPOTHETICAL",
    "IG",
    "INFIDELITY",
    "INTERNAL_INFLUENCE",
    "LRP_ALPHA_BETA",
    "LRP_BOX",
    "LRP_EPSILON",
    "LRP_PLUS",
    "NEURON_CONDUCTANCE",
    "PGD",
    "SALIENCY",
    "SENSITIVITY_MAX",
    "SMOOTH_IG",
    "SMOOTH_SALIENCY",
    "ablation",
    "exact_shapley",
    "lime",
    "occlusion",
    "permutation_shapley",
]

warnings.filterwarnings("ignore", "Setting forward, backward hooks", module="captum")
warnings.filterwarnings("ignore", "Input Tensor 0 did not already require gradients", module="captum")
warnings.filterwarnings("ignore", "Setting backward hooks on ReLU activations", module="captum")
warnings.filterwarnings("ignore", "This method computes finite differences", module="captum")
