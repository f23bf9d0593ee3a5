"""The classes that take one gradient or none, plain or guided: at the input, at layers, and of a neuron."""

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
    "Deconvolution", "GuidedBackprop", "GuidedGradCam", "InputXGradient", "LayerActivation", "LayerGradCam",
    "LayerGradientXActivation", "NeuronDeconvolution", "NeuronGradient", "NeuronGuidedBackprop", "Saliency",
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
    method = af.input_x_gradient if multiply_by_inputs else functools.partial(af.saliency, absolute=False)
    return method(view, inputs, **options)


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


def _through_relu(model: Any, inputs: Inputs, *, explainer: ModifiedReluGradientAttribution, **options: Any) -> Any:
    return (af.deconvolution if explainer.use_relu_grad_output else af.guided_backprop)(model, inputs, **options)


class ModifiedReluGradientAttribution(NoFuture, GradientAttribution):
    """Base of the classes that change what goes back through ReLU."""

    use_relu_grad_output = False

    @holding
    def __init__(self, model: Forward, use_relu_grad_output: bool = False) -> None: ...

    @face(_through_relu)
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None) -> Any: ...


class GuidedBackprop(ModifiedReluGradientAttribution):
    """Guided backpropagation; see `attrfunc.guided_backprop`."""

    _differs: tuple[str, ...] = (
        "It changes, as `Deconvolution` does, what goes back through ReLU in whatever form a model writes it, and"
        " through its relatives (`attrfunc.propagation.rectifiers`), and takes any callable. Captum changes "
        "`nn.ReLU` modules alone: with `F.relu` or GELU it gives the plain gradient.",
    )

    @holding
    def __init__(self, model: Forward) -> None: ...


class Deconvolution(ModifiedReluGradientAttribution):
    """Deconvolution; see `attrfunc.deconvolution`."""

    use_relu_grad_output = True

    @holding
    def __init__(self, model: Forward) -> None: ...


class _NeuronOfModel(NeuronAttribution, GradientAttribution):
    """Base of the classes whose first argument is `model`."""

    @holding
    def __init__(self, model: Forward, layer: Any, device_ids: list[int] | None = None) -> None: ...


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


class GuidedGradCam(GradientAttribution):
    """Guided Grad-CAM, the product of both; see `attrfunc.guided_grad_cam`."""

    _differs: tuple[str, ...] = (
        "It raises where the map does not fit a single input. Beside others it warns, and gives an empty tensor, "
        "as Captum does. An `interpolate_mode` that does not exist raises; Captum gives empty tensors for it.",
    )

    @holding
    def __init__(self, model: Forward, layer: Any, device_ids: list[int] | None = None) -> None: ...

    def _checked(self) -> None:
        self.device_ids = None  # as in Captum

    @face(functools.partial(af.guided_grad_cam, strict=False), at="inside")
    def attribute(
        self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None,
        interpolate_mode: str = "nearest", attribute_to_layer_input: bool = False,
    ) -> Any: ...  # fmt: skip
