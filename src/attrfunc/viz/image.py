"""The picture of one map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from attrfunc.core.extras import require
from attrfunc.viz.arrays import drawing
from attrfunc.viz.pixels import Channels, Style, layers, missing_note, photograph, require_fit, style_of, to_map
from attrfunc.viz.scales import Sign, fraction, scale_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["image"]


@drawing
def image(
    attributions: Any,
    image: Any = None,
    *,
    style: Style = "heat",
    sign: Sign = "all",
    outliers: float = 1.0,
    limit: float | None = None,
    channels: Channels = "first",
    opacity: float | None = None,
    cmap: Any = None,
    colorbar: bool | Literal["right", "bottom"] | Axes = True,
    unit: str = "",
    title: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw the attributions of one image, summed over channels, by themselves or with the photograph.

    Red speaks for and blue against; the default colours are told apart by colour-blind eyes, too. Values that are not
    finite are green, and counted below the picture.

    Args:
        attributions: `(C, H, W)` or `(H, W)`; a tensor on any device, or an array.
        image: The photograph that is explained, in the same layout: 1, 3 or 4 channels (grey, colours, and opacity),
            floats from 0 to 1 or integers from 0 to 255.
        style: `"heat"`, the map alone; `"overlay"`, over the pale grey photograph, the more opaque the larger;
            `"masked"`, the photograph, dark where values are small; `"alpha"`, the photograph, fading there.
        sign: Which values are shown: `"all"`, `"positive"`, `"negative"`, or the size of all, `"absolute"`.
        outliers: How many percent of the positions may lie beyond the scale, which a few pixels would stretch; arrows
            on the colour bar say that some do.
        limit: Where the scale ends instead, in units of the attributions: pictures with the same limit compare.
        channels: Where the channels of *both* stand: `"first"` as torch has them, or `"last"`, `(H, W, C)`.
        opacity: How opaque the map lies over the photograph, from 0 to 1, the same everywhere; by default the more the
            larger a value is.
        cmap: Another colour map of matplotlib's.
        colorbar: Whether to draw a colour bar, or where: `"right"` or `"bottom"`, or axes to draw it in.
        unit: What stands beside the colour bar.
        title: What stands above.
        ax: Axes to draw in; a new figure by default.

    Returns:
        The figure; nothing is shown. A new one has `save`, which writes `.png`, `.svg` and `.html`.

    Raises:
        ArgumentError: If a layout is not what `channels` says, the map does not fit the image, or an option is unknown.

    Example:
        >>> heat, photo = torch.randn(3, 32, 32), torch.rand(3, 32, 32)
        >>> figure = af.viz.image(heat, photo, style="overlay", title="saliency")
        >>> figure.axes[0].get_title()
        'saliency'
    """
    require("matplotlib", "viz")
    from attrfunc.viz import canvas

    values = to_map("attributions", attributions, channels)
    scale = scale_of(values, sign, outliers, limit)
    kind = style_of(style, sign, image is not None, cmap)
    photo = None if image is None else photograph(image, channels)
    if photo is not None:
        require_fit(values, photo)
    colours = canvas.colour_map({"masked": "gray", "alpha": "gray_r"}.get(kind, cmap), scale.sign)
    height, width = values.shape
    side = "right" if colorbar is True else colorbar
    figure, axes = canvas.canvas(ax, _size(height, width, side == "right", side == "bottom", bool(title)))
    shares = scale.shares(values)
    over = None if opacity is None else fraction("opacity", opacity)
    for layer in layers(kind, shares, photo, lambda part: canvas.colours(part, colours, scale.signed), over):
        axes.imshow(layer, interpolation="nearest", origin="upper")
    canvas.plain(axes)
    axes.set_xlabel(missing_note(scale, kind), fontsize=8)
    if title:
        canvas.titled(axes, title)
    if side in ("right", "bottom"):
        canvas.bar(figure, scale, colours, unit, ax=axes, location=side, shrink=0.9, pad=0.03, aspect=25)
    elif side is not False:
        canvas.bar(figure, scale, colours, unit, **canvas.inside("colorbar", side))
    return figure


def _size(height: int, width: int, right: bool, bottom: bool, title: bool) -> tuple[float, float]:
    """Inches of a figure whose picture has the proportions of the map, within bounds."""
    ratio = min(max(height / width, 0.3), 3.0)
    across = 4.0 / max(ratio, 1.0)
    return across + (1.1 if right else 0.1), across * ratio + 0.2 + 0.3 * title + 0.6 * bottom
