"""Guided backpropagation and deconvolution, at the input and for a neuron, and guided Grad-CAM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

import attrfunc as af
from attrfunc.captum.attr.attribution import GradientAttribution, NeuronAttribution, NoFuture
from attrfunc.captum.attr.convert import Inputs, as_args, captum_call, only, side
from attrfunc.captum.attr.faces import face
from attrfunc.captum.attr.neuron import Selector
from attrfunc.core.errors import warn
from attrfunc.core.score.target import Target

__all__ = [
    "Deconvolution",
    "GuidedBackprop",
    "GuidedGradCam",
    "ModifiedReluGradientAttribution",
    "NeuronDeconvolution",
    "NeuronGuidedBackprop",
]


class ModifiedReluGradientAttribution(NoFuture, GradientAttribution):
    """Base of the classes that change what goes back through ReLU.

    Args:
        model: The model; any callable will do.
        use_relu_grad_output: Deconvolution, not guided backpropagation.
    """

    def __init__(self, model: Callable[..., Any], use_relu_grad_output: bool = False) -> None:
        super().__init__(model)
        self.model = model
        self.use_relu_grad_output = use_relu_grad_output

    @captum_call
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None) -> Any:
        """What goes back to the inputs, a tensor or a tuple as `inputs` is."""
        function = af.deconvolution if self.use_relu_grad_output else af.guided_backprop
        return function(self.forward_func, inputs, target=target, args=as_args(additional_forward_args))


class GuidedBackprop(ModifiedReluGradientAttribution):
    """Guided backpropagation; see `attrfunc.guided_backprop`.

    Args:
        model: The model; any callable will do.
    """

    _differs: tuple[str, ...] = (
        "It changes, as `Deconvolution` does, what goes back through ReLU in whatever form a model writes it, and"
        " through its relatives (`attrfunc.propagation.rectifiers`), and takes any callable. Captum changes "
        "`nn.ReLU` modules alone: with `F.relu` or GELU it gives the plain gradient.",
    )

    def __init__(self, model: Callable[..., Any]) -> None:
        super().__init__(model)


class Deconvolution(ModifiedReluGradientAttribution):
    """Deconvolution; see `attrfunc.deconvolution`.

    Args:
        model: The model; any callable will do.
    """

    def __init__(self, model: Callable[..., Any]) -> None:
        super().__init__(model, use_relu_grad_output=True)


class _NeuronOfModel(NeuronAttribution, GradientAttribution):
    """Base of the classes whose first argument is `model`."""

    def __init__(self, model: Callable[..., Any], layer: nn.Module, device_ids: list[int] | None = None) -> None:
        super().__init__(model, layer, device_ids)


class NeuronGuidedBackprop(_NeuronOfModel):
    """Guided backpropagation of a neuron; see `attrfunc.guided_backprop` and `attrfunc.neuron`."""

    @face(af.guided_backprop, at="neuron")
    def attribute(
        self,
        inputs: Inputs,
        neuron_selector: Selector,
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
    ) -> Any:
        """What goes back to the inputs, a tensor or a tuple as `inputs` is."""


class NeuronDeconvolution(_NeuronOfModel):
    """Deconvolution of a neuron; see `attrfunc.deconvolution` and `attrfunc.neuron`."""

    @face(af.deconvolution, at="neuron")
    def attribute(
        self,
        inputs: Inputs,
        neuron_selector: Selector,
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
    ) -> Any:
        """What goes back to the inputs, a tensor or a tuple as `inputs` is."""


class GuidedGradCam(GradientAttribution):
    """Guided Grad-CAM; see `attrfunc.guided_grad_cam`.

    Args:
        model: The model, or a callable that runs the layer.
        layer: The layer of the map.
        device_ids: Accepted, without effect.
    """

    _differs: tuple[str, ...] = (
        "It raises where the map does not fit a single input. Beside others it warns, and gives an empty tensor, "
        "as Captum does.",
    )

    _names: ClassVar[dict[str, str]] = {"mode": "interpolate_mode"}

    def __init__(self, model: Callable[..., Any], layer: nn.Module, device_ids: list[int] | None = None) -> None:
        super().__init__(model)
        self.layer = layer

    @captum_call
    def attribute(
        self,
        inputs: Inputs,
        target: Target = None,
        additional_forward_args: Any = None,
        interpolate_mode: str = "nearest",
        attribute_to_layer_input: bool = False,
    ) -> Any:
        """The product at the inputs, a tensor or a tuple as `inputs` is."""
        options: dict[str, Any] = {"target": target, "args": as_args(additional_forward_args)}
        where: dict[str, Any] = {"layer": self.layer, "side": side(attribute_to_layer_input)}
        if not isinstance(inputs, tuple) or len(inputs) == 1:
            return af.guided_grad_cam(self.forward_func, inputs, interpolate_mode=interpolate_mode, **where, **options)
        heat = only(af.grad_cam(self.forward_func, inputs, relu=True, **where, **options))
        details = af.guided_backprop(self.forward_func, inputs, **options)
        return tuple(_over(heat, detail, interpolate_mode) for detail in details)


def _over(heat: Tensor, detail: Tensor, mode: str) -> Tensor:
    """A map over what goes back to one of several inputs; nothing where it does not fit, as in Captum."""
    if detail.dim() != heat.dim() or detail.dim() < 3:
        fit = f"the map {tuple(heat.shape)} does not fit the input {tuple(detail.shape)}"
        warn(f"GuidedGradCam.attribute: {fit}, which gets an empty tensor.")
        return torch.empty(0)
    resized: Tensor = af.viz.interpolate(heat, detail.shape[2:], mode=mode)
    return detail * resized
