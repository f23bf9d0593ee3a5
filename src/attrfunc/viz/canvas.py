"""What matplotlib does for all pictures: figures, colours, colour bars. Imported while drawing, not before.

Figures are made without `pyplot`, so that nothing is shown, no window or global list keeps them, and threads may draw.
"""

from __future__ import annotations

import base64
import html
import io
import textwrap
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, rcParams
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.viz.arrays import Array, text
from attrfunc.viz.pages import target, write_page
from attrfunc.viz.scales import Scale, Sign

__all__ = [
    "AGAINST",
    "FOR",
    "MISSING",
    "Picture",
    "bar",
    "canvas",
    "checked_axes",
    "colour_map",
    "colours",
    "faint",
    "ink",
    "inside",
    "plain",
    "titled",
]

# Red speaks for, blue against: their lightness differs from that of zero, and their hue from each other for all eyes.
FOR, AGAINST = "#b2182b", "#2166ac"
TITLE = 13  # characters of a title to an inch
MISSING = (0.25, 1.0, 0.0, 1.0)  # of values that are not finite: a green that is near no default scale, for no eye


def ink() -> Any:
    """The colour of letters and lines: near black, or what a style takes on a dark ground."""
    return rcParams["text.color"] if _dark_ground() else "#222222"


def faint() -> str:
    """The colour of what stands beside."""
    return "#aaaaaa" if _dark_ground() else "#666666"


def _dark_ground() -> bool:
    red, green, blue, opacity = to_rgba(rcParams["figure.facecolor"])
    return opacity > 0.5 and 0.299 * red + 0.587 * green + 0.114 * blue < 0.4


class Picture(Figure):
    """A matplotlib figure that also writes itself as a web page, and shows itself in notebooks.

    Attributes:
        tight: Whether files end where the drawing does, instead of where the figure does.
    """

    tight = False

    def savefig(self, fname: Any, **options: Any) -> None:
        """As matplotlib's; a figure that is `tight` is cut, or widened, to what is drawn."""
        super().savefig(fname, **{**({"bbox_inches": "tight"} if self.tight else {}), **options})

    def save(self, path: str | Path, **options: Any) -> Path:
        """Write a file in the form that its name says: `.png`, `.svg`, `.pdf` and others of matplotlib's, or `.html`.

        Args:
            path: Where.
            **options: For `Figure.savefig`, such as `dpi`.

        Returns:
            The path.

        Raises:
            ArgumentError: If the name does not say the form.
        """
        path = target(path, {"html", "htm", *self.canvas.get_supported_filetypes()})
        if path.suffix.lower() in (".html", ".htm"):
            return write_page(path, self._repr_html_(**options), self._told())
        self.savefig(path, **options)
        return path

    def _repr_html_(self, **options: Any) -> str:
        stream = io.BytesIO()
        self.savefig(stream, **{"dpi": 144, **options, "format": "png"})
        data = base64.b64encode(stream.getvalue()).decode()
        width = round(96 * self.get_size_inches()[0])
        style = f"width:{width}px;max-width:100%;height:auto"
        return f'<img style="{style}" alt="{html.escape(self._told())}" src="data:image/png;base64,{data}">'

    def _told(self) -> str:
        titles = [self.get_suptitle(), *(axes.get_title() for axes in self.axes)]
        return next((title for title in titles if title), "attributions")


def canvas(ax: Axes | None, size: tuple[float, float]) -> tuple[Figure, Axes]:
    """A figure and its axes: the user's, or new ones of a size in inches."""
    if ax is None:
        figure = Picture(figsize=size, layout="constrained")
        return figure, figure.subplots()
    figure = checked_axes("ax", ax).figure
    while not isinstance(figure, Figure):  # a part of a figure
        figure = figure.figure
    return figure, ax


def checked_axes(name: str, axes: Any) -> Axes:
    """Check that an argument is axes, to draw in."""
    if not isinstance(axes, Axes):
        fix = "Pass one of figure.subplots(), or leave it out."
        raise ArgumentError(name, describe(axes), "axes of matplotlib", fix)
    return axes


def inside(name: str, axes: Any) -> dict[str, Any]:
    """Where a colour bar goes that fills axes: along their longer side."""
    if isinstance(axes, str):
        raise ArgumentError(name, repr(axes), "True, False, 'right', 'bottom' or axes of matplotlib", "Pass True.")
    box = checked_axes(name, axes).get_window_extent()
    return {"cax": axes, "orientation": "horizontal" if box.width > box.height else "vertical"}


def titled(axes: Axes, title: str) -> None:
    """A title, in as many lines as it needs."""
    # Of its figure or part of one, which has no size in inches.
    width = axes.figure.bbox.width / axes.figure.dpi * axes.get_position().width if axes.figure else 4.0
    lines = textwrap.wrap(text(title), max(int(width * TITLE), 12)) or [""]
    axes.set_title("\n".join(lines), fontsize=10, color=ink(), parse_math=False)


def plain(axes: Axes) -> None:
    """No ticks and no frame, but room for labels."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def colour_map(cmap: Any, sign: Sign) -> Colormap:
    """The colour map that was asked for, or the default of a sign."""
    if cmap is None:
        return _default(sign)
    if isinstance(cmap, Colormap):
        return cmap
    if not isinstance(cmap, str) or cmap not in colormaps:
        known = ", ".join(name for name in colormaps if not name.endswith("_r"))
        fix = "Add _r to turn one around, or leave it out for one that colour-blind eyes read, too."
        raise ArgumentError("cmap", describe(cmap), f"a Colormap or a name that matplotlib knows: {known}", fix)
    return colormaps[cmap]


def _default(sign: Sign) -> Colormap:
    signed = colormaps["RdBu_r"]
    if sign == "all":
        return signed
    if sign == "absolute":
        return colormaps["magma_r"]
    # The halves of the signed map, so that a colour means the same on each.
    half = np.linspace(0.5, 1.0 if sign == "positive" else 0.0, 128)
    return LinearSegmentedColormap.from_list(sign, signed(half))


def colours(shares: Array, cmap: Colormap, signed: bool) -> Array:
    """Shares `S` as red, green, blue and opacity `(*S, 4)`."""
    missing = np.isnan(shares)
    place = np.where(missing, 0.0, shares)
    found: Array = cmap(0.5 + 0.5 * place if signed else place)
    found[missing] = MISSING
    return found


def _tick(scale: Scale, share: float, _: int) -> str:
    return scale.label(share)


def bar(figure: Figure, scale: Scale, cmap: Colormap, unit: str, **place: Any) -> Any:
    """A colour bar that says in values where the scale ends, with arrows where values lie beyond.

    Args:
        figure: The figure.
        scale: The scale.
        cmap: Its colours.
        unit: What stands beside it.
        **place: Where, in the words of `Figure.colorbar`.
    """
    mappable = ScalarMappable(Normalize(-1 if scale.signed else 0, 1), cmap)
    form = FuncFormatter(partial(_tick, scale))  # unlike a lambda it can be pickled, with the figure
    found = figure.colorbar(mappable, extend=scale.extend, ticks=scale.ticks, format=form, **place)
    found.ax.tick_params(labelsize=8)
    found.outline.set_linewidth(0.5)
    if unit:
        found.set_label(text(unit), fontsize=9, parse_math=False)
    return found
