"""Gradient SHAP, at the input, at a layer and for a neuron; see `attrfunc.gradient_shap`.

baselines: The distribution of baselines: a tensor of samples `(N, *S)`, a tuple of these that are drawn together, or a
    callable that gives them, of the inputs or of nothing.
stdevs: A number, or a tuple of numbers, one for each input.

Draws come from torch's default generator: `torch.manual_seed` makes them reproducible. Whether deltas are asked for
makes no difference to them. Deltas are those of each sample, `(B * n_samples,)`, example by example.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import attrfunc as af
from attrfunc.captum.attr.attribution import (
    GradientAttribution,
    LayerAttribution,
    NeuronAttribution,
    NoFuture,
    Scaled,
    ScaledInside,
)
from attrfunc.captum.attr.convert import Inputs
from attrfunc.captum.attr.faces import face
from attrfunc.captum.attr.neuron import Selector
from attrfunc.core.score.target import Target

__all__ = ["GradientShap", "LayerGradientShap", "NeuronGradientShap"]

Samples = Tensor | tuple[Tensor, ...] | Callable[..., Tensor | tuple[Tensor, ...]]


def _attributed(model: Any, inputs: Inputs, *, explainer: Scaled, with_deltas: bool, **options: Any) -> tuple[Any, Any]:
    """Attributions, and with `with_deltas` the deltas of the same draws."""
    seed = int(torch.randint(2**62, ()))
    generators = [torch.Generator().manual_seed(seed) for _ in range(2)]
    factor = explainer.multiplies_by_inputs
    attributions = af.gradient_shap(model, inputs, **options, multiply_by_inputs=factor, generator=generators[0])
    if not with_deltas:
        return attributions, None
    return attributions, af.gradient_shap_gap(model, inputs, **options, generator=generators[1]).T.flatten()


class GradientShap(Scaled, NoFuture, GradientAttribution):
    """Gradient SHAP; see `attrfunc.gradient_shap`."""

    _differs: tuple[str, ...] = (
        "The baselines of several inputs are drawn together, so they are as many for each, and tensors; of "
        "`n_samples` points of a path, one lies in each of as many equal parts, so the variance is lower. With "
        "`multiply_by_inputs=False` deltas are what they are with `True`, since average gradients do not add up "
        "to anything.",
    )

    _random = _draws_baselines = _complete = True

    @face(_attributed, deltas=True)
    def attribute(
        self,
        inputs: Inputs,
        baselines: Samples,
        n_samples: int = 5,
        stdevs: float | tuple[float, ...] = 0.0,
        target: Target = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
    ) -> Any:
        """Attribute to the inputs, a tensor or a tuple as `inputs` is; with `return_convergence_delta`, and deltas."""


class LayerGradientShap(ScaledInside, LayerAttribution, GradientAttribution):
    """Gradient SHAP from a layer's activation at the baselines to that at the inputs; see `attrfunc.gradient_shap`.

    A list of parallel layers moves together.
    """

    _differs: tuple[str, ...] = (
        "Its points lie between the layer's activations, and so it is complete on average. Captum takes gradients"
        " at points between the inputs, and multiplies them by the activation's change.",
    )

    _random = _draws_baselines = _complete = True

    @face(_attributed, at="joint", deltas=True)
    def attribute(
        self,
        inputs: Inputs,
        baselines: Samples,
        n_samples: int = 5,
        stdevs: float | tuple[float, ...] = 0.0,
        target: Target = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
        attribute_to_layer_input: bool = False,
    ) -> Any:
        """Attribute to the layer; with `return_convergence_delta`, a pair of attributions and deltas."""


class NeuronGradientShap(ScaledInside, NeuronAttribution, GradientAttribution):
    """Gradient SHAP of a neuron; see `attrfunc.gradient_shap` and `attrfunc.neuron`."""

    _random = _draws_baselines = True

    @face(_attributed, at="neuron", deltas=True)
    def attribute(
        self,
        inputs: Inputs,
        neuron_selector: Selector,
        baselines: Samples,
        n_samples: int = 5,
        stdevs: float | tuple[float, ...] = 0.0,
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
    ) -> Any:
        """Attribute to the inputs, a tensor or a tuple as `inputs` is."""
