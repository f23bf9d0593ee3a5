"""Softmax and its relatives under the Rescale rule, each example by itself.

`log softmax` has the one constraint that its exponentials add up to one, at the input and at the baseline. With `m` the
slopes of exp between the two, logarithmic means, the constraint is `sum m (change of x - change of log sum exp x) = 0`,
so that `log sum exp` has the multipliers `m / sum m`. They sum to one, those of a softmax to zero: what all logits have
in common gets nothing. They are stable whatever the size of the logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.propagation.operation import Operation

__all__ = ["implicit_dim", "log_softmax_rule", "logsumexp_rule", "softmax_rule"]

Ruled = tuple[Any, Callable[[Tensor], Sequence[Tensor]]]


def softmax_rule(operation: Operation) -> Ruled:
    """The softmax."""
    dim = _dim(operation)
    slopes, shares = _multipliers(operation, (dim,))

    def pull(gradient: Tensor) -> list[Tensor]:
        scaled = gradient.to(slopes.dtype) * slopes
        return [(scaled - shares * scaled.sum(dim, keepdim=True)).to(operation.inputs[0].dtype)]

    return operation.value(), pull


def log_softmax_rule(operation: Operation) -> Ruled:
    """Its logarithm."""
    dim = _dim(operation)
    _, shares = _multipliers(operation, (dim,))

    def pull(gradient: Tensor) -> list[Tensor]:
        whole = gradient.to(shares.dtype)
        return [(whole - shares * whole.sum(dim, keepdim=True)).to(operation.inputs[0].dtype)]

    return operation.value(), pull


def logsumexp_rule(operation: Operation) -> Ruled:
    """The logarithm of a sum of exponentials."""
    (x,) = operation.inputs
    dim = operation.argument(1, "dim")
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    _, shares = _multipliers(operation, dims)
    kept = operation.argument(2, "keepdim", False)
    whole = (lambda g: g) if kept else lambda g: _unsqueezed(g, dims, x.dim())
    return operation.value(), lambda gradient: [(shares * whole(gradient)).to(x.dtype)]


def _multipliers(operation: Operation, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The slopes of exp between two log softmaxes, and the multipliers of log sum exp."""
    logs = []
    for z in (operation.inputs[0], operation.there.inputs[0]):
        z = z.to(torch.promote_types(z.dtype, torch.float32))
        total = torch.logsumexp(z, dims, keepdim=True)
        logs.append(z - torch.where(total.isfinite(), total, 0))
    slopes = _mean_exp(*logs)
    total = slopes.sum(dims, keepdim=True)
    return slopes, slopes / torch.where(total == 0, 1, total)


def _mean_exp(x: Tensor, x0: Tensor) -> Tensor:
    """The slope of exp from `x0` to `x`, the logarithmic mean of its values."""
    half = torch.where(x == x0, 0, x - x0) / 2
    close = half.abs() < 1
    safe = torch.where(close & (half != 0), half, 1)
    near = torch.exp((x + x0) / 2) * torch.where(half == 0, 1, torch.sinh(safe) / safe)
    return torch.where(close, near, (x.exp() - x0.exp()) / torch.where(close, 1, 2 * half))


def _dim(operation: Operation) -> int:
    dim = operation.argument(1, "dim")
    return implicit_dim(operation.inputs[0]) if dim is None else int(dim)


def implicit_dim(x: Tensor) -> int:
    """The dimension that torch takes where a softmax is given none."""
    return 0 if x.dim() in (0, 1, 3) else 1


def _unsqueezed(value: Tensor, dims: tuple[int, ...], total: int) -> Tensor:
    for dim in sorted(dim % total for dim in dims):
        value = value.unsqueeze(dim)
    return value
