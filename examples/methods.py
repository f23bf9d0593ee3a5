"""The methods of the demo, and how what they find is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import by_gradient as gradient
import by_perturbation as perturbation
from case import Case, Finding


@dataclass(frozen=True)
class Method:
    """A method, and how its values are shown.

    Attributes:
        title: Its name.
        run: Applies it.
        unit: The unit of its values, if they have any.
        signed: Whether what speaks for and what speaks against is told apart; otherwise only the size is shown.
        blocky: Whether a value belongs to a whole patch or window, so that the map is shown as it is.
    """

    title: str
    run: Callable[[Case], Finding]
    unit: str = "nats per pixel"
    signed: bool = True
    blocky: bool = False

    @property
    def key(self) -> str:
        """The name in file names."""
        return "-".join(self.title.split(" (")[0].lower().split())


PER_POSITION, SLOPE = {"unit": "nats per position"}, {"unit": "nats per unit", "signed": False}
PER_PATCH = {"unit": "nats per patch", "blocky": True}
WITHOUT_UNIT = {"unit": "", "signed": False}

METHODS = (
    Method("saliency", gradient.saliency, **SLOPE),
    Method("SmoothGrad", gradient.smooth_grad, **SLOPE),
    Method("input x gradient", gradient.input_x_gradient),
    Method("integrated gradients", gradient.integrated_gradients),
    Method("expected gradients", gradient.expected_gradients),
    Method("IG of a neuron (framed)", gradient.neuron, "per pixel"),
    Method("DeepLIFT", gradient.deep_lift),
    Method("DeepLIFT SHAP", gradient.deep_lift_shap),
    Method("LRP", gradient.lrp, "logits per pixel"),
    Method("guided backpropagation", gradient.guided_backprop, **WITHOUT_UNIT),
    Method("deconvolution", gradient.deconvolution, **WITHOUT_UNIT),
    Method("guided Grad-CAM", gradient.guided_grad_cam, **WITHOUT_UNIT),
    Method("Grad-CAM", gradient.grad_cam, **PER_POSITION),
    Method("Layer-CAM", gradient.layer_cam, **PER_POSITION),
    Method("IG at block 11", gradient.layer_ig, **PER_POSITION),
    Method("IG at the last block", gradient.last_layer_ig, **PER_POSITION),
    Method("conductance", gradient.conductance, **PER_POSITION),
    Method("internal influence", gradient.internal_influence, "nats per unit", signed=False),
    Method("occlusion", perturbation.occlusion, "nats per window", blocky=True),
    Method("feature ablation", perturbation.feature_ablation, **PER_PATCH),
    Method("LIME", perturbation.lime, **PER_PATCH),
    Method("Banzhaf values", perturbation.banzhaf_values, **PER_PATCH),
    Method("Shapley values", perturbation.shapley_values, **PER_PATCH),
    Method("kernel SHAP", perturbation.kernel_shap, **PER_PATCH),
    Method("Gaussian process SHAP", perturbation.gaussian_process_shap, **PER_PATCH),
)
