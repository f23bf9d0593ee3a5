"""DeepLIFT's RevealCancel rule: positive and negative contributions to a unit go through it apart.

Where they cancel, as in `relu(a - b)` with `a` and `b` both large, Rescale sees no change and loses both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.propagation.affine import WEIGHTED, affine, combined
from attrfunc.propagation.deep_lift_rules import KINKED, RESCALE, SMOOTH
from attrfunc.propagation.natural_rule import gradient_rule, transposed
from attrfunc.propagation.operation import Operation
from attrfunc.propagation.rescale import multilinear, rescale, rescale_kinked
from attrfunc.propagation.rule_book import Rule, RuleBook

__all__ = ["REVEAL_CANCEL"]

Pull = Callable[[Tensor], Sequence[Tensor]]
OwnRule = Callable[[Operation], tuple[Any, ...]]


def contributions(operation: Operation) -> tuple[Any, ...]:
    """A layer with weights: what raises its output is told apart from what lowers it.

    The contribution of an input is its weight times its change; one that has not changed counts half as either.
    """
    layer = affine(operation)
    if layer is None:
        return multilinear(operation)
    value, pull = gradient_rule(operation)
    change = operation.inputs[0] - operation.there.inputs[0]
    # 1 where the input has risen, 0 where it has fallen.
    risen = (change > 0).to(change.dtype) + (change == 0).to(change.dtype) / 2

    def raising(x: Tensor) -> Tensor:
        higher, lower = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
        return layer.product(x * risen, higher) + layer.product(x * (1 - risen), lower)

    raised, part_pull = torch.func.vjp(raising, change)  # type: ignore[misc]
    return value, pull, operation.there.value() + raised, part_pull


def linear_with_parts(operation: Operation) -> tuple[Any, ...]:
    """A sum, or a batch norm: what raises the value is the sum of what raises it in each operand.

    An operand without parts, which comes as one, raises the value or lowers it.
    """
    value, pull = gradient_rule(operation)
    layers = combined(operation)
    if layers is not None:
        # What an input contributes to the two layers may cancel.
        made, layer = layers
        return value, pull, *contributions(layer)[2:], made
    if not any(part is not None for part in operation.parts):
        return value, pull
    return value, pull, *_raising(operation, value, pull)


def _raising(operation: Operation, value: Tensor, pull: Pull) -> tuple[Tensor, Pull]:
    """What raises a sum of operands with parts, and its gradient: for the operands, and then for their parts."""
    x, x0 = operation.inputs, operation.there.inputs

    def effect(moves: Sequence[Tensor]) -> Tensor:
        """The change of the value where the inputs move."""
        moved: Tensor = transposed(pull, value)(list(moves))
        return moved

    zeros = [torch.zeros_like(z) for z in x]
    raised = torch.zeros_like(value)
    chosen: list[tuple[Tensor, Tensor | None]] = []  # by operand, whether its part, and whether the rest, raises
    for i, part in enumerate(operation.parts):
        moves = [x[i] - x0[i]] if part is None else [part - x0[i], x[i] - part]
        effects = [effect([*zeros[:i], move.expand_as(x[i]), *zeros[i + 1 :]]) for move in moves]
        raises = [(one > 0).to(one.dtype) for one in effects]
        raised = raised + sum(one * up for one, up in zip(effects, raises, strict=True))
        chosen.append((raises[0], raises[1] if part is not None else None))

    def part_pull(gradient: Tensor) -> list[Tensor]:
        of_inputs, of_parts = [], []
        for i, (first, second) in enumerate(chosen):
            one = pull(gradient * first)[i]
            if second is None:
                of_inputs.append(one)
            else:
                rest = pull(gradient * second)[i]
                of_inputs.append(rest)
                of_parts.append(one - rest)
        return [*of_inputs, *of_parts]

    return operation.there.value() + raised, part_pull


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


_RULES: dict[Any, Rule] = {
    **dict.fromkeys(WEIGHTED, contributions),
    **dict.fromkeys(("batch_norm", "add", "sub", "rsub", "neg"), linear_with_parts),
    **dict.fromkeys(SMOOTH, _revealed(rescale, kinked=False)),
    **dict.fromkeys(KINKED, _revealed(rescale_kinked, kinked=True)),
}

REVEAL_CANCEL = RESCALE | RuleBook(_RULES, parts=True)
"""RevealCancel behind linear layers and convolutions, with or without batch norm; Rescale elsewhere."""
