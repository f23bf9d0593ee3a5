"""Guided backpropagation and deconvolution, at the input and for a neuron, and guided Grad-CAM."""

from __future__ import annotations

import functools
from typing import Any

import attrfunc as af
from attrfunc.captum.attr.attribution import GradientAttribution, NeuronAttribution
from attrfunc.captum.explainers import NoFuture, holding
from attrfunc.captum.faces import face
from attrfunc.captum.forms import Forward, Inputs, Selector, Target

__all__ = ["Deconvolution", "GuidedBackprop", "GuidedGradCam", "NeuronDeconvolution", "NeuronGuidedBackprop"]


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
