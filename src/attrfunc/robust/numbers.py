"""Numbers that attacks take."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe

__all__ = ["finite", "number"]


def finite(value: Any, name: str = "radius") -> Any:
    """A radius or a length, which must not be infinite; what else it must be is checked where it is used."""
    infinite = value is None or (isinstance(value, Real) and math.isinf(float(value)))
    if infinite or (isinstance(value, Tensor) and bool(value.isinf().any())):
        raise ArgumentError(name, describe(value), "a finite distance", f"Pass {name}=8 / 255, say.")
    if name != "radius" and (not isinstance(value, Real) or isinstance(value, bool) or not float(value) > 0):
        raise ArgumentError(name, describe(value), "a number above 0", f"Pass {name}=0.01, say.")
    return value


def number(name: str, value: Any, low: float, high: float = math.inf) -> float:
    """A number within limits."""
    if not isinstance(value, Real) or isinstance(value, bool) or not low <= float(value) <= high:
        expected = f"a number from {low:g} to {high:g}" if high < math.inf else f"a number of at least {low:g}"
        raise ArgumentError(name, describe(value), expected, f"Pass {name}={low:g} or more.")
    return float(value)
