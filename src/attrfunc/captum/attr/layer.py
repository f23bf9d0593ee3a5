"""The classes that attribute to layers.

With `attribute_to_layer_input` they attribute to what goes into the layer instead of what comes out. A layer gives a
tensor, or a tuple where it has several; a list of layers gives a list of these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

import attrfunc as af
from attrfunc.captum.attr.attribution import GradientAttribution, LayerAttribution, ScaledInside
from attrfunc.captum.attr.convert import Baselines, Inputs, Layers
from attrfunc.captum.attr.faces import face
from attrfunc.core.score.target import Target

__all__ = ["LayerActivation", "LayerGradCam", "LayerGradientXActivation", "LayerIntegratedGradients"]


class LayerActivation(LayerAttribution):
    """A layer's activation; see `attrfunc.activation`."""

    _multiply_by_inputs = True

    @face(af.activation, at="layer")
    def attribute(
        self, inputs: Inputs, additional_forward_args: Any = None, attribute_to_layer_input: bool = False
    ) -> Any:
        """The activations at the inputs; no backward pass runs."""


class LayerGradCam(LayerAttribution, GradientAttribution):
    """Grad-CAM; see `attrfunc.grad_cam`."""

    @face(af.grad_cam, at="inside")
    def attribute(
        self,
        inputs: Inputs,
        target: Target = None,
        additional_forward_args: Any = None,
        attribute_to_layer_input: bool = False,
        relu_attributions: bool = False,
        attr_dim_summation: bool = True,
        grad_kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Maps `(B, 1, *S)` of a layer `(B, C, *S)`; `(B, C, *S)` without `attr_dim_summation`."""


def _gradient_x_activation(view: af.View, inputs: Inputs, *, multiply_by_inputs: bool, **options: Any) -> Any:
    if multiply_by_inputs:
        return af.input_x_gradient(view, inputs, **options)
    return af.saliency(view, inputs, absolute=False, **options)


class LayerGradientXActivation(ScaledInside, LayerAttribution, GradientAttribution):
    """A layer's activation times the gradient there; see `attrfunc.input_x_gradient`.

    Args:
        forward_func: The model, or a callable that runs the layers.
        layer: The layer, or a list of layers; each is attributed to by itself, in one forward and backward pass.
        device_ids: Kept, without effect.
        multiply_by_inputs: `False` gives the gradient itself.
        memory_efficient: Give the results on the CPU.
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layers,
        device_ids: list[int] | None = None,
        multiply_by_inputs: bool = True,
        memory_efficient: bool = False,
    ) -> None:
        super().__init__(forward_func, layer, device_ids, multiply_by_inputs)
        self._memory_efficient = memory_efficient

    @face(_gradient_x_activation, at="layer")
    def attribute(
        self,
        inputs: Inputs,
        target: Target = None,
        additional_forward_args: Any = None,
        attribute_to_layer_input: bool = False,
        grad_kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Attribute to the layers; for the arguments see `attrfunc.captum.attr.convert`."""

    def _mirrored(self, result: Any) -> Any:
        result = pytree.tree_map_only(Tensor, Tensor.cpu, result) if self._memory_efficient else result
        return super()._mirrored(result)


class LayerIntegratedGradients(ScaledInside, LayerAttribution, GradientAttribution):
    """Integrated gradients from a layer's activation at the baselines to that at the inputs; see `attrfunc.layer`.

    Of a list of parallel layers, word and position embeddings say, all move together; deltas are those of all together.
    """

    _differs: tuple[str, ...] = (
        "Where one layer of a list feeds another it raises; Captum raises, or gives the first what reaches the "
        "output around the second.",
    )

    _complete = True

    @face(af.ig, at="joint")
    def attribute(
        self,
        inputs: Inputs,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        n_steps: int = 50,
        method: str = "gausslegendre",
        internal_batch_size: int | None = None,
        return_convergence_delta: bool = False,
        attribute_to_layer_input: bool = False,
        grad_kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Attributions; with `return_convergence_delta`, a pair of these and the deltas `(B,)`; see `attrfunc.ig`."""
