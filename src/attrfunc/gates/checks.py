"""What gates take."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.loops.samples import Draws

__all__ = ["drawn", "limits", "parameter", "positive_number"]


def parameter(name: str, value: Any) -> Tensor:
    """The numbers that gates are made from."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        fix = "Pass torch.zeros(n_gates)."
        raise ArgumentError(name, describe(value), "a tensor of floating-point numbers, one for each gate", fix)
    return value


def positive_number(name: str, value: Any) -> float:
    """A number above 0."""
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 < float(value) < math.inf:
        raise ArgumentError(name, describe(value), "a finite number above 0", f"Pass {name}=0.5, say.")
    return float(value)


def limits(low: float, high: float) -> None:
    """Where a hard concrete distribution begins and ends."""
    if not (isinstance(low, Real) and -math.inf < float(low) < 0):
        raise ArgumentError("low", describe(low), "a finite number below 0", "Pass low=-0.1.")
    if not (isinstance(high, Real) and 1 < float(high) < math.inf):
        raise ArgumentError("high", describe(high), "a finite number above 1", "Pass high=1.1.")


def drawn(draw: Callable[..., Tensor], like: Tensor, shape: Sequence[int], generator: torch.Generator | None) -> Tensor:
    """Random numbers `(*shape, *like.shape)` in double precision, on the device of `like`."""
    try:
        sizes = [operator.index(size) for size in shape]
        right = all(size >= 0 for size in sizes)
    except TypeError:
        right = False
    if not right:
        raise ArgumentError("shape", describe(shape), "sizes from 0 on", "Pass shape=(batch_size,), say.")
    numbers = Draws(torch.zeros(1), 0.0, generator).shared(draw, *sizes, *like.shape)
    return numbers.to(like.device)
