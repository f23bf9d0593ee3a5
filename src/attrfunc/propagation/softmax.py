"""Softmax and its relatives under the Rescale rule, each example by itself.

`softmax(x) = exp(x - log sum exp x)`: exponentials and logarithms are rescaled, the rest is linear. The slopes of
exp and log are logarithmic means, which are stable whatever the size of the logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.propagation.operation import Operation

__all__ = ["log_softmax_rule", "logsumexp_rule", "softmax_rule"]

Ruled = tuple[Any, Callable[[Tensor], Sequence[Tensor]]]


def softmax_rule(operation: Operation) -> Ruled:
    """The softmax."""
    (x,), (x0,) = operation.inputs, operation.there.inputs
    dim = _dim(operation)
    shares = _logsumexp_multipliers(x, x0, (dim,))
    slopes = _mean_exp(torch.log_softmax(x, dim), torch.log_softmax(x0, dim))

    def pull(gradient: Tensor) -> list[Tensor]:
        scaled = gradient.to(x.dtype) * slopes
        return [scaled - shares * scaled.sum(dim, keepdim=True)]

    return operation.value(), pull


def log_softmax_rule(operation: Operation) -> Ruled:
    """Its logarithm."""
    (x,), (x0,) = operation.inputs, operation.there.inputs
    dim = _dim(operation)
    shares = _logsumexp_multipliers(x, x0, (dim,))
    return operation.value(), lambda gradient: [gradient - shares * gradient.sum(dim, keepdim=True)]


def logsumexp_rule(operation: Operation) -> Ruled:
    """The logarithm of a sum of exponentials."""
    (x,), (x0,) = operation.inputs, operation.there.inputs
    dim = operation.argument(1, "dim")
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    shares = _logsumexp_multipliers(x, x0, dims)
    kept = operation.argument(2, "keepdim", False)
    whole = (lambda g: g) if kept else lambda g: _unsqueezed(g, dims, x.dim())
    return operation.value(), lambda gradient: [shares * whole(gradient)]


def _logsumexp_multipliers(x: Tensor, x0: Tensor, dims: tuple[int, ...]) -> Tensor:
    """`shares` with `sum shares (x - x0) = logsumexp(x) - logsumexp(x0)`; they need not sum to one."""
    top = torch.maximum(x.amax(dims, keepdim=True), x0.amax(dims, keepdim=True))
    top = torch.where(top.isfinite(), top, 0)
    total, total0 = (torch.logsumexp(z, dims, keepdim=True) for z in (x, x0))
    return _mean_exp(x - top, x0 - top) / _mean_exp(total - top, total0 - top)


def _mean_exp(x: Tensor, x0: Tensor) -> Tensor:
    """The slope of exp from `x0` to `x`, the logarithmic mean of its values."""
    half = torch.where(x == x0, 0, x - x0) / 2
    close = half.abs() < 1
    safe = torch.where(close & (half != 0), half, 1)
    near = torch.exp((x + x0) / 2) * torch.where(half == 0, 1, torch.sinh(safe) / safe)
    return torch.where(close, near, (x.exp() - x0.exp()) / torch.where(close, 1, 2 * half))


def _dim(operation: Operation) -> int:
    dim = operation.argument(1, "dim")
    assert dim is not None
    return int(dim)


def _unsqueezed(value: Tensor, dims: tuple[int, ...], total: int) -> Tensor:
    for dim in sorted(dim % total for dim in dims):
        value = value.unsqueeze(dim)
    return value
