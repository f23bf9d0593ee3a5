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
from attrfunc.captum.attr.attribution import GradientAttribution, LayerAttribution
from attrfunc.captum.attr.convert import (
    Baselines,
    Inputs,
    Layers,
    as_args,
    as_baseline,
    captum_call,
    check_grad_kwargs,
    side,
)
from attrfunc.core.score.target import Target

__all__ = ["LayerActivation", "LayerGradCam", "LayerGradientXActivation", "LayerIntegratedGradients"]


class LayerActivation(LayerAttribution):
    """A layer's activation; see `attrfunc.activation`."""

    _multiply_by_inputs = True

    @captum_call
    def attribute(
        self, inputs: Inputs, additional_forward_args: Any = None, attribute_to_layer_input: bool = False
    ) -> Any:
        """The activations at the inputs; no backward pass runs."""
        result = af.activation(self._view(attribute_to_layer_input), inputs, args=as_args(additional_forward_args))
        return self._mirrored(result)


class LayerGradCam(LayerAttribution, GradientAttribution):
    """Grad-CAM; see `attrfunc.grad_cam`."""

    @captum_call
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
        check_grad_kwargs(grad_kwargs)
        result = af.grad_cam(
            self.forward_func,
            inputs,
            layer=self.layer,
            target=target,
            args=as_args(additional_forward_args),
            side=side(attribute_to_layer_input),
            relu=relu_attributions,
            sum_channels=attr_dim_summation,
        )
        return self._mirrored(result)


class LayerGradientXActivation(LayerAttribution, GradientAttribution):
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
        super().__init__(forward_func, layer, device_ids)
        self._multiply_by_inputs = multiply_by_inputs
        self._memory_efficient = memory_efficient

    @captum_call
    def attribute(
        self,
        inputs: Inputs,
        target: Target = None,
        additional_forward_args: Any = None,
        attribute_to_layer_input: bool = False,
        grad_kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Attribute to the layers; for the arguments see `attrfunc.captum.attr.convert`."""
        check_grad_kwargs(grad_kwargs)
        view, args = self._view(attribute_to_layer_input), as_args(additional_forward_args)
        if self._multiply_by_inputs:
            result = af.input_x_gradient(view, inputs, target=target, args=args)
        else:
            result = af.saliency(view, inputs, target=target, args=args, absolute=False)
        if self._memory_efficient:
            result = pytree.tree_map_only(Tensor, Tensor.cpu, result)
        return self._mirrored(result)


class LayerIntegratedGradients(LayerAttribution, GradientAttribution):
    """Integrated gradients from a layer's activation at the baselines to that at the inputs; see `attrfunc.layer`.

    Args:
        forward_func: The model, or a callable that runs the layers.
        layer: The layer, or a list of parallel layers, word and position embeddings say, which move together from the
            baselines to the inputs.
        device_ids: Kept, without effect.
        multiply_by_inputs: `False` gives the average gradient itself.
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layers,
        device_ids: list[int] | None = None,
        multiply_by_inputs: bool = True,
    ) -> None:
        super().__init__(forward_func, layer, device_ids)
        self._multiply_by_inputs = multiply_by_inputs

    @captum_call
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
        """Attribute to the layers; for the arguments see `attrfunc.captum.attr.convert` and `attrfunc.ig`.

        Returns:
            Attributions; with `return_convergence_delta`, a pair of these and the deltas `(B,)` of all layers together.
        """
        check_grad_kwargs(grad_kwargs)
        attributions = af.ig(
            self._view(attribute_to_layer_input, joint=True),
            inputs,
            baseline=as_baseline(baselines, inputs),
            target=target,
            args=as_args(additional_forward_args),
            n_steps=n_steps,
            method=method,
            multiply_by_inputs=self._multiply_by_inputs,
            chunk_size=internal_batch_size,
        )
        result = self._mirrored(attributions)
        if not return_convergence_delta:
            return result
        return result, self.compute_convergence_delta(result, baselines, inputs, target, additional_forward_args)

    def has_convergence_delta(self) -> bool:
        """Attributions are complete."""
        return True
