"""The pictures of `captum.attr.visualization`, drawn by `attrfunc.viz`: the same parameters, defaults and returns.

What differs, on purpose:

* The default colours are told apart by colour-blind eyes: red for, blue against, where Captum has green and red.
* Colour bars say values, and arrows that some lie beyond the scale; Captum's say shares of the scale's end.
* Maps of zeros, and of very small values, are drawn; Captum raises or warns.
* Tensors are taken, too, and what cannot be right raises `attrfunc.ArgumentError`.
* Text is escaped, so that markup in a token is shown, not run. Without IPython `visualize_text` returns an object with
  `data`, `_repr_html_` and `save`, where Captum raises.

Example:
    >>> from attrfunc.captum.attr import visualization
    >>> heat, photo = torch.randn(8, 8, 3).numpy(), torch.rand(8, 8, 3).numpy()
    >>> figure, axis = visualization.visualize_image_attr(heat, photo, "blended_heat_map", "all", use_pyplot=False)
    >>> len(axis.images)
    2
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from attrfunc.captum.attr.figures import subplots
from attrfunc.captum.attr.text_pieces import (
    ImageVisualizationMethod,
    TimeseriesVisualizationMethod,
    VisualizeSign,
    format_classname,
    format_special_tokens,
    format_tooltip,
    format_word_importances,
)
from attrfunc.captum.attr.text_pieces import _get_color as _get_color
from attrfunc.captum.attr.text_table import VisualizationDataRecord, visualize_text
from attrfunc.core.errors import ArgumentError, describe, warn
from attrfunc.core.extras import require
from attrfunc.viz.arrays import Array, choice, described, drawing, named, require_shape, to_array
from attrfunc.viz.image import image
from attrfunc.viz.pixels import looks_turned
from attrfunc.viz.scales import Sign, scale_of
from attrfunc.viz.series import draw_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "ImageVisualizationMethod", "TimeseriesVisualizationMethod", "VisualizationDataRecord", "VisualizeSign",
    "format_classname", "format_special_tokens", "format_tooltip", "format_word_importances", "visualize_image_attr",
    "visualize_image_attr_multiple", "visualize_text", "visualize_timeseries_attr",
]  # fmt: skip

SIGNS: dict[str, Sign] = {
    "positive": "positive",
    "absolute_value": "absolute",
    "negative": "negative",
    "all": "all",
}
IMAGES = {
    "heat_map": "heat",
    "blended_heat_map": "overlay",
    "original_image": "",
    "masked_image": "masked",
    "alpha_scaling": "alpha",
}
SERIES = {"overlay_individual": "overlay", "overlay_combined": "combined", "colored_graph": "line"}


@drawing
def visualize_image_attr(
    attr: Any,
    original_image: Any = None,
    method: str = "heat_map",
    sign: str = "absolute_value",
    plt_fig_axis: tuple[Figure, Axes] | None = None,
    outlier_perc: int | float = 2,
    cmap: Any = None,
    alpha_overlay: float = 0.5,
    show_colorbar: bool = False,
    title: str | None = None,
    fig_size: tuple[int, int] = (6, 6),
    use_pyplot: bool = True,
) -> tuple[Figure, Axes]:
    """Draw the attributions of one image.

    Args:
        attr: `(H, W, C)` or `(H, W)`.
        original_image: The photograph `(H, W, C)`: floats from 0 to 1, or numbers from 0 to 255.
        method: `"heat_map"`, `"blended_heat_map"`, `"original_image"`, `"masked_image"` or `"alpha_scaling"`.
        sign: `"positive"`, `"absolute_value"`, `"negative"` or `"all"`.
        plt_fig_axis: A figure and its axis to draw in.
        outlier_perc: The largest values, which add up to so many percent of all, get the full colour.
        cmap: The colour map.
        alpha_overlay: How opaque a blended map is.
        show_colorbar: Whether to draw a colour bar below.
        title: The title.
        fig_size: Inches of a new figure.
        use_pyplot: Whether to make the figure by `pyplot`, and to show it.

    Returns:
        The figure and its axis.

    Raises:
        ArgumentError: If an argument cannot be right; see `attrfunc.viz.image`.
    """
    require("matplotlib", "viz")
    kind = choice("method", method, IMAGES)
    shown = SIGNS[choice("sign", sign, SIGNS)]
    if original_image is None and kind != "heat_map":
        fix = "Pass the photograph, or method='heat_map'."
        raise ArgumentError("original_image", "None", f"an image, which {kind!r} shows", fix)
    photo = None if original_image is None else _photograph(original_image)
    summed = _channels_last("attr", attr)
    with np.errstate(all="ignore"):  # what is beyond the largest float is drawn as not finite
        summed = summed.sum(2) if summed.ndim == 3 else summed
    _require_fit(summed, photo)
    limit = _threshold(summed, shown, outlier_perc)
    with subplots(plt_fig_axis, use_pyplot, fig_size) as (figure, axes):
        options: dict[str, Any] = {"ax": axes, "title": title, "channels": "last"}
        options["colorbar"] = "bottom" if show_colorbar else False
        if kind == "original_image":
            _original(photo, summed, options)
        else:
            opacity = alpha_overlay if kind == "blended_heat_map" else None
            style: Any = IMAGES[kind]
            colours = cmap if style in ("heat", "overlay") else None  # the others have the photograph's own
            image(summed, photo, style=style, sign=shown, limit=limit, cmap=colours, opacity=opacity, **options)
    return figure, axes


@drawing
def visualize_image_attr_multiple(
    attr: Any,
    original_image: Any,
    methods: list[str],
    signs: list[str],
    titles: list[str] | None = None,
    fig_size: tuple[int, int] = (8, 6),
    use_pyplot: bool = True,
    **kwargs: Any,
) -> tuple[Figure, Axes | list[Axes]]:
    """Draw the attributions of one image by several methods, side by side.

    Args:
        attr: `(H, W, C)` or `(H, W)`.
        original_image: The photograph `(H, W, C)`, or None.
        methods: As for `visualize_image_attr`.
        signs: One for each method.
        titles: One for each method.
        fig_size: Inches of the figure.
        use_pyplot: Whether to make the figure by `pyplot`, and to show it.
        **kwargs: Further arguments of `visualize_image_attr`.

    Returns:
        The figure, and the list of its axes; the axis itself where there is one.

    Raises:
        ArgumentError: If there are not as many signs or titles as methods, or as `visualize_image_attr`.
    """
    require("matplotlib", "viz")
    if not methods:
        raise ArgumentError("methods", describe(methods), "at least one method", "Pass ['heat_map'].")
    named("signs", signs, len(methods), "")
    if titles is not None:
        named("titles", titles, len(methods), "")
    with subplots(None, use_pyplot, fig_size, ncols=len(methods)) as (figure, found):
        axes = [found] if len(methods) == 1 else found.tolist()
        for number, (method, sign) in enumerate(zip(methods, signs, strict=True)):
            own: dict[str, Any] = {"plt_fig_axis": (figure, axes[number]), "title": titles[number] if titles else None}
            visualize_image_attr(attr, original_image, method, sign, use_pyplot=False, **own, **kwargs)
        figure.tight_layout()
    return figure, axes[0] if len(methods) == 1 else axes


@drawing
def visualize_timeseries_attr(
    attr: Any,
    data: Any,
    x_values: Any = None,
    method: str = "overlay_individual",
    sign: str = "absolute_value",
    channel_labels: list[str] | None = None,
    channels_last: bool = True,
    plt_fig_axis: tuple[Figure, Axes | list[Axes]] | None = None,
    outlier_perc: int | float = 2,
    cmap: Any = None,
    alpha_overlay: float = 0.7,
    show_colorbar: bool = False,
    title: str | None = None,
    fig_size: tuple[int, int] = (6, 6),
    use_pyplot: bool = True,
    **pyplot_kwargs: Any,
) -> tuple[Figure, Axes | list[Axes]]:
    """Draw the attributions of a time series.

    Args:
        attr: `(N, C)`, or `(C, N)` without `channels_last`.
        data: The series, of the same shape.
        x_values: Increasing times `(N,)`.
        method: `"overlay_individual"`, `"overlay_combined"` or `"colored_graph"`.
        sign: As for `visualize_image_attr`.
        channel_labels: The channels' names.
        channels_last: Whether channels stand last.
        plt_fig_axis: A figure and its axes to draw in, one for each channel.
        outlier_perc: As for `visualize_image_attr`.
        cmap: The colour map.
        alpha_overlay: How opaque the colours behind curves are.
        show_colorbar: Whether to draw a colour bar below.
        title: The title.
        fig_size: Inches of a new figure.
        use_pyplot: Whether to make the figure by `pyplot`, and to show it.
        **pyplot_kwargs: For the curves.

    Returns:
        The figure, and its axis or the array of its axes.

    Raises:
        ArgumentError: If an argument cannot be right; see `attrfunc.viz.series`.
    """
    require("matplotlib", "viz")
    from attrfunc.viz import canvas

    kind, shown = SERIES[choice("method", method, SERIES)], SIGNS[choice("sign", sign, SIGNS)]
    values, curves = _channels_first(attr, data, channels_last)
    with np.errstate(all="ignore"):
        values = values.sum(0, keepdims=True) if kind == "combined" else values
    times = np.arange(curves.shape[1], dtype=np.float64) if x_values is None else to_array("x_values", x_values)
    require_shape("x_values", times, curves.shape[1:], "a channel", "Pass one time for each value.")
    labels = [""] * len(curves) if channel_labels is None else named("channel_labels", channel_labels, len(curves), "")
    scale = scale_of(values, shown, 0.0, _threshold(values, shown, outlier_perc))
    colours = canvas.colour_map(cmap, shown)
    paint = canvas.colours(scale.shares(values), colours, scale.signed)
    with subplots(plt_fig_axis, use_pyplot, fig_size, nrows=len(values), sharex=True) as (figure, axes):
        panels = np.atleast_1d(np.asarray(axes, dtype=object))
        if len(panels) != len(values):
            fix = f"Make it by figure.subplots({len(values)}, sharex=True)."
            raise ArgumentError("plt_fig_axis", f"{len(panels)} axes", f"{len(values)}, one for each panel", fix)
        draw_panels(panels, times, curves, paint, labels, kind, alpha=alpha_overlay, **pyplot_kwargs)
        if len(times) > 1:
            panels[-1].set_xlim(times[0], times[-1])
        if plt_fig_axis is None:
            figure.subplots_adjust(hspace=0)
        if show_colorbar:
            canvas.bar(figure, scale, colours, "", ax=list(panels), location="bottom", fraction=0.05, pad=0.1)
        if title:
            panels[0].set_title(title, parse_math=False)
    return figure, axes


def _photograph(given: Any) -> Array:
    """A photograph `(H, W, C)` as floats from 0 to 1, whichever of its two ranges it has."""
    found = _channels_last("original_image", given)
    return found if found.max() <= 1 else np.clip(found, 0, 255) / 255


def _channels_last(name: str, given: Any) -> Array:
    found = to_array(name, given)
    if found.ndim == 3 and looks_turned(found, last=True):
        fix = f"It looks like (C, H, W): pass {name}.transpose(1, 2, 0) of an array, .permute(1, 2, 0) of a tensor. "
        raise ArgumentError(name, described(given), "(H, W, C) or (H, W)", fix + "If it is not, sum over the channels.")
    return found


def _require_fit(summed: Array, photo: Array | None) -> None:
    if summed.ndim != 2:
        fix = "Pass one example, attr[0].transpose(1, 2, 0)."
        raise ArgumentError("attr", f"{summed.ndim} dimensions", "(H, W, C) or (H, W)", fix)
    if photo is not None and photo.shape[:2] != summed.shape:
        fix = "Resize a layer's attributions by LayerAttribution.interpolate; channels stand last in both."
        raise ArgumentError("attr", f"positions {summed.shape}", f"{photo.shape[:2]}, those of original_image", fix)


def _original(photo: Any, summed: Array, options: dict[str, Any]) -> None:
    """The photograph alone; an invisible colour bar keeps it as large as its neighbours."""
    image(np.ones_like(summed), photo, style="alpha", sign="absolute", **options)
    axes = options["ax"]
    if options["colorbar"]:
        axes.figure.axes[-1].set_visible(False)


def _threshold(values: Array, sign: Sign, outlier_perc: Any) -> float | None:
    """Captum's end of the scale: the size below which values add up to all but so many percent of the sum of all."""
    number = isinstance(outlier_perc, int | float | np.number) and not isinstance(outlier_perc, bool)
    if not number or not 0 <= outlier_perc <= 100:
        raise ArgumentError("outlier_perc", describe(outlier_perc), "percent, from 0 to 100", "2 is the default.")
    finite = values[np.isfinite(values)]
    kept = {"positive": np.maximum(finite, 0), "negative": np.minimum(finite, 0)}.get(sign, finite)
    sizes = np.sort(np.abs(kept))
    if not sizes.size or sizes[-1] == 0:
        return None
    # By a power of two, which rounds nothing, so that sums stay below the largest float.
    sums = np.cumsum(np.ldexp(sizes, -np.frexp(sizes[-1])[1]))
    place = np.searchsorted(sums, sums[-1] * 0.01 * (100.0 - outlier_perc))
    return float(sizes[min(place, len(sizes) - 1)]) or None  # all of the sum may round to more than it


def _channels_first(attr: Any, data: Any, channels_last: bool) -> tuple[Array, Array]:
    """Attributions and series, `(C, N)`."""
    values, curves = to_array("attr", attr), to_array("data", data)
    form = "(N, C)" if channels_last else "(C, N)"
    if values.ndim != 2:
        fix = "Pass one example, attr[0]; give a single channel a dimension."
        raise ArgumentError("attr", f"shape {values.shape}", form, fix)
    require_shape("attr", values, curves.shape, "data", "Pass what a method returned for this series.")
    values, curves = (values.T, curves.T) if channels_last else (values, curves)
    if len(curves) > curves.shape[1]:
        warn(f"{len(curves)} channels are more than the {curves.shape[1]} times of the series: is it {form}?")
    return values, curves
