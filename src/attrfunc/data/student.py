"""Quantiles of Student's distribution."""

from __future__ import annotations

import math
from statistics import NormalDist

from attrfunc.core.errors import ArgumentError, describe

__all__ = ["quantile"]


def quantile(level: float, freedom: int) -> float:
    """How many standard errors the interval of a mean reaches to each side.

    By bisection of the distribution, which has a closed form for whole degrees of freedom (Abramowitz, Stegun 26.7.3);
    beyond 1,000 of these by the expansion about the normal quantile (26.7.5), to a millionth.

    Args:
        level: How often the interval is to hold the mean.
        freedom: Degrees of freedom, the number of samples less one.

    Raises:
        ArgumentError: If the level is not between 0 and 1.

    """
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        raise ArgumentError("level", describe(level), "a number between 0 and 1", "Pass level=0.95.")
    normal = NormalDist().inv_cdf((1 + level) / 2)
    if freedom > 1000:
        second = (5 * normal**5 + 16 * normal**3 + 3 * normal) / 96
        return normal + (normal**3 + normal) / 4 / freedom + second / freedom**2
    low, high = 0.0, normal
    while _within(high, freedom) < level:
        low, high = high, 2 * high
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < level else (low, middle)
    return (low + high) / 2


def _within(t: float, freedom: int) -> float:
    """The probability between -t and t (26.7.3, 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = term if freedom > 1 else 0.0
    for k in range(2 + odd, freedom, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
