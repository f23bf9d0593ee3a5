"""DeepLIFT's Rescale rule (Shrikumar et al. 2017), and what extends it to operations of several inputs.

Every rule gives multipliers `m` that are complete: the change of the value from the baseline is the sum of `m` times
the changes of the inputs, exactly. By the chain rule the attributions then are, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.model.engines import known
from attrfunc.propagation.natural_rule import gradient_rule, pull_of, transposed
from attrfunc.propagation.node import numbers
from attrfunc.propagation.operation import Operation

__all__ = ["multilinear", "quotient", "rescale", "rescale_kinked", "selection"]

Ruled = tuple[Any, Callable[[Tensor], Sequence[Tensor]]]


def rescale(operation: Operation) -> Ruled:
    """An elementwise function of one input: the slope from the baseline to the input."""
    x, x0, y, y0 = _both_ends(operation)
    # Rounding spoils the quotient by `eps / change`, curvature the derivative halfway by its square: they are even at
    # `eps^(2/3)` of the values. At the kink of a ReLU, between values of unequal signs, nothing counts as near.
    tolerance = torch.finfo(x.dtype).eps ** (2 / 3)
    near = ((x - x0).abs() <= tolerance * torch.maximum(x.abs(), x0.abs())) | (x == x0)
    return _by_slope(operation, y, (y - y0) / torch.where(near, 1, x - x0), near)


def rescale_kinked(operation: Operation) -> Ruled:
    """The same for a function made of straight pieces, whose quotients are exact wherever there is one."""
    x, x0, y, y0 = _both_ends(operation)
    near = x == x0
    return _by_slope(operation, y, (y - y0) / torch.where(near, 1, x - x0), near)


def _both_ends(operation: Operation) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The input and the value, each here and at the baseline."""
    operation.require(1)
    operation.require_real()
    there = operation.there
    (x,), (x0,) = operation.inputs, there.inputs
    alone = not any(leaf.dim() for leaf in operation.others)
    if alone and x0.dim() > 1 and x0.stride(0) == 0 and x0.shape[0] > 0 and not torch.compiler.is_compiling():
        # One row stands for all of them.
        return x, x0, operation.value(), there.value([x0[:1]])
    return x, x0, operation.value(), there.value()


def _by_slope(operation: Operation, y: Tensor, quotient: Tensor, near: Tensor) -> Ruled:
    """The quotient, and the derivative halfway where it is nearly 0 / 0."""
    (x,), (x0,) = operation.inputs, operation.there.inputs
    if known(near.any()) is not False:
        middle = torch.where(near, (x + x0) / 2, x)
        value, derivative = torch.func.vjp(lambda at: operation.value([at]), middle)  # type: ignore[misc]
        quotient = torch.where(near, derivative(torch.ones_like(value))[0].expand_as(quotient), quotient)
    if x.shape == y.shape:
        return y, lambda gradient: [gradient * quotient]
    return y, lambda gradient: [(gradient * quotient).sum_to_size(x.shape)]


def multilinear(operation: Operation) -> Ruled:
    """A product of one or two inputs: each change times the other's mean, which shares out the whole change evenly.

    `a b - a0 b0 = (a - a0) (b + b0) / 2 + (b - b0) (a + a0) / 2`
    """
    inputs, there = operation.inputs, operation.there
    if len(inputs) == 1:
        same = [known((now == then).all()) for now, then in zip(operation.others, there.others, strict=True)]
        elementwise = operation.key == "mul"
        # A factor that depends on the input without a derivative, such as a mask, changes too.
        return rescale(operation) if elementwise and not all(same) else gradient_rule(operation)
    operation.require(2)
    means = [(now + then) / 2 for now, then in zip(inputs, there.inputs, strict=True)]
    _, pull = pull_of(operation, means)
    return operation.value(), pull


def quotient(operation: Operation) -> Ruled:
    """A division: the product with the reciprocal, which is rescaled."""
    if len(operation.inputs) == 1:
        return rescale(operation)
    (a, b), (a0, b0) = operation.inputs, operation.there.inputs
    share, weight = (1 / b + 1 / b0) / 2, -(a + a0) / 2 / (b * b0)
    _, pull = torch.func.vjp(lambda a, b: a * share + b * weight, a, b)  # type: ignore[misc]
    return operation.value(), pull


def selection(operation: Operation) -> Ruled:
    """What chooses among numbers (a maximum, pooling, `where`): the chosen ones share out the change.

    Where `i` is chosen at the input and `j` at the baseline, the change `x[i] - x0[j]` lies between those of `x[i]` and
    of `x[j]` (for a maximum or a minimum), so it is a mean of the two, whose weights are the multipliers.
    """
    here, there = gradient_rule(operation), gradient_rule(operation.there)
    (y,), _ = numbers(here[0])
    (y0,), _ = numbers(there[0])
    pairs = zip(operation.inputs, operation.there.inputs, strict=True)
    changes = [torch.where(now == then, 0, now - then) for now, then in pairs]  # of masks, too, which are infinite
    chosen, chosen_there = (transposed(pull, y)(changes) for pull in (here[1], there[1]))
    apart = chosen - chosen_there
    # Where both have changed alike, nothing tells them apart but rounding.
    same = apart.abs() <= 8 * torch.finfo(y.dtype).eps * (chosen.abs() + chosen_there.abs())
    change = torch.where(y == y0, 0, y - y0)
    share = torch.where(same, 1, (change - chosen_there) / torch.where(same, 1, apart))

    def pull(gradient: Tensor) -> list[Tensor]:
        parts = here[1](share * gradient), there[1]((1 - share) * gradient)
        return [one + other for one, other in zip(*parts, strict=True)]

    return here[0], pull
