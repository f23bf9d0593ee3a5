"""Several methods and several photographs in one grid."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.extras import require
from attrfunc.viz.arrays import Array, choice, described, drawing, named, text
from attrfunc.viz.pixels import Channels, Style, layers, missing_note, photograph, require_fit, style_of, to_map
from attrfunc.viz.scales import Scale, Sign, scale_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["images"]

Shared = Literal["picture", "method", "all"]
SIDE = 1.5  # inches of a picture


@drawing
def images(
    attributions: Mapping[str, Any] | Any,
    images: Any = None,
    *,
    names: Sequence[str] | None = None,
    style: Style | None = None,
    sign: Sign = "all",
    outliers: float = 1.0,
    shared: Shared = "picture",
    channels: Channels = "first",
    cmap: Any = None,
    unit: str = "",
    title: str | None = None,
) -> Figure:
    """Draw a row for each method and a column for each photograph; the photographs themselves stand first.

    Args:
        attributions: By the method's name, the attributions of N photographs: `(N, C, H, W)`, `(N, H, W)`, or a list
            of N maps as `af.viz.image` takes them, whose sizes may differ. Without names: those of one method.
        images: The N photographs; see `af.viz.image`.
        names: What stands above each.
        style: As for `af.viz.image`; `"overlay"` where photographs are given, else `"heat"`.
        sign: Which values are shown; see `af.viz.image`.
        outliers: How many percent of the positions may lie beyond a scale.
        shared: What has a scale of its own: each `"picture"`, each `"method"`, or none, `"all"`. Methods differ in
            units, so only the first two compare unlike methods.
        channels: Where the channels of all stand.
        cmap: Another colour map of matplotlib's.
        unit: What stands beside the colour bar where all share a scale.
        title: What stands above all.

    Returns:
        The figure; see `af.viz.image`. Below each picture stands the range of its scale.

    Raises:
        ArgumentError: As for `af.viz.image`, or if methods have different numbers of maps.

    Example:
        >>> maps = {"saliency": torch.rand(2, 3, 16, 16), "IG": torch.randn(2, 3, 16, 16)}
        >>> figure = af.viz.images(maps, torch.rand(2, 3, 16, 16), names=["cat", "dog"])
        >>> len(figure.axes)  # two rows of methods and one of photographs, and a colour bar
        7
    """
    require("matplotlib", "viz")
    kind = style_of(style or ("heat" if images is None else "overlay"), sign, images is not None, cmap)
    rows = _maps(attributions, channels)
    count = len(next(iter(rows.values())))
    photos = _photographs(images, rows, channels)
    labels = named("names", names, count, "") if names is not None else [""] * count
    scales = _scales(rows, sign, outliers, choice("shared", shared, ("picture", "method", "all")))
    return _grid(rows, photos, scales, kind, labels, cmap, (shared, unit, title))


def _maps(attributions: Any, channels: Any) -> dict[str, list[Array]]:
    """The maps `(H, W)` of each method."""
    given = attributions if isinstance(attributions, Mapping) else {"": attributions}
    rows = {}
    for method, maps in given.items():
        name = f"attributions[{method!r}]" if method else "attributions"
        rows[str(method)] = [to_map(f"{name}[{number}]", one, channels) for number, one in enumerate(_each(name, maps))]
    if not rows or not all(rows.values()):
        fix = 'Pass {"name of the method": maps}.'
        raise ArgumentError("attributions", describe(attributions), "at least one method and one map", fix)
    counts = {method: len(maps) for method, maps in rows.items()}
    if len(set(counts.values())) > 1:
        fix = "Attribute the same photographs by each method."
        raise ArgumentError("attributions", f"numbers of maps {counts}", "as many maps of each method", fix)
    return rows


def _each(name: str, maps: Any) -> list[Any]:
    if isinstance(maps, str | Mapping) or (getattr(maps, "ndim", 3) < 3) or not hasattr(maps, "__len__"):
        expected = "maps (N, C, H, W) or (N, H, W), or a list of N maps"
        raise ArgumentError(name, described(maps), expected, f"Give one map a number: {name}[None].")
    return list(maps)


def _photographs(images: Any, rows: dict[str, list[Array]], channels: Any) -> list[Array] | None:
    if images is None:
        return None
    given = _each("images", images)
    maps = next(iter(rows.values()))
    if len(given) != len(maps):
        fix = "Pass the photographs that were explained, in their order."
        raise ArgumentError("images", f"{len(given)} photographs", f"{len(maps)}, as many as maps", fix)
    photos = [photograph(one, channels, f"images[{number}]") for number, one in enumerate(given)]
    for method, found in rows.items():
        for number, (one, photo) in enumerate(zip(found, photos, strict=True)):
            require_fit(one, photo, f"attributions[{method!r}][{number}]" if method else f"attributions[{number}]")
    return photos


def _scales(rows: dict[str, list[Array]], sign: Any, outliers: Any, shared: str) -> dict[str, list[Scale]]:
    """The scale of each picture; those of one group end together, where the largest of them does."""
    own = {method: [scale_of(one, sign, outliers) for one in maps] for method, maps in rows.items()}
    if shared == "picture":
        return own
    everywhere = _top(one for scales in own.values() for one in scales)
    tops = {method: everywhere if shared == "all" else _top(scales) for method, scales in own.items()}
    return {method: [scale_of(one, sign, outliers, tops[method]) for one in maps] for method, maps in rows.items()}


def _top(scales: Iterable[Scale]) -> float:
    """Where the largest of the scales ends; maps that show nothing do not count, as theirs end anywhere."""
    listed = list(scales)
    return max((scale.top for scale in listed if not scale.blank), default=listed[0].top)


def _grid(
    rows: dict[str, list[Array]],
    photos: list[Array] | None,
    scales: dict[str, list[Scale]],
    kind: Style,
    labels: list[str],
    cmap: Any,
    told: tuple[str, str, str | None],
) -> Figure:
    from attrfunc.viz import canvas

    shared, unit, title = told
    some = _of_all([scale for found in scales.values() for scale in found], shared == "all")
    colours = canvas.colour_map({"masked": "gray", "alpha": "gray_r"}.get(kind, cmap), some.sign)
    across, first = len(labels), 0 if photos is None else 1
    ratio = min(max(*(one.shape[0] / one.shape[1] for maps in rows.values() for one in maps), 0.3), 3.0)
    size = (SIDE * across + 1.3, (SIDE * ratio + 0.25) * (len(rows) + first) + 1.0)
    figure = canvas.Picture(figsize=size, layout="constrained")
    grid = figure.subplots(len(rows) + first, across, squeeze=False)
    for number in range(across):
        _label(grid[0, number].set_title, labels[number], 18, fontsize=9)
        if photos is not None:
            grid[0, number].imshow(photos[number], interpolation="nearest", origin="upper")
            canvas.plain(grid[0, number])
    for row, (method, maps) in zip(grid[first:], rows.items(), strict=True):
        _label(row[0].set_ylabel, method, 16, fontsize=9, rotation=0, ha="right", va="center")
        for number, (axes, one, scale) in enumerate(zip(row, maps, scales[method], strict=True)):
            photo = None if photos is None else photos[number]
            paint = lambda part: canvas.colours(part, colours, some.signed)  # noqa: E731
            for layer in layers(kind, scale.shares(one), photo, paint):
                axes.imshow(layer, interpolation="nearest", origin="upper")
            canvas.plain(axes)
            axes.set_xlabel(_below(scale, kind, shared != "all"), fontsize=7, color=canvas.faint(), labelpad=2)
    place = {"ax": grid.ravel().tolist(), "orientation": "horizontal", "shrink": min(1.0, 3.0 / size[0]), "aspect": 28}
    bar = canvas.bar(figure, some, colours, unit, **place, pad=0.02)
    if shared != "all":
        ends = {"all": ("against", "for"), "negative": ("0", "against"), "positive": ("0", "for")}
        low, high = ends.get(some.sign, ("little", "much"))
        bar.set_ticks([-1, 0, 1] if some.signed else [0, 1], labels=[low, "0", high] if some.signed else [low, high])
    if title:
        figure.suptitle(text(title), fontsize=11, parse_math=False, wrap=True)
    return figure


def _of_all(scales: list[Scale], shared: bool) -> Scale:
    """What the one colour bar says: where pictures end at different values, it has no arrows."""
    ends = {scale.extend for scale in scales} - {"neither"} if shared else set()
    extend = "neither" if not ends else ends.pop() if len(ends) == 1 else "both"
    return replace(scales[0], extend=extend)


def _below(scale: Scale, kind: str, ranged: bool) -> str:
    beyond = {"neither": ""}.get(scale.extend, ", clipped")
    lines = [scale.range + beyond if ranged else beyond.lstrip(", "), missing_note(scale, kind)]
    return "\n".join(filter(None, lines))


def _label(write: Any, text: str, width: int, **style: Any) -> None:
    write("\n".join(textwrap.wrap(text, width)), parse_math=False, **style)
