"""What pairs of features do together: a matrix, or a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from attrfunc.core.errors import ArgumentError, positive
from attrfunc.core.extras import require
from attrfunc.viz.arrays import Array, choice, described, drawing, named, require_shape, to_array
from attrfunc.viz.pixels import missing_note
from attrfunc.viz.scales import Scale, number, scale_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["interactions"]

LEVEL = 14  # names around a network that still have room beside each other
NUMBERED = 14  # features of a matrix that still has room for numbers


@drawing
def interactions(
    pairs: Any,
    single: Any = None,
    *,
    names: Sequence[str] | None = None,
    style: Literal["matrix", "network"] = "matrix",
    top: int | None = None,
    outliers: float = 0.0,
    cmap: Any = None,
    colorbar: bool = True,
    unit: str = "",
    title: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw what pairs of features add together, and optionally what each adds alone.

    Args:
        pairs: A symmetric matrix `(n, n)` for one example, as `af.shapley_interactions` gives.
        single: What each adds by itself, `(n,)`: on the diagonal of the matrix, or the size of the network's nodes.
        names: The features' names.
        style: `"matrix"`, or `"network"`: features around a circle, lines as wide as what their ends add together.
        top: How many pairs a network shows, the largest; all by default.
        outliers: How many percent of the values may lie beyond the scale.
        cmap: Another colour map of matplotlib's.
        colorbar: Whether to draw a colour bar.
        unit: What stands beside it.
        title: What stands above.
        ax: Axes to draw in; a new figure by default.

    Returns:
        The figure; see `af.viz.image`.

    Raises:
        ArgumentError: If `pairs` is not a symmetric matrix, or names or single values are not as many.

    Example:
        >>> single, pairs = af.shapley_interactions(lambda x: x[:, 0] * x[:, 1] + x[:, 2], torch.ones(1, 3))
        >>> figure = af.viz.interactions(pairs[0], single[0], names=["a", "b", "c"])
        >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
        ['a', 'b', 'c']
    """
    require("matplotlib", "viz")
    from attrfunc.viz import canvas

    matrix = _symmetric(pairs)
    count = len(matrix)
    labels = [_cut(name) for name in named("names", names, count, "")]
    alone = None if single is None else to_array("single", single)
    if alone is not None:
        require_shape("single", alone, (count,), "a row of the pairs", "Choose one example: single[0].")
    off = matrix[~np.eye(count, dtype=bool)]
    scale = scale_of(off if alone is None else np.concatenate([off, alone]), "all", outliers)
    colours = canvas.colour_map(cmap, "all")
    side = min(max(2.2 + 0.42 * count, 3.6), 11.0) if style == "matrix" else 4.6 if count <= LEVEL else 6.5
    figure, axes = canvas.canvas(ax, (side + 1.2, side))
    paint = lambda shares: canvas.colours(shares, colours, True)  # noqa: E731
    if choice("style", style, ("matrix", "network")) == "matrix":
        _matrix(axes, matrix, alone, labels, scale, paint)
    else:
        _network(axes, matrix, alone, labels, scale, paint, None if top is None else positive("top", top))
    axes.set_xlabel(missing_note(scale), fontsize=8)
    if title:
        canvas.titled(axes, title)
    if colorbar:
        canvas.bar(figure, scale, colours, unit, ax=axes, shrink=0.8, pad=0.03)
    return figure


