"""Concept relevance propagation (Achtibat et al. 2023)."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.score.activation import activation
from attrfunc.core.score.method import method
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model, as_view, neuron
from attrfunc.core.score.views import layer as at_layer
from attrfunc.propagation.lrp import lrp
from attrfunc.propagation.rule_book import RuleBook, Rules

__all__ = ["concept_relevance"]


@method
def concept_relevance(
    model: Model,
    x: Any,
    *,
    layer: str | nn.Module,
    units: int | Sequence[int],
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    rules: RuleBook | Rules | None = None,
) -> Any:
    """LRP through some units of a layer alone: where in the input is what they contribute to the score?

    The relevance of the score is propagated to the layer; all but the relevance of a unit is set to zero, and what is
    left goes on to the input by the same rules.

    Args:
        model: A module, any callable, or a view of the input.
        x: The input, a tensor `(B, *S)` or a structure of them.
        layer: The layer, by name or as a module, with one tensor `(B, C, ...)` as its output.
        units: The units, numbers in the dimension behind the batch: the channels of a convolution. A unit's relevance
            goes on from all of its places.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        rules: As in `attrfunc.lrp`.

    Returns:
        Relevance in units of the score, with the structure and shapes of `x`; for several units with one more dimension
        in front, `(K, B, *S)`. *Conservation*: it sums to the relevance of the unit at the layer, less the shares of
        biases and `epsilon` before it; and over all units to the relevance of `lrp`, where nothing flows around the
        layer.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If an operation has no rule, or the score or the relevance is not finite.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> found = af.concepts.concept_relevance(model, torch.ones(5, 3), layer="1", units=[0, 2], target=1)
        >>> found.shape
        torch.Size([2, 5, 3])

    Reference:
        Achtibat et al.: From attribution maps to human-understandable explanations through Concept Relevance
        Propagation, Nature Machine Intelligence 2023, https://arxiv.org/abs/2206.03208.
    """
    view = as_view(model)
    if view.sites or view.output is not None:
        fix = "Pass the model, and the layer as layer=."
        raise ArgumentError("model", "a view of a layer or of a neuron", "a view of the input", fix)
    inputs: dict[str, Any] = {"args": args, "kwargs": kwargs}
    place = at_layer(view, layer)
    active = activation(place, x, **inputs)
    relevance = lrp(place, x, target=target, rules=rules, **inputs)
    if not isinstance(active, Tensor) or active.dim() < 2:
        got = f"a layer whose output is {describe(active)}"
        raise ArgumentError("layer", got, "one tensor (B, C, ...)", "Choose another layer.")
    numbers = [units] if isinstance(units, int) else list(units)
    channels = active.shape[1]
    if not numbers or not all(isinstance(one, int) and 0 <= one < channels for one in numbers):
        expected = f"numbers from 0 to {channels - 1}"
        raise ArgumentError("units", describe(units), expected, "Units are counted in the dimension behind the batch.")
    found = []
    for number in numbers:
        chosen = torch.zeros_like(relevance)
        chosen[:, number] = relevance[:, number]
        # Apart by sign: a sum of both might be near zero, where what it hands back is not.
        parts = [part for part in (chosen.clamp(min=0), chosen.clamp(max=0)) if bool(part.any())]
        maps = []
        for part in parts:
            shares = part / torch.where(active == 0, 1.0, active)
            selector = functools.partial(_weighted, shares=shares.detach())
            maps.append(lrp(neuron(view, layer, selector), x, rules=rules, **inputs))
        zero = pytree.tree_map(torch.zeros_like, x)
        found.append(functools.reduce(lambda a, b: pytree.tree_map(torch.add, a, b), maps, zero))
    if isinstance(units, int):
        return found[0]
    return pytree.tree_map(lambda *leaves: torch.stack(leaves), *found)


def _weighted(output: Tensor, *, shares: Tensor) -> Tensor:
    """A score whose relevance at the layer is what was chosen: as much of each unit as it has."""
    return (output * shares).flatten(1).sum(1)
