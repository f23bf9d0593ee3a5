"""Where a colour scale ends, what lies beyond it, and which share of the full colour a value gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.viz.arrays import Array, choice

__all__ = ["SIGNS", "Scale", "Sign", "fraction", "number", "percent", "scale_of"]

Sign = Literal["all", "positive", "negative", "absolute"]
SIGNS: tuple[Sign, ...] = ("all", "positive", "negative", "absolute")


@dataclass(frozen=True)
class Scale:
    """How values become shares of the full colour.

    Shares are taken here and not by matplotlib, whose own scale fails where values are subnormal or near the largest
    float.

    Attributes:
        sign: Which values are shown.
        top: The size that gets the full colour.
        extend: Which end values lie beyond, in matplotlib's words: `"neither"`, `"min"`, `"max"` or `"both"`.
        missing: How many values are not finite.
        blank: Whether none that is shown differs from zero, so that the scale ends anywhere.
    """

    sign: Sign
    top: float
    extend: str = "neither"
    missing: int = 0
    blank: bool = False

    def shares(self, values: Array) -> Array:
        """Values as shares between -1 and 1, or 0 and 1 where one sign or the size is shown; NaN if not finite."""
        with np.errstate(all="ignore"):
            shares: Array = np.clip(_shown(values, self.sign) / self.top, -1, 1)
        return np.where(np.isfinite(values), shares, np.nan)

    @property
    def signed(self) -> bool:
        """Whether shares go below zero."""
        return self.sign == "all"

    @property
    def ticks(self) -> list[float]:
        """Shares to be labelled on a colour bar."""
        return [-1, -0.5, 0, 0.5, 1] if self.signed else [0, 0.25, 0.5, 0.75, 1]

    def label(self, share: float) -> str:
        """The value that has a share."""
        return number(-share * self.top if self.sign == "negative" else share * self.top)

    @property
    def range(self) -> str:
        """Both ends in a few characters."""
        top = number(self.top)
        return {"all": f"±{top}", "positive": f"0 to {top}", "negative": f"0 to −{top}", "absolute": f"0 to {top}"}[
            self.sign
        ]


def number(value: float) -> str:
    """Two digits, with a minus sign that is as wide as a plus."""
    return f"{value + 0.0:.2g}".replace("-", "−") if value else "0"


def scale_of(values: Array, sign: Any, outliers: Any = 0.0, limit: Any = None) -> Scale:
    """The scale that shows values well.

    Args:
        values: Values of any shape; those that are not finite do not count.
        sign: Which of them are shown; see `SIGNS`.
        outliers: How many percent of them, at most, may lie beyond the scale.
        limit: Where it ends instead.
    """
    kind: Any = choice("sign", sign, SIGNS)
    share = percent("outliers", outliers)
    finite = _shown(values[np.isfinite(values)], kind)
    top = _limit(limit)
    if top is None:
        sizes = np.abs(finite) if finite.size else np.zeros(1)
        # One of the sizes, not between two: few values are then all within the scale. A map of few pixels only would
        # end at zero, and one of zeros anywhere.
        top = float(np.percentile(sizes, 100 - share, method="higher")) or float(sizes.max()) or 1.0
    above, below = bool((finite > top).any()), bool((finite < -top).any())
    extend = {(True, True): "both", (True, False): "max", (False, True): "min"}.get((above, below), "neither")
    return Scale(kind, top, extend, int((~np.isfinite(values)).sum()), not finite.any())


def percent(name: str, value: Any) -> float:
    """Check that a number is a percentage that leaves something."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value < 100:
        raise ArgumentError(
            name, describe(value), "percent, from 0 to below 100", "Pass 1 to clip one value in a hundred."
        )
    return float(value)


def fraction(name: str, value: Any) -> float:
    """Check that a number is from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value <= 1:
        raise ArgumentError(name, describe(value), "a number from 0 to 1", "Leave it out for the default.")
    return float(value)


def _limit(limit: Any) -> float | None:
    if limit is None:
        return None
    try:
        found = 0.0 if isinstance(limit, str) or np.ndim(limit) else float(limit)
    except (TypeError, ValueError, RuntimeError):
        found = 0.0
    if not 0 < found < np.inf:
        fix = "Leave it out to end where the values do."
        raise ArgumentError("limit", describe(limit), "a finite number above 0, where the scale ends", fix)
    return found


def _shown(values: Array, sign: Sign) -> Array:
    if sign == "all":
        return values
    shown: Array = np.abs(values) if sign == "absolute" else np.maximum(values if sign == "positive" else -values, 0)
    return shown
