"""DeepLIFT, from one baseline and from a distribution of them; see `attrfunc.deep_lift` and `attrfunc.deep_lift_shap`.

custom_attribution_func: What to make of the multipliers: a function of a tuple of multipliers, or of these and the
    inputs, or of these, the inputs and the baselines, each a tuple; it gives a tuple. At a layer inputs and baselines
    are the layer's activations. Of several baselines it is called with one at a time.
eps: Kept, without effect: how near a change must be to nothing for the derivative to be taken follows from the
    precision.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import attrfunc as af
from attrfunc.captum.attr.attribution import GradientAttribution, LayerAttribution, NeuronAttribution, NoFuture
from attrfunc.captum.attr.convert import (
    Baselines,
    Inputs,
    only,
    per_example,
)
from attrfunc.captum.attr.faces import face
from attrfunc.captum.attr.gradient_shap import Samples
from attrfunc.captum.attr.neuron import Selector
from attrfunc.core.loops.samples import distribution
from attrfunc.core.score.baseline import resolve_baseline
from attrfunc.core.score.target import Target

__all__ = [
    "DeepLift",
    "DeepLiftShap",
    "LayerDeepLift",
    "LayerDeepLiftShap",
    "NeuronDeepLift",
    "NeuronDeepLiftShap",
]

Custom = Callable[..., tuple[Tensor, ...]] | None


def _one(
    model: Any,
    inputs: Any,
    *,
    baseline: Any,
    multiply_by_inputs: bool,
    custom_attribution_func: Custom = None,
    **score: Any,
) -> Any:
    """Attributions from one baseline."""
    custom = custom_attribution_func
    multiply = multiply_by_inputs and custom is None
    found = af.deep_lift(model, inputs, baseline=baseline, multiply_by_inputs=multiply, **score)
    if custom is None:
        return found
    ends = [inputs, resolve_baseline(baseline, inputs)]
    if isinstance(model, af.View) and model.sites:
        ends = [af.activation(model, end, args=score["args"]) for end in ends]
    parts = [tuple(part) if isinstance(part, tuple | list) else (part,) for part in (found, *ends)]
    given = len(inspect.signature(custom).parameters)
    attributions = custom(*parts[: given if given < 3 else 3])
    return attributions if isinstance(found, tuple) else only(attributions)


def _several(
    model: Any,
    inputs: Any,
    *,
    baselines: Any,
    explainer: Any,
    with_deltas: bool,
    custom_attribution_func: Custom = None,
    **score: Any,
) -> tuple[Any, Tensor | None]:
    """Mean attributions from several baselines, and the deltas of each if they are asked for."""
    options = {"multiply_by_inputs": explainer.multiplies_by_inputs, **score}
    if custom_attribution_func is None and not with_deltas:
        return af.deep_lift_shap(model, inputs, baselines=baselines, **options), None
    leaves, structure = distribution(baselines, inputs), pytree.tree_structure(inputs)
    found, deltas = [], []
    for number in range(len(leaves[0])):
        baseline = pytree.tree_unflatten([leaf[number : number + 1] for leaf in leaves], structure)
        options["custom_attribution_func"] = custom_attribution_func
        found.append(_one(model, inputs, baseline=baseline, **options))
        if with_deltas:
            change = af.score_change(explainer._explained(), inputs, baseline=baseline, **score)
            change = only(change) if isinstance(change, list) else change
            deltas.append(per_example(found[-1], len(change)) - change)
    mean = pytree.tree_map(lambda *parts: torch.stack(parts).mean(0), *found)
    return mean, torch.stack(deltas, 1).flatten() if with_deltas else None


class DeepLift(NoFuture, GradientAttribution):
    """DeepLIFT's Rescale rule; see `attrfunc.deep_lift`.

    Args:
        model: The model.
        multiply_by_inputs: `False` gives the multipliers.
        eps: Kept, without effect.
    """

    _differs: tuple[str, ...] = (
        "It and its relatives go by operation: functional activations, reused and in-place modules, GELU, "
        "softmax, attention and normalisation are complete, where Captum takes the plain gradient, or raises. A "
        "softmax is that of each example, where Captum's depends on the whole batch. Where max pooling chooses "
        "another number at the baseline, both share the change, so that multipliers lie between 0 and 1; Captum "
        "gives all of it to the input's.",
    )

    _complete = True

    def __init__(self, model: nn.Module, multiply_by_inputs: bool = True, eps: float = 1e-10) -> None:
        super().__init__(model)
        self.model, self.eps = model, eps
        self._multiply_by_inputs = multiply_by_inputs

    @face(_one)
    def attribute(
        self,
        inputs: Inputs,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
        custom_attribution_func: Custom = None,
    ) -> Any:
        """Attribute to the inputs, a tensor or a tuple as `inputs` is; with `return_convergence_delta`, and deltas."""


class DeepLiftShap(DeepLift):
    """DeepLIFT averaged over baselines; see `attrfunc.deep_lift_shap`.

    Args:
        model: The model.
        multiply_by_inputs: `False` gives the average multipliers.
    """

    _draws_baselines = True

    def __init__(self, model: nn.Module, multiply_by_inputs: bool = True) -> None:
        super().__init__(model, multiply_by_inputs)

    @face(_several, deltas=True)
    def attribute(  # type: ignore[override]
        self,
        inputs: Inputs,
        baselines: Samples,
        target: Target = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
        custom_attribution_func: Custom = None,
    ) -> Any:
        """Attribute to the inputs; deltas are those of each pair, `(B * N,)`, example by example."""


class LayerDeepLift(LayerAttribution, DeepLift):
    """DeepLIFT from a layer's activation at the baselines to that at the inputs; see `attrfunc.deep_lift`.

    Args:
        model: The model.
        layer: The layer.
        multiply_by_inputs: `False` gives the multipliers.
    """

    def __init__(self, model: nn.Module, layer: nn.Module, multiply_by_inputs: bool = True) -> None:
        LayerAttribution.__init__(self, model, layer)
        self.model = model
        self._multiply_by_inputs = multiply_by_inputs

    @face(_one, at="layer")
    def attribute(  # type: ignore[override]
        self,
        inputs: Inputs,
        baselines: Baselines = None,
        target: Target = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
        attribute_to_layer_input: bool = False,
        custom_attribution_func: Custom = None,
        grad_kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Attribute to the layer; with `return_convergence_delta`, a pair of attributions and deltas."""


