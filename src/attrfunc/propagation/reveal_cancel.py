"""DeepLIFT's RevealCancel rule: positive and negative contributions to a unit go through it apart.

Where they cancel, as in `relu(a - b)` with `a` and `b` both large, Rescale sees no change and loses both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from attrfunc.propagation.deep_lift_rules import KINKED, RESCALE, SMOOTH
from attrfunc.propagation.natural_rule import gradient_rule
from attrfunc.propagation.operation import Operation
from attrfunc.propagation.rescale import multilinear, rescale, rescale_kinked
from attrfunc.propagation.rule_book import Rule, RuleBook

__all__ = ["REVEAL_CANCEL"]

OwnRule = Callable[[Operation], tuple[Any, ...]]


def contributions(operation: Operation) -> tuple[Any, ...]:
    """A layer with weights: what raises its output is told apart from what lowers it.

    The contribution of an input is its weight times its change; one that has not changed counts half as either.
    """
    if len(operation.inputs) > 1 or operation.places[0] != 0 or not isinstance(operation.leaves[1], Tensor):
        return multilinear(operation)
    value, pull = gradient_rule(operation)
    change = operation.inputs[0] - operation.there.inputs[0]
    # 1 where the input has risen, 0 where it has fallen.
    risen = (change > 0).to(change.dtype) + (change == 0).to(change.dtype) / 2
    bias = 2 if len(operation.leaves) > 2 and isinstance(operation.leaves[2], Tensor) else None

    def raising(x: Tensor) -> Tensor:
        return _without_bias(operation, x * risen, bias, 0.0, None) + _without_bias(
            operation, x * (1 - risen), bias, None, 0.0
        )

    raised, part_pull = torch.func.vjp(raising, change)  # type: ignore[misc]
    return value, pull, operation.there.value() + raised, part_pull


def _without_bias(operation: Operation, x: Tensor, bias: int | None, low: float | None, high: float | None) -> Tensor:
    """The layer with its weights cut off below `low` or above `high`."""
    leaves = list(operation.leaves)
    leaves[1] = leaves[1].clamp(low, high)
    if bias is not None:
        leaves[bias] = torch.zeros_like(leaves[bias])
    return replace(operation, leaves=leaves).value([x])


def _revealed(otherwise: OwnRule, kinked: bool) -> OwnRule:
    def rule(operation: Operation) -> tuple[Any, ...]:
        """The mean effect of the part over both orders in which it and the rest can come, and that of the rest."""
        if operation.part is None or len(operation.inputs) > 1:
            return otherwise(operation)
        x, x0 = operation.inputs[0], operation.there.inputs[0]

        def function(at: Tensor) -> Tensor:
            return operation.value([at])

        ends = function(x0), function(x)
        # From the baseline to the part alone and to the rest alone.
        part, rest = operation.part - x0, x - operation.part
        alone, other = function(x0 + part), function(x0 + rest)
        slopes = [
            _slope(function, (x0, x0 + step), move, (first - ends[0] + ends[1] - second) / 2, kinked)
            for move, step, first, second in ((part, rest, alone, other), (rest, part, other, alone))
        ]
        return ends[1], lambda gradient: [gradient * slopes[1], gradient * (slopes[0] - slopes[1])]

    return rule


def _slope(
    function: Callable[[Tensor], Tensor], starts: tuple[Tensor, Tensor], move: Tensor, effect: Tensor, kinked: bool
) -> Tensor:
    """The effect of a move from either start on average, for each unit of it."""
    size = torch.maximum(starts[0].abs(), starts[1].abs()) + move.abs()
    near = move == 0 if kinked else move.abs() <= torch.finfo(move.dtype).eps ** (2 / 3) * size
    slopes = []
    for start in starts:
        value, pull = torch.func.vjp(function, start + move / 2)  # type: ignore[misc]
        slopes.append(pull(torch.ones_like(value))[0])
    return torch.where(near, (slopes[0] + slopes[1]) / 2, effect / torch.where(near, 1, move))


_WEIGHTED = [
    f"{name}{dims}d" if dims else name
    for name, dims in [("linear", 0), *((kind, dims) for kind in ("conv", "conv_transpose") for dims in (1, 2, 3))]
]

_RULES: dict[Any, Rule] = {
    **dict.fromkeys(_WEIGHTED, contributions),
    **dict.fromkeys(SMOOTH, _revealed(rescale, kinked=False)),
    **dict.fromkeys(KINKED, _revealed(rescale_kinked, kinked=True)),
}

REVEAL_CANCEL = RESCALE | RuleBook(_RULES, parts=frozenset(["batch_norm", "add", "sub"]))
"""RevealCancel behind linear layers and convolutions, with or without batch norm; Rescale elsewhere."""
