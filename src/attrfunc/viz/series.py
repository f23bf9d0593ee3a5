"""Attributions of a time series, over the series."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.extras import require
from attrfunc.viz.arrays import Array, choice, drawing, named, require_shape, to_array
from attrfunc.viz.pixels import missing_note
from attrfunc.viz.scales import Sign, scale_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_panels", "series"]

Layout = Literal["overlay", "combined", "line"]
MANY = 16  # fewer channels are taken as meant, however short the series is
LAYOUTS: tuple[Layout, ...] = ("overlay", "combined", "line")
# Okabe and Ito's colours for all eyes, without yellow, which is lost on white.
CYCLE = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")


@drawing
def series(
    attributions: Any,
    series: Any,
    *,
    style: Layout = "overlay",
    sign: Sign = "all",
    outliers: float = 1.0,
    limit: float | None = None,
    times: Any = None,
    names: Sequence[str] | None = None,
    channels: Literal["first", "last"] = "first",
    cmap: Any = None,
    colorbar: bool = True,
    unit: str = "",
    xlabel: str = "",
    title: str | None = None,
) -> Figure:
    """Draw the attributions of a series `(C, T)` over its curves.

    Args:
        attributions: `(C, T)` or `(T,)`; a tensor on any device, or an array.
        series: The series that is explained, of the same shape.
        style: `"overlay"`, a panel for each channel, coloured behind the curve; `"combined"`, all curves in one panel,
            coloured by the sum over channels; `"line"`, a panel for each channel with a coloured curve.
        sign: Which values are shown; see `af.viz.image`.
        outliers: How many percent of the values may lie beyond the scale.
        limit: Where the scale ends instead.
        times: Increasing times `(T,)`; their numbers by default.
        names: The channels' names.
        channels: Where the channels of both stand; `"last"` is `(T, C)`.
        cmap: Another colour map of matplotlib's.
        colorbar: Whether to draw a colour bar.
        unit: What stands beside it.
        xlabel: What stands below the times.
        title: What stands above.

    Returns:
        The figure; see `af.viz.image`.

    Raises:
        ArgumentError: If shapes do not go together, times do not increase, the series is not finite, or an option is
            unknown.

    Example:
        >>> t = torch.linspace(0, 6, 50)
        >>> waves = torch.stack([t.sin(), t.cos()])
        >>> figure = af.viz.series(waves * t, waves, names=["sin", "cos"])
        >>> [axes.get_ylabel() for axes in figure.axes[:2]]
        ['sin', 'cos']
    """
    require("matplotlib", "viz")
    from attrfunc.viz import canvas

    data, values = _both(attributions, series, choice("channels", channels, ("first", "last")))
    kind = choice("style", style, LAYOUTS)
    places = _times(times, data.shape[1])
    labels = named("names", names, len(data), "channel") if names is not None or len(data) > 1 else [""]
    if kind == "combined":
        with np.errstate(all="ignore"):
            values = values.sum(0, keepdims=True)
    scale = scale_of(values, sign, outliers, limit)
    colours = canvas.colour_map(cmap, scale.sign)
    figure = canvas.Picture(
        figsize=(7.0, 3.2 if kind == "combined" else min(1.2 + 1.3 * len(values), 12.0)), layout="constrained"
    )
    panels = figure.subplots(len(values), sharex=True, squeeze=False)[:, 0]
    draw_panels(panels, places, data, canvas.colours(scale.shares(values), colours, scale.signed), labels, kind)
    panels[-1].set_xlabel("\n".join(filter(None, [xlabel, missing_note(scale)])), fontsize=9, parse_math=False)
    if title:
        canvas.titled(panels[0], title)
    if colorbar:
        canvas.bar(figure, scale, colours, unit, ax=list(panels), pad=0.02)
    return figure


def draw_panels(
    panels: Any, times: Array, data: Array, paint: Array, labels: list[str], kind: str, **style: Any
) -> None:
    """Draw curves and their colours.

    Args:
        panels: Axes, one for each channel, or a single one where they are combined.
        times: `(T,)`.
        data: `(C, T)`.
        paint: Colours `(C, T, 4)`, or `(1, T, 4)`.
        labels: The channels' names; empty ones are not written.
        kind: The style.
        **style: Of the curves, in matplotlib's words; `alpha` is that of the colours behind them.
    """
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.lines import Line2D

    alpha = style.pop("alpha", 0.85)
    style = normalize_kwargs(style, Line2D)  # lw is linewidth
    for panel, part, shades in zip(panels, data[: len(panels)], paint, strict=True):
        if kind == "line":
            curve(panel, times, part, shades, **style)
        else:
            columns(panel, times, shades, alpha)
    _curves(panels, times, data, labels, kind, style)


def columns(axes: Any, times: Array, paint: Array, alpha: float = 0.85) -> None:
    """Colours `(T, 4)` behind a curve, each from half way before its time to half way behind it."""
    from matplotlib.collections import PolyCollection

    middle = (times[1:] + times[:-1]) / 2
    edges = np.concatenate([[times[0] - (middle[:1] - times[:1]).sum()], middle, [2 * times[-1] - middle[-1:].sum()]])
    if len(times) == 1:
        edges = np.array([times[0] - 0.5, times[0] + 0.5])
    corners = [[(a, 0), (a, 1), (b, 1), (b, 0)] for a, b in pairwise(edges)]
    # In heights of the panel, whatever the curve's range is.
    axes.add_collection(
        PolyCollection(
            corners,
            facecolors=paint,
            edgecolors="none",
            antialiaseds=False,
            alpha=alpha,
            zorder=0,
            transform=axes.get_xaxis_transform(),
        ),
        autolim=False,
    )
    axes.set_xlim(edges[0], edges[-1])


def curve(axes: Any, times: Array, part: Array, paint: Array, **style: Any) -> None:
    """A curve whose stretch around each time has its colour; a thin dark one lies below, so that pale parts show."""
    from matplotlib.collections import LineCollection

    middle = np.stack([(times[1:] + times[:-1]) / 2, (part[1:] + part[:-1]) / 2], 1)
    points = np.stack([times, part], 1)
    before = np.concatenate([points[:1], middle])
    behind = np.concatenate([middle, points[-1:]])
    pieces = np.stack([before, points, behind], 1)
    style = {"linewidth": 3.0, "capstyle": "round", "zorder": 2, **style}
    axes.plot(times, part, color="#999999", linewidth=style["linewidth"] + 1.0, solid_capstyle="round", zorder=1)
    axes.add_collection(LineCollection(list(pieces), **{**style, "colors": paint}), autolim=False)


def _curves(panels: Any, times: Array, data: Array, labels: list[str], kind: str, style: dict[str, Any]) -> None:
    from matplotlib.patheffects import withStroke

    for number, (part, label) in enumerate(zip(data, labels, strict=True)):
        panel = panels[0] if kind == "combined" else panels[number]
        colour = CYCLE[number % len(CYCLE)] if kind == "combined" else CYCLE[0]
        if kind != "line":
            halo = [withStroke(linewidth=2.8, foreground="white")]  # a dark curve shows on dark colours
            own = {"color": colour, "linewidth": 1.2, "linestyle": "-" if number < len(CYCLE) else "--"}
            panel.plot(times, part, label=label, **{"zorder": 2, "path_effects": halo, **own, **style})
        if kind != "combined":
            panel.set_ylabel(label, fontsize=9, parse_math=False)
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    if kind == "combined" and any(labels):
        handles = panels[0].get_lines()
        place = {"loc": "outside lower center", "ncols": 4, "frameon": False}
        legend = panels[0].figure.legend(handles=handles, fontsize=8, **place)
        for text in legend.get_texts():
            text.set_parse_math(False)


def _both(attributions: Any, series: Any, channels: str) -> tuple[Array, Array]:
    """The series and its attributions, `(C, T)`."""
    data, values = to_array("series", series), to_array("attributions", attributions)
    form = "(C, T)" if channels == "first" else "(T, C)"
    for name, found in (("series", data), ("attributions", values)):
        if found.ndim not in (1, 2):
            fix = f"Pass one example: {name}[0]." if found.ndim == 3 else f"Bring it into the form {form}."
            raise ArgumentError(name, f"shape {found.shape}", f'{form}, as channels="{channels}" says, or (T,)', fix)
    fix = "Pass what a method returned for this series; turn one of them by .mT if their layouts differ."
    require_shape("attributions", values, data.shape, "the series", fix)
    if not np.isfinite(data).all():
        fix = "Fill the gaps, or cut them out of both."
        raise ArgumentError("series", f"{int((~np.isfinite(data)).sum())} values that are not finite", "numbers", fix)
    data, values = np.atleast_2d(data), np.atleast_2d(values)
    if channels == "last" and to_array("series", series).ndim == 2:
        data, values = data.T, values.T
    if data.shape[0] > MANY and data.shape[0] > data.shape[1]:
        other = "last" if channels == "first" else "first"
        got = f"{data.shape[0]} channels of {data.shape[1]} times, as channels={channels!r} reads them"
        fix = f'Pass channels="{other}", or choose fewer channels.'
        raise ArgumentError("series", got, "a series longer than it is wide", fix)
    return data, values


def _times(times: Any, count: int) -> Array:
    if times is None:
        return np.arange(count, dtype=np.float64)
    found = to_array("times", times)
    require_shape("times", found, (count,), "a channel of the series", "Pass one time for each value.")
    if not np.isfinite(found).all() or (np.diff(found) <= 0).any():
        fix = "Sort the series by its times, and pass seconds or days as numbers."
        raise ArgumentError("times", describe(times), "finite numbers that increase", fix)
    return found