class LayerDeepLiftShap(LayerDeepLift, DeepLiftShap):
    """The same averaged over baselines; see `attrfunc.deep_lift_shap`.

    Args:
        model: The model.
        layer: The layer.
        multiply_by_inputs: `False` gives the average multipliers.
    """

    _draws_baselines = True

    def __init__(self, model: nn.Module, layer: nn.Module, multiply_by_inputs: bool = True) -> None:
        super().__init__(model, layer, multiply_by_inputs)

    @face(_several, at="layer", deltas=True)
    def attribute(  # type: ignore[override]
        self,
        inputs: Inputs,
        baselines: Samples,
        target: Target = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
        attribute_to_layer_input: bool = False,
        custom_attribution_func: Custom = None,
    ) -> Any:
        """Attribute to the layer; deltas are those of each pair, `(B * N,)`, example by example."""


class _NeuronScaled(NeuronAttribution, GradientAttribution):
    """Base of the classes of a neuron; without `multiply_by_inputs` they give multipliers."""

    def __init__(self, model: nn.Module, layer: nn.Module, multiply_by_inputs: bool = True) -> None:
        super().__init__(model, layer)
        self._multiply_by_inputs = multiply_by_inputs


class NeuronDeepLift(_NeuronScaled):
    """DeepLIFT of a neuron; see `attrfunc.deep_lift` and `attrfunc.neuron`."""

    @face(_one, at="neuron")
    def attribute(
        self,
        inputs: Inputs,
        neuron_selector: Selector,
        baselines: Baselines = None,
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
        custom_attribution_func: Custom = None,
    ) -> Any:
        """Attribute to the inputs, a tensor or a tuple as `inputs` is."""


class NeuronDeepLiftShap(_NeuronScaled):
    """The same averaged over baselines; see `attrfunc.deep_lift_shap` and `attrfunc.neuron`."""

    _draws_baselines = True

    @face(_several, at="neuron", deltas=True)
    def attribute(
        self,
        inputs: Inputs,
        neuron_selector: Selector,
        baselines: Samples,
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
        custom_attribution_func: Custom = None,
    ) -> Any:
        """Attribute to the inputs, a tensor or a tuple as `inputs` is."""
