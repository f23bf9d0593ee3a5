"""The classes that explain a neuron.

neuron_selector: An int for a layer with one dimension behind the batch; a tuple of ints and slices for one with more,
    where a slice sums over its range; or a callable that maps the layer's activation to one number per row, or for the
    whole batch. With `attribute_to_neuron_input` the neuron stands in the layer's input.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor

import attrfunc as af
from attrfunc.captum.attr.attribution import GradientAttribution, NeuronAttribution, ScaledInside
from attrfunc.captum.attr.convert import Baselines, Inputs
from attrfunc.captum.attr.faces import face

__all__ = ["NeuronGradient", "NeuronIntegratedGradients", "Selector"]

Selector = int | tuple[int | slice, ...] | Callable[[Any], Tensor]


class NeuronGradient(NeuronAttribution, GradientAttribution):
    """The gradient of a neuron; see `attrfunc.saliency` and `attrfunc.neuron`."""

    @face(functools.partial(af.saliency, absolute=False), at="neuron")
    def attribute(
        self,
        inputs: Inputs,
        neuron_selector: Selector,
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
    ) -> Any:
        """The signed gradient at the inputs; a tensor or a tuple as `inputs` is."""


class NeuronIntegratedGradients(ScaledInside, NeuronAttribution, GradientAttribution):
    """Integrated gradients of a neuron; see `attrfunc.integrated_gradients` and `attrfunc.neuron`."""

    @face(af.ig, at="neuron")
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
