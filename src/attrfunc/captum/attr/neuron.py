"""The classes that explain a neuron.

neuron_selector: An int for a layer with one dimension behind the batch; a tuple of ints and slices for one with more,
    where a slice sums over its range; or a callable that maps the layer's activation to one number per row. With
    `attribute_to_neuron_input` the neuron stands in the layer's input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

import attrfunc as af
from attrfunc.captum.attr.attribution import GradientAttribution, NeuronAttribution
from attrfunc.captum.attr.convert import Baselines, Inputs, as_args, as_baseline, captum_call

__all__ = ["NeuronGradient", "NeuronIntegratedGradients", "Selector"]

Selector = int | tuple[int | slice, ...] | Callable[[Any], Tensor]


class NeuronGradient(NeuronAttribution, GradientAttribution):
    """The gradient of a neuron; see `attrfunc.saliency` and `attrfunc.neuron`."""

    @captum_call
    def attribute(
        self,
        inputs: Inputs,
        neuron_selector: Selector,
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
    ) -> Any:
        """The signed gradient at the inputs; a tensor or a tuple as `inputs` is."""
        view = self._view(neuron_selector, attribute_to_neuron_input)
        return af.saliency(view, inputs, args=as_args(additional_forward_args), absolute=False)


class NeuronIntegratedGradients(NeuronAttribution, GradientAttribution):
    """Integrated gradients of a neuron; see `attrfunc.integrated_gradients` and `attrfunc.neuron`.

    Args:
        forward_func: The model, or a callable that runs the layer.
        layer: The neuron's layer.
        device_ids: Kept, without effect.
        multiply_by_inputs: `False` gives the average gradient itself.
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
        additional_forward_args: Any = None,
        n_steps: int = 50,
        method: str = "gausslegendre",
        internal_batch_size: int | None = None,
        attribute_to_neuron_input: bool = False,
    ) -> Any:
        """Attribute to the inputs, a tensor or a tuple as `inputs` is; for the arguments see `attrfunc.ig`."""
        return af.ig(
            self._view(neuron_selector, attribute_to_neuron_input),
            inputs,
            baseline=as_baseline(baselines, inputs),
            args=as_args(additional_forward_args),
            n_steps=n_steps,
            method=method,
            multiply_by_inputs=self._multiply_by_inputs,
            chunk_size=internal_batch_size,
        )
