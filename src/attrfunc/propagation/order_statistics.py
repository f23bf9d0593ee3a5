"""Medians, sorting and their like under DeepLIFT: a number's rank may change although it does not.

An order statistic lies above a level where enough numbers do. So its change is an integral over levels, and at each
level the numbers that have crossed it in that direction share it out evenly. A statistic that moves from one number to
another which stays where it is, is thus due to those that made room.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.propagation.node import numbers
from attrfunc.propagation.operation import Operation

__all__ = ["order_statistic"]

Ruled = tuple[Any, Callable[[Tensor], Sequence[Tensor]]]


def order_statistic(operation: Operation) -> Ruled:
    """A median, a quantile of given rank, the largest few, or all numbers in order."""
    operation.require(1)
    result = operation.value()
    (y,), _ = numbers(result)
    (y0,), _ = numbers(operation.there.value())
    dim, kept = _along(operation, y)
    (x,), (x0,) = operation.inputs, operation.there.inputs
    x, x0 = (_last(z, dim) for z in (x, x0))
    y, y0 = (_last(z, dim, kept) for z in (y, y0))
    multipliers = _multipliers(x, x0, y, y0)
    shape = operation.inputs[0].shape

    def pull(gradient: Tensor) -> list[Tensor]:
        shares = (_last(gradient, dim, kept).unsqueeze(-2) @ multipliers.transpose(-1, -2)).squeeze(-2)
        return [shares.reshape(shape) if dim is None else shares.movedim(-1, dim)]

    return result, pull


def _along(operation: Operation, y: Tensor) -> tuple[int | None, bool]:
    """The dimension that is ordered (None: all numbers), and whether the result has it."""
    key = operation.key
    if key in ("median", "nanmedian"):
        dim = operation.argument(1, "dim")
    elif key == "msort":
        dim = 0
    elif key == "sort":
        dim = operation.argument(1, "dim", -1)
        dim = operation.kwargs.get("dim", -1) if isinstance(dim, bool) else dim
    else:
        dim = operation.argument(2, "dim", -1)
    return dim, y.dim() == operation.inputs[0].dim() and dim is not None


def _last(z: Tensor, dim: int | None, kept: bool = True) -> Tensor:
    """The ordered numbers in the last dimension."""
    if dim is None:
        return z.flatten()
    return z.movedim(dim, -1) if kept else z.unsqueeze(-1)


def _multipliers(x: Tensor, x0: Tensor, y: Tensor, y0: Tensor) -> Tensor:
    """`(..., numbers, statistics)`: shares of each statistic's change for each unit of each number's change."""
    ends = torch.cat([x, x0], -1).sort(-1).values
    low, high = ends[..., :-1], ends[..., 1:]

    def crossed(now: Tensor, then: Tensor) -> Tensor:
        """For each number or statistic and each interval of levels, whether it has risen above it."""
        return ((then.unsqueeze(-1) <= low.unsqueeze(-2)) & (now.unsqueeze(-1) >= high.unsqueeze(-2))).to(x.dtype)

    width = (high - low).unsqueeze(-2)
    total: Any = 0
    for sign, (one, other, up, down) in ((1, (x, x0, y, y0)), (-1, (x0, x, y0, y))):
        numbers = crossed(one, other)
        share = numbers / numbers.sum(-2, keepdim=True).clamp(min=1) * width
        total = total + sign * (share @ crossed(up, down).transpose(-1, -2))
    change = (x - x0).unsqueeze(-1)
    still = change == 0
    slopes = total / torch.where(still, 1, change)
    # Where nothing has changed, the number that is chosen has the derivative of one.
    first = (x.unsqueeze(-1) == y.unsqueeze(-2)) & (x0.unsqueeze(-1) == y0.unsqueeze(-2))
    return torch.where(still, first.to(x.dtype), slopes)
