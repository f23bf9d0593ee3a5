"""Guided backpropagation and deconvolution, at the input and for a neuron, and guided Grad-CAM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

import attrfunc as af
from attrfunc.captum.attr.attribution import GradientAttribution, NeuronAttribution, NoFuture
from attrfunc.captum.attr.convert import Inputs, as_args, captum_call, side
from attrfunc.captum.attr.neuron import Selector
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

    def __init__(self, model: Callable[..., Any]) -> None:
        super().__init__(model)


class Deconvolution(ModifiedReluGradientAttribution):
    """Deconvolution; see `attrfunc.deconvolution`.

    Args:
        model: The model; any callable will do.
    """

    def __init__(self, model: Callable[..., Any]) -> None:
        super().__init__(model, use_relu_grad_output=True)


class NeuronGuidedBackprop(NeuronAttribution, GradientAttribution):
    """Guided backpropagation of a neuron; see `attrfunc.guided_backprop` and `attrfunc.neuron`.

    Args:
        model: The model, or a callable that runs the layer.
        layer: The neuron's layer.
        device_ids: Kept, without effect.
    """

    def __init__(self, model: Callable[..., Any], layer: nn.Module, device_ids: list[int] | None = None) -> None:
        super().__init__(model, layer, device_ids)

    @captum_call
    def attribute(
        self,
        inputs: Inputs,
        neuron_selector: Selector,
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
    ) -> Any:
        """What goes back to the inputs, a tensor or a tuple as `inputs` is."""
        view = self._view(neuron_selector, attribute_to_neuron_input)
        return af.guided_backprop(view, inputs, args=as_args(additional_forward_args))


class NeuronDeconvolution(NeuronAttribution, GradientAttribution):
    """Deconvolution of a neuron; see `attrfunc.deconvolution` and `attrfunc.neuron`.

    Args:
        model: The model, or a callable that runs the layer.
        layer: The neuron's layer.
        device_ids: Kept, without effect.
    """

    def __init__(self, model: Callable[..., Any], layer: nn.Module, device_ids: list[int] | None = None) -> None:
        super().__init__(model, layer, device_ids)

    @captum_call
    def attribute(
        self,
        inputs: Inputs,
        neuron_selector: Selector,
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
    ) -> Any:
        """What goes back to the inputs, a tensor or a tuple as `inputs` is."""
        view = self._view(neuron_selector, attribute_to_neuron_input)
        return af.deconvolution(view, inputs, args=as_args(additional_forward_args))


class GuidedGradCam(GradientAttribution):
    """Guided Grad-CAM; see `attrfunc.guided_grad_cam`.

    Args:
        model: The model, or a callable that runs the layer.
        layer: The layer of the map.
        device_ids: Accepted, without effect.
    """

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
        return af.guided_grad_cam(
            self.forward_func,
            inputs,
            layer=self.layer,
            target=target,
            interpolate_mode=interpolate_mode,
            args=as_args(additional_forward_args),
            side=side(attribute_to_layer_input),
        )
