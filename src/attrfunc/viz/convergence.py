"""How errors fall with the work that is spent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.extras import require
from attrfunc.viz.arrays import Array, described, drawing, require_shape, to_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["convergence"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#56b4e9", "#e69f00")  # Okabe and Ito's
MARKERS = "osD^vPX"


@drawing
def convergence(
    counts: Any,
    errors: Any | Mapping[str, Any],
    *,
    reported: Any | Mapping[str, Any] = None,
    xlabel: str = "evaluations",
    ylabel: str = "error",
    title: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw errors over the numbers of points or samples that they were reached with, on logarithmic scales.

    Args:
        counts: Increasing numbers of points, samples or evaluations `(K,)`.
        errors: Sizes of errors, `(K,)`, or `(K, R)` of R runs: their median is drawn, and the middle half of them. By
            name, those of several methods.
        reported: Errors that a method itself reports, `(K,)`, dotted in the colour of the method of that name. NaN
            where it reports none.
        xlabel: What `counts` are.
        ylabel: What `errors` are, and their unit.
        title: What stands above.
        ax: Axes to draw in; a new figure by default.

    Returns:
        The figure; see `af.viz.image`. An error of exactly zero, for which a logarithmic scale has no place, stands at
        the lower edge.

    Raises:
        ArgumentError: If counts do not increase, errors are negative, or their numbers differ.

    Example:
        >>> model, x, counts = lambda x: x.sin().sum(1), torch.ones(1, 3), [1, 2, 4]
        >>> gaps = [af.completeness_gap(model, x, af.ig(model, x, n_steps=n)).abs().item() for n in counts]
        >>> figure = af.viz.convergence(counts, {"integrated gradients": gaps}, xlabel="points")
        >>> figure.axes[0].get_xscale()
        'log'
    """
    require("matplotlib", "viz")
    from attrfunc.viz import canvas

    places = _counts(counts)
    found = _by_name("errors", errors, places)
    told = {} if reported is None else _by_name("reported", reported, places)
    if unknown := set(told) - set(found):
        fix = f"Name them as errors are: {', '.join(map(repr, found))}."
        raise ArgumentError("reported", f"errors of {sorted(unknown)}", "those of methods in `errors`", fix)
    positive = [part[part > 0] for part in (*found.values(), *told.values())]
    floor = min((float(part.min()) for part in positive if part.size), default=1.0) / 3
    figure, axes = canvas.canvas(ax, (6.2, 4.2))
    for number, (name, part) in enumerate(found.items()):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        _line(axes, places, part, floor, {"color": colour, "marker": marker, "label": name})
        if name in told:
            own = np.median(told[name], 1)
            label = f"{name}: reported" if name else "reported"
            axes.plot(places, np.where(own > 0, own, np.nan), ":", color=colour, label=label)
    _finish(axes, places, (xlabel, ylabel))
    if any(found) or told:
        for text in axes.legend(frameon=False, fontsize=8).get_texts():
            text.set_parse_math(False)
    if title:
        canvas.titled(axes, title)
    return figure


def _line(axes: Axes, places: Array, part: Array, floor: float, style: dict[str, Any]) -> None:
    """The median, the middle half, and a triangle at the edge where the median is zero."""
    low, middle, high = np.nanquantile(part, [0.25, 0.5, 0.75], axis=1)
    if part.shape[1] > 1:
        bounds = np.maximum(low, floor), np.maximum(high, floor)
        axes.fill_between(places, *bounds, color=style["color"], alpha=0.15, linewidth=0)
    axes.plot(places, np.where(middle > 0, middle, floor), markersize=4, linewidth=1.4, **style)
    zero = middle == 0
    if zero.any():
        axes.plot(places[zero], np.full(int(zero.sum()), floor), "v", color=style["color"], markersize=8)
        axes.annotate("0", (places[zero][-1], floor), (7, -3), textcoords="offset points", fontsize=8)


def _finish(axes: Axes, places: Array, labels: tuple[str, str]) -> None:
    axes.set(xscale="log", yscale="log")
    if len(places) <= 10:
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.xaxis.minorticks_off()
    axes.set_xlabel(labels[0], fontsize=9, parse_math=False)
    axes.set_ylabel(labels[1], fontsize=9, parse_math=False)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _counts(counts: Any) -> Array:
    found = to_array("counts", counts)
    if found.ndim != 1 or not np.isfinite(found).all() or (found <= 0).any() or (np.diff(found) <= 0).any():
        fix = "Sort the runs by what they cost."
        raise ArgumentError("counts", describe(counts), "numbers above 0 that increase, (K,)", fix)
    return found


def _by_name(name: str, given: Any, places: Array) -> dict[str, Array]:
    """Errors `(K, R)` of each method."""
    parts = given if isinstance(given, Mapping) else {"": given}
    if not parts:
        raise ArgumentError(name, describe(given), "errors of at least one method", 'Pass {"name": errors}.')
    found = {}
    for method, errors in parts.items():
        own = f"{name}[{method!r}]" if method else name
        one = to_array(own, errors)
        one = one[:, None] if one.ndim == 1 else one
        if one.ndim != 2:
            raise ArgumentError(own, described(errors), "errors (K,) or (K, R)", "Pass one number for each run.")
        require_shape(own, one, (len(places), one.shape[1]), "the counts", "Pass one error for each count.")
        # What is not a number has no place on the scale; a run that has none at some count is left out there.
        if (one < 0).any() or np.isinf(one).any() or (name == "errors" and np.isnan(one).all(1).any()):
            fix = "Pass their sizes, errors.abs(), and leave out counts without any."
            raise ArgumentError(own, described(errors), "finite sizes of errors, 0 or more", fix)
        found[str(method)] = one
    return found
