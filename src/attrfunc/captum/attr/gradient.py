"""The classes that take one gradient or none: at the input, at layers, and of a neuron."""

from __future__ import annotations

import functools
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

import attrfunc as af
from attrfunc.captum.attr.attribution import GradientAttribution, LayerAttribution, NeuronAttribution
from attrfunc.captum.explainers import NoFuture, ScaledInside, holding
from attrfunc.captum.faces import face
from attrfunc.captum.forms import Forward, Inputs, Layers, Options, Selector, Target

__all__ = [
    "InputXGradient", "LayerActivation", "LayerGradCam", "LayerGradientXActivation", "NeuronGradient", "Saliency",
]  # fmt: skip


class Saliency(NoFuture, GradientAttribution):
    """The gradient, or its absolute value; see `attrfunc.saliency`."""

    @face(af.saliency)
    def attribute(
        self, inputs: Inputs, target: Target = None, abs: bool = True, additional_forward_args: Any = None  # noqa: A002
    ) -> Any: ...  # fmt: skip


class InputXGradient(NoFuture, GradientAttribution):
    """Input times gradient; see `attrfunc.input_x_gradient`."""

    _multiply_by_inputs = True

    @face(af.input_x_gradient)
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None) -> Any: ...


class NeuronGradient(NeuronAttribution, GradientAttribution):
    """The signed gradient of a neuron; see `attrfunc.saliency` and `attrfunc.neuron`."""

    @face(functools.partial(af.saliency, absolute=False), at="neuron")
    def attribute(
        self, inputs: Inputs, neuron_selector: Selector, additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
    ) -> Any: ...  # fmt: skip


class LayerActivation(LayerAttribution):
    """A layer's activation; see `attrfunc.activation`."""

    _multiply_by_inputs = True

    @face(af.activation, at="layer")
    def attribute(
        self, inputs: Inputs, additional_forward_args: Any = None, attribute_to_layer_input: bool = False
    ) -> Any: ...


class LayerGradCam(LayerAttribution, GradientAttribution):
    """Grad-CAM; see `attrfunc.grad_cam`."""

    @face(af.grad_cam, at="inside")
    def attribute(
        self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None,
        attribute_to_layer_input: bool = False, relu_attributions: bool = False, attr_dim_summation: bool = True,
        grad_kwargs: Options = None,
    ) -> Any: ...  # fmt: skip


def _gradient_x_activation(view: af.View, inputs: Inputs, *, multiply_by_inputs: bool, **options: Any) -> Any:
    if multiply_by_inputs:
        return af.input_x_gradient(view, inputs, **options)
    return af.saliency(view, inputs, absolute=False, **options)


class LayerGradientXActivation(ScaledInside, LayerAttribution, GradientAttribution):
    """A layer's activation times the gradient there; of a list, each by itself. See `attrfunc.input_x_gradient`."""

    @holding
    def __init__(
        self, forward_func: Forward, layer: Layers, device_ids: list[int] | None = None,
        multiply_by_inputs: bool = True, memory_efficient: bool = False,
    ) -> None: ...  # fmt: skip

    _memory_efficient: bool

    @face(_gradient_x_activation, at="layer")
    def attribute(
        self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None,
        attribute_to_layer_input: bool = False, grad_kwargs: Options = None,
    ) -> Any: ...  # fmt: skip

    def _mirrored(self, result: Any) -> Any:
        result = pytree.tree_map_only(Tensor, Tensor.cpu, result) if self._memory_efficient else result
        return super()._mirrored(result)
