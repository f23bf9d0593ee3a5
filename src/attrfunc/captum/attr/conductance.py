"""The classes that look at a layer while the inputs move from the baselines: conductance and internal influence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

import attrfunc as af
from attrfunc.captum.attr.attribution import GradientAttribution, LayerAttribution, NeuronAttribution, of_each_row
from attrfunc.captum.attr.convert import (
    Baselines,
    Inputs,
    as_args,
    as_baseline,
    captum_call,
    check_grad_kwargs,
    side,
)
from attrfunc.captum.attr.neuron import Selector
from attrfunc.core.score.target import Target

__all__ = ["InternalInfluence", "LayerConductance", "NeuronConductance"]


class LayerConductance(LayerAttribution, GradientAttribution):
    """Conductance of a layer; see `attrfunc.conductance`.

    The numbers are not those of Captum, but nearer to the integral that both stand for. Captum multiplies the gradient
    at each of `n_steps + 1` points by the layer's change up to the next point: an error of first order, and with the
    default rule the two ends of the path, before the first point and behind the last, are left out. Here the layer's
    whole change from the baselines to the inputs is accounted for, each part with the gradient that belongs to it.

    Args:
        forward_func: The model, or a callable that runs the layer.
        layer: The layer.
        device_ids: Kept, without effect.
    """

    _multiply_by_inputs = True

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
        """Attribute to the layer.

        Returns:
            Attributions; with `return_convergence_delta`, a pair of these and what they sum to less the change of the
            whole score `(B,)`. Where something bypasses the layer, that is no error.
        """
        check_grad_kwargs(grad_kwargs)
        attributions = af.conductance(
            self.forward_func,
            inputs,
            layer=self._single(),
            baseline=as_baseline(baselines, inputs),
            target=target,
            args=as_args(additional_forward_args),
            n_steps=n_steps,
            method=method,
            side=side(attribute_to_layer_input),
            chunk_size=internal_batch_size,
        )
        result = self._mirrored(attributions)
        if not return_convergence_delta:
            return result
        return result, self.compute_convergence_delta(result, baselines, inputs, target, additional_forward_args)

    def has_convergence_delta(self) -> bool:
        """Attributions are complete where nothing bypasses the layer."""
        return True

    def _explained(self) -> Callable[..., Any]:
        return self.forward_func


class InternalInfluence(LayerAttribution, GradientAttribution):
    """Internal influence of a layer; see `attrfunc.internal_influence`.

    Args:
        forward_func: The model, or a callable that runs the layer.
        layer: The layer.
        device_ids: Kept, without effect.
    """

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
        attribute_to_layer_input: bool = False,
        grad_kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """The score's gradient at the layer, averaged along the path; a tuple where the layer has several tensors."""
        check_grad_kwargs(grad_kwargs)
        influence = af.internal_influence(
            self.forward_func,
            inputs,
            layer=self._single(),
            baseline=as_baseline(baselines, inputs),
            target=target,
            args=as_args(additional_forward_args),
            n_steps=n_steps,
            method=method,
            side=side(attribute_to_layer_input),
            chunk_size=internal_batch_size,
        )
        return self._mirrored(influence)


class NeuronConductance(NeuronAttribution, GradientAttribution):
    """Conductance of the inputs through a neuron; see `attrfunc.neuron_conductance`.

    Args:
        forward_func: The model, or a callable that runs the layer.
        layer: The neuron's layer.
        device_ids: Kept, without effect.
        multiply_by_inputs: `False` leaves out the factor inputs - baselines.
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: nn.Module,
        device_ids: list[int] | None = None,
        multiply_by_inputs: bool = True,
    ) -> None:
        super().__init__(forward_func, layer, device_ids)
        self._multiply_by_inputs = multiply_by_inputs

    @captum_call
    def attribute(
        self,
        inputs: Inputs,
        neuron_selector: Selector,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        n_steps: int = 50,
        method: str = "riemann_trapezoid",
        internal_batch_size: int | None = None,
        attribute_to_neuron_input: bool = False,
        grad_kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Attribute to the inputs, a tensor or a tuple as `inputs` is. A callable selector must be linear."""
        check_grad_kwargs(grad_kwargs)
        return af.neuron_conductance(
            self.forward_func,
            inputs,
            layer=self.layer,
            neuron=of_each_row(neuron_selector),
            baseline=as_baseline(baselines, inputs),
            target=target,
            args=as_args(additional_forward_args),
            n_steps=n_steps,
            method=method,
            multiply_by_inputs=self._multiply_by_inputs,
            side=side(attribute_to_neuron_input),
            chunk_size=internal_batch_size,
        )