def _matrix(axes: Axes, matrix: Array, alone: Array | None, labels: list[str], scale: Scale, paint: Any) -> None:
    """The lower half, of which the upper is the mirror image."""
    from matplotlib.patches import Rectangle

    count = len(matrix)
    hidden = np.triu(np.ones_like(matrix, dtype=bool), 1 if alone is not None else 0)
    shown = matrix if alone is None else np.where(np.eye(count, dtype=bool), alone, matrix)
    cells = paint(scale.shares(shown))
    cells[hidden] = (1, 1, 1, 0)
    axes.imshow(cells, interpolation="nearest", origin="upper")
    for i, j in zip(*np.nonzero(~hidden), strict=True):
        if count <= NUMBERED and np.isfinite(shown[i, j]):
            ink = "white" if cells[i, j, :3] @ [0.299, 0.587, 0.114] < 0.45 else "#222222"
            axes.text(j, i, number(shown[i, j]), ha="center", va="center", fontsize=7.5, color=ink)
        if i == j:
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, edgecolor="#222222", linewidth=0.8))
    size = 9 if count <= 20 else 6
    axes.set_xticks(range(count), labels, rotation=40, ha="right", rotation_mode="anchor", fontsize=size)
    axes.set_yticks(range(count), labels, fontsize=size)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_parse_math(False)
    if alone is None:  # the first has no row, and the last no column
        axes.set(xlim=(-0.5, count - 1.5), ylim=(count - 0.5, 0.5))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _network(
    axes: Axes, matrix: Array, alone: Array | None, labels: list[str], scale: Scale, paint: Any, top: int | None
) -> None:
    from matplotlib.collections import LineCollection

    count = len(matrix)
    angles = np.pi / 2 - 2 * np.pi * np.arange(count) / count
    places = np.stack([np.cos(angles), np.sin(angles)], 1)
    first, second = np.tril_indices(count, -1)
    values = np.nan_to_num(matrix[first, second], nan=0.0, posinf=0.0, neginf=0.0)
    order = np.argsort(np.abs(values), kind="stable")
    order = order[np.abs(values[order]) > 0][-top if top else None :]  # the largest last, above the others
    lines = np.stack([places[first[order]], places[second[order]]], 1)
    shares = scale.shares(values[order])
    if len(order):
        widths = 0.4 + 6 * np.abs(shares)
        axes.add_collection(LineCollection(list(lines), colors=paint(shares), linewidths=widths, zorder=1))
    own = np.zeros(count) if alone is None else scale.shares(alone)
    sizes = 120 + 500 * np.abs(np.nan_to_num(own)) if alone is not None else 120
    fill = paint(own) if alone is not None else "white"
    axes.scatter(*places.T, s=sizes, c=fill, edgecolors="#444444", linewidths=0.9, zorder=2)
    _around(axes, angles, labels)
    axes.set(aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _around(axes: Axes, angles: Array, labels: list[str]) -> None:
    """Names around the circle; where they are many they point away from it, since they would lie over each other."""
    radial = len(labels) > LEVEL
    for angle, label in zip(angles, labels, strict=True):
        across, up = np.cos(angle), np.sin(angle)
        style: dict[str, Any] = {"ha": "center" if abs(across) < 0.3 else "left" if across > 0 else "right"}
        style["va"] = "center" if abs(across) >= 0.3 else "bottom" if up > 0 else "top"
        if radial:
            turned = np.degrees(angle) + (180 if across < -1e-9 else 0)
            style = {"ha": "right" if across < -1e-9 else "left", "va": "center", "rotation": turned}
        away = (16 * across, 16 * up)
        axes.annotate(
            label,
            (across, up),
            away,
            textcoords="offset points",
            fontsize=8 if radial else 9,
            rotation_mode="anchor",
            parse_math=False,
            **style,
        )
    reach = 1.3 + 0.035 * max(map(len, labels)) if radial else 1.25
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach))


def _symmetric(pairs: Any) -> Array:
    found = to_array("pairs", pairs)
    if found.ndim != 2 or found.shape[0] != found.shape[1] or len(found) < 2:
        fix = "Choose one example: pairs[0]." if found.ndim == 3 else "Pass the second of af.shapley_interactions."
        raise ArgumentError("pairs", described(pairs), "a square matrix (n, n) of at least two features", fix)
    finite = np.abs(found[np.isfinite(found)])
    slack = 1e-3 * (float(finite.max()) if finite.size else 0.0)  # that of half precision
    if not np.isclose(found, found.T, rtol=0, atol=slack, equal_nan=True).all():
        fix = "Add what (i, j) and (j, i) do together, and split it: (pairs + pairs.mT) / 2."
        raise ArgumentError("pairs", "a matrix that is not symmetric", "a symmetric one", fix)
    return found


def _cut(name: str) -> str:
    name = " ".join(name.split())  # in one line
    return name if len(name) <= 24 else name[:23] + "…"
