"""Guided backpropagation and deconvolution, at the input and for a neuron, and guided Grad-CAM."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import attrfunc as af
from attrfunc.captum.attr.attribution import GradientAttribution, NeuronAttribution, NoFuture
from attrfunc.captum.convert import only
from attrfunc.captum.faces import face
from attrfunc.captum.forms import Forward, Inputs, Selector, Target
from attrfunc.core.errors import warn

__all__ = ["Deconvolution", "GuidedBackprop", "GuidedGradCam", "NeuronDeconvolution", "NeuronGuidedBackprop"]


def _through_relu(model: Any, inputs: Inputs, *, explainer: ModifiedReluGradientAttribution, **options: Any) -> Any:
    return (af.deconvolution if explainer.use_relu_grad_output else af.guided_backprop)(model, inputs, **options)


class ModifiedReluGradientAttribution(NoFuture, GradientAttribution):
    """Base of the classes that change what goes back through ReLU."""

    def __init__(self, model: Forward, use_relu_grad_output: bool = False) -> None:
        super().__init__(model)
        self.model = model
        self.use_relu_grad_output = use_relu_grad_output

    @face(_through_relu)
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None) -> Any: ...


class GuidedBackprop(ModifiedReluGradientAttribution):
    """Guided backpropagation; see `attrfunc.guided_backprop`."""

    _differs: tuple[str, ...] = (
        "It changes, as `Deconvolution` does, what goes back through ReLU in whatever form a model writes it, and"
        " through its relatives (`attrfunc.propagation.rectifiers`), and takes any callable. Captum changes "
        "`nn.ReLU` modules alone: with `F.relu` or GELU it gives the plain gradient.",
    )

    def __init__(self, model: Forward) -> None:
        super().__init__(model)


class Deconvolution(ModifiedReluGradientAttribution):
    """Deconvolution; see `attrfunc.deconvolution`."""

    def __init__(self, model: Forward) -> None:
        super().__init__(model, use_relu_grad_output=True)


class _NeuronOfModel(NeuronAttribution, GradientAttribution):
    """Base of the classes whose first argument is `model`."""

    def __init__(self, model: Forward, layer: Any, device_ids: list[int] | None = None) -> None:
        super().__init__(model, layer, device_ids)


class NeuronGuidedBackprop(_NeuronOfModel):
    """Guided backpropagation of a neuron; see `attrfunc.guided_backprop` and `attrfunc.neuron`."""

    @face(af.guided_backprop, at="neuron")
    def attribute(
        self, inputs: Inputs, neuron_selector: Selector, additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
    ) -> Any: ...  # fmt: skip


class NeuronDeconvolution(_NeuronOfModel):
    """Deconvolution of a neuron; see `attrfunc.deconvolution` and `attrfunc.neuron`."""

    @face(af.deconvolution, at="neuron")
    def attribute(
        self, inputs: Inputs, neuron_selector: Selector, additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
    ) -> Any: ...  # fmt: skip


def _guided_grad_cam(
    model: Any, inputs: Inputs, *, explainer: GuidedGradCam, side: Any, interpolate_mode: str, **score: Any
) -> Any:
    where: dict[str, Any] = {"layer": explainer.layer, "side": side}
    if not isinstance(inputs, tuple) or len(inputs) == 1:
        return af.guided_grad_cam(model, inputs, interpolate_mode=interpolate_mode, **where, **score)
    heat = only(af.grad_cam(model, inputs, relu=True, **where, **score))
    return tuple(_over(heat, detail, interpolate_mode) for detail in af.guided_backprop(model, inputs, **score))


def _over(heat: Tensor, detail: Tensor, mode: str) -> Tensor:
    """A map over what goes back to one of several inputs; nothing where it does not fit, as in Captum."""
    if detail.dim() != heat.dim() or detail.dim() < 3:
        fit = f"the map {tuple(heat.shape)} does not fit the input {tuple(detail.shape)}"
        warn(f"GuidedGradCam.attribute: {fit}, which gets an empty tensor.")
        return torch.empty(0)
    return detail * af.viz.interpolate(heat, detail.shape[2:], mode=mode)


class GuidedGradCam(GradientAttribution):
    """Guided Grad-CAM, the product of both; see `attrfunc.guided_grad_cam`."""

    _differs: tuple[str, ...] = (
        "It raises where the map does not fit a single input. Beside others it warns, and gives an empty tensor, "
        "as Captum does. An `interpolate_mode` that does not exist raises; Captum gives empty tensors for it.",
    )

    def __init__(self, model: Forward, layer: Any, device_ids: list[int] | None = None) -> None:
        super().__init__(model)
        self.layer = layer

    @face(_guided_grad_cam)
    def attribute(
        self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None,
        interpolate_mode: str = "nearest", attribute_to_layer_input: bool = False,
    ) -> Any: ...  # fmt: skip
