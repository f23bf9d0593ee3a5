"""Features as bars, the largest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from attrfunc.core.errors import ArgumentError, positive
from attrfunc.core.extras import require
from attrfunc.viz.arrays import Array, described, drawing, named, require_shape, to_array
from attrfunc.viz.scales import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["bars"]


@dataclass(frozen=True)
class _Bar:
    """One bar.

    Attributes:
        name: What stands beside it.
        value: Its length.
        error: What it may be off by; NaN if that is not known.
        rest: Whether it is the sum of all that have none of their own.
    """

    name: str
    value: float
    error: float = float("nan")
    rest: bool = False


@drawing
def bars(
    values: Any,
    *,
    names: Sequence[str] | None = None,
    errors: Any = None,
    top: int | None = 10,
    unit: str = "",
    title: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw the attributions of the features of one example, the largest first, and the sum of the rest.

    Args:
        values: One number for each of F features, `(F,)`; a tensor on any device, or an array.
        names: The features' names.
        errors: What each may be off by, `(F,)`: standard errors, as of `af.shapley_sampling_error`.
        top: How many features get a bar of their own; None is all. Those that are left are added up, in a paler bar
            without an error, as theirs are not independent.
        unit: What stands below.
        title: What stands above.
        ax: Axes to draw in; a new figure by default.

    Returns:
        The figure; see `af.viz.image`. The lengths add up to what the values do.

    Raises:
        ArgumentError: If there are not as many names or errors as values, or `top` is no count.

    Example:
        >>> figure = af.viz.bars([0.5, -2.0, 0.25, 0.125], names=["age", "dose", "sex", "site"], top=2)
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['dose', 'age', '2 others']
    """
    require("matplotlib", "viz")
    from attrfunc.viz import canvas

    found = to_array("values", values)
    if found.ndim != 1:
        fix = "Choose one example and flatten its features: values[0].flatten()."
        raise ArgumentError("values", described(values), "one number for each feature, (F,)", fix)
    labels = named("names", names, len(found), "feature")
    shown = _chosen(found, labels, _errors(errors, found), top)
    longest = max(len(one.name) for one in shown)
    figure, axes = canvas.canvas(ax, (4.5 + 0.08 * min(longest, 40), 0.8 + 0.3 * len(shown)))
    _draw(axes, shown)
    axes.set_xlabel(unit, fontsize=9, parse_math=False)
    if title:
        canvas.titled(axes, title)
    return figure


def _errors(errors: Any, values: Array) -> Array:
    if errors is None:
        return np.full(values.shape, np.nan)
    found = to_array("errors", errors)
    require_shape("errors", found, values.shape, "the values", "Pass one error for each value.")
    if (found < 0).any():
        fix = "Pass standard errors, or half the width of an interval."
        raise ArgumentError("errors", f"{int((found < 0).sum())} negative numbers", "sizes of errors", fix)
    return found


def _chosen(values: Array, names: list[str], errors: Array, top: Any) -> list[_Bar]:
    """The bars from above: those not finite first, then the largest, and the rest last."""
    count = len(values) if top is None else positive("top", top)
    sizes = np.where(np.isfinite(values), np.abs(values), np.inf)
    order = np.argsort(-sizes, kind="stable").tolist()
    # A rest of one is better named.
    count = count if count + 1 < len(order) else len(order)
    shown = [_Bar(names[one], float(values[one]), float(errors[one])) for one in order[:count]]
    if rest := order[count:]:
        with np.errstate(all="ignore"):
            shown.append(_Bar(f"{len(rest)} others", float(values[rest].sum()), rest=True))
    return shown


def _draw(axes: Axes, shown: list[_Bar]) -> None:
    from attrfunc.viz import canvas

    known = np.array([[one.value for one in shown], [one.error for one in shown]])
    finite = np.where(np.isfinite(known), known, 0.0)
    unit = _decade(float(np.abs(finite).max()))
    lengths, errors = finite / unit  # matplotlib's own margins fail for subnormal numbers, and near the largest
    places = list(range(len(shown)))
    colours = [canvas.FOR if length > 0 else canvas.AGAINST for length in lengths]
    for patch, one in zip(axes.barh(places, lengths, color=colours, height=0.7), shown, strict=True):
        patch.set_alpha(0.45 if one.rest else 1.0)
    style: dict[str, Any] = {"ecolor": canvas.ink(), "elinewidth": 1, "capsize": 2.5}
    for place in np.nonzero(np.isfinite(known).all(0))[0].tolist():
        axes.errorbar(lengths[place], place, xerr=errors[place], fmt="none", **style)
    for place, one in enumerate(shown):
        told = number(one.value) if np.isfinite(one.value) else "not finite"
        side = -1 if lengths[place] < 0 else 1
        end = (lengths[place] + side * errors[place], place)
        style = {"va": "center", "ha": "left" if side > 0 else "right", "fontsize": 8, "color": canvas.ink()}
        axes.annotate(told, end, (4 * side, 0), textcoords="offset points", **style)
    axes.axvline(0, color=canvas.ink(), linewidth=0.8)
    _limits(axes, lengths, errors)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_yticks(places, [_cut(one.name) for one in shown], fontsize=9, parse_math=False)
    axes.xaxis.set_major_formatter(partial(_tick, unit))
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=5)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _tick(unit: float, share: float, _: int) -> str:
    return f"{float(share) * unit:.3g}".replace("-", "−")


def _limits(axes: Axes, lengths: Array, errors: Array) -> None:
    """Room for the numbers, on the sides where there are bars."""
    low, high = min(0.0, (lengths - errors).min()), max(0.0, (lengths + errors).max())
    room = 0.2 * (high - low or 1.0)
    axes.set_xlim(low - (room if low < 0 else 0.02), high + (room if high > 0 or low == 0 else 0.02))


def _decade(largest: float) -> float:
    """A power of ten near the largest number, so that what is drawn is of the size of one and ticks are round."""
    if largest == 0:
        return 1.0
    return 10.0 ** max(int(np.floor(np.log10(largest))), -307) if largest > 1e-300 else largest


def _cut(name: str) -> str:
    name = " ".join(name.split())  # in one line
    return name if len(name) <= 40 else name[:39] + "…"
