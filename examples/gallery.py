"""Draws what methods found: a picture for each, and a page of all, over the photograph that they explain."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from scipy.ndimage import gaussian_filter

import attrfunc as af
from case import Finding
from classifier import SIZE
from methods import Method

SIGMA = 3  # of the blur of maps at the input, whose neighbouring pixels mostly cancel
PERCENTILE = 99.5
ROUGH = 0.05  # a gap above which a picture is marked
SIGNED, SIZES = "RdBu_r", "magma_r"  # red and blue are told apart by the colour-blind, too
INK, FAINT, WARNING = "#111111", "#555555", "#a33b00"
DPI, COLUMNS, TILE, SIDE, TEXT, HEAD = 100, 7, 228, 188, 70, 88  # of the page, in pixels


@dataclass(frozen=True)
class Panel:
    """A method's finding, ready to be drawn.

    Attributes:
        method: The method.
        finding: What it found; None if it did not run.
        seconds: How long it took.
    """

    method: Method
    finding: Finding | None = None
    seconds: float = 0.0

    @property
    def smoothed(self) -> bool:
        """Whether the map has the input's resolution, and is not to be shown as it is."""
        return self.finding.values.shape[-1] == SIZE and not self.method.blocky


@dataclass(frozen=True)
class Picture:
    """A plain picture among the panels."""

    title: str
    image: Image.Image | np.ndarray
    note: str = ""


@dataclass(frozen=True)
class Map:
    """One number for each pixel, and the end of the colour scale."""

    heat: np.ndarray
    top: float
    peak: float

    @property
    def clipped(self) -> bool:
        """Whether the largest values lie visibly beyond the scale."""
        return self.peak > 1.05 * self.top


def heat_map(panel: Panel) -> Map:
    """The sum over channels, smoothed at the input, interpolated at a layer; the scale ends where the last pixels do.

    A few pixels stand far out; a scale that reached to them would leave the rest pale.
    """
    values = panel.finding.values
    values = (values if panel.method.signed else values.abs()).sum(1, keepdim=True)
    if values.shape[-1] != SIZE:
        values = torch.nn.functional.interpolate(values, (SIZE, SIZE), mode="bicubic")
    heat = values[0, 0].numpy()
    heat = gaussian_filter(heat, SIGMA) if panel.smoothed else heat
    peak = float(np.abs(heat).max())
    top = peak if panel.method.blocky else float(np.percentile(np.abs(heat), PERCENTILE))
    return Map(heat, top or peak or 1.0, peak)  # the percentile of a map with a few pixels only is zero


def captions(panel: Panel, found: Map) -> tuple[list[str], str]:
    """What stands below a picture: where its scale ends, what was evaluated, and what to be cautious of."""
    finding, sign = panel.finding, "\N{PLUS-MINUS SIGN}" if panel.method.signed else "up to "
    clipped = f", peak {found.peak / found.top:.1f} x" if found.clipped else ""
    effort = [finding.effort, *([] if finding.gap is None else [f"gap {finding.gap:.0%}"]), f"{panel.seconds:.1f} s"]
    lines = [f"{sign}{found.top:.2g} {panel.method.unit}".rstrip() + clipped, ", ".join(effort)]
    if finding.gap is None or finding.gap <= ROUGH or finding.caution:
        return lines, finding.caution
    return lines, f"too few points: off by {finding.gap:.0%} in sum"


def overlay(axes: Axes, panel: Panel, photo: Image.Image, bar: Axes | bool = False) -> Map:
    """Draw a heat map over the pale grey photograph, opaque where the values are large."""
    found, method = heat_map(panel), panel.method
    sign, colours = ("all", SIGNED) if method.signed else ("positive", SIZES)
    meaning = "for (red) and against (blue)" if method.signed else "size"
    options = {"limit": found.top, "cmap": colours, "unit": ", ".join(filter(None, [meaning, method.unit]))}
    picture = np.asarray(photo.convert("RGB"))
    af.viz.image(found.heat, picture, style="overlay", sign=sign, channels="last", ax=axes, colorbar=bar, **options)
    if panel.finding.cell:
        row, column = panel.finding.cell
        side = SIZE / 7
        axes.add_patch(Rectangle((column * side, row * side), side, side, fill=False, edgecolor="black", linewidth=1.2))
    return found


def draw_picture(panel: Panel, photo: Image.Image, heading: str, path: Path) -> None:
    """Write the picture of one method, with its colour bar."""
    figure = Figure(figsize=(5.6, 6.9), dpi=DPI)
    figure.text(0.5, 0.965, panel.method.title, fontsize=14, weight="bold", ha="center", va="center")
    figure.text(0.5, 0.93, heading, fontsize=9.5, color=FAINT, ha="center", va="center")
    axes = figure.add_axes((0.08, 0.23, 0.84, 0.84 * 5.6 / 6.9))
    found = overlay(axes, panel, photo, figure.add_axes((0.08, 0.19, 0.84, 0.022)))
    (_, effort), caution = captions(panel, found)
    clipped = f"The scale is clipped; the peak is {found.peak:.2g}." if found.clipped else ""
    smoothed = f"smoothed, sigma {SIGMA} pixels" if panel.smoothed else ""
    figure.text(0.08, 0.085, ", ".join(filter(None, [effort, smoothed])), fontsize=9.5, color=INK)
    figure.text(0.08, 0.053, clipped, fontsize=9.5, color=FAINT)
    figure.text(0.08, 0.021, caution, fontsize=9, color=WARNING)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def draw_page(
    title: str, notes: Sequence[str], tiles: Sequence[Panel | Picture], photo: Image.Image, path: Path
) -> None:
    """Write the page of all methods, 1600 pixels wide."""
    rows = -(-len(tiles) // COLUMNS)
    width, height = COLUMNS * TILE + 4, HEAD + rows * (SIDE + TEXT + 8)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)

    def write(left: float, top: float, text: str, **style: object) -> None:
        figure.text(left / width, 1 - top / height, text, va="top", **style)

    write(16, 12, title, fontsize=14, weight="bold")
    for line, note in enumerate(notes):
        write(16, 40 + 17 * line, note, fontsize=8.5, color=FAINT)
    _legend(figure, width, height)
    for number, tile in enumerate(tiles):
        left, top = 16 + number % COLUMNS * TILE, HEAD + number // COLUMNS * (SIDE + TEXT + 8)
        axes = figure.add_axes((left / width, 1 - (top + 17 + SIDE) / height, SIDE / width, SIDE / height))
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_visible(False)
        lines, caution = _draw_tile(axes, tile, photo)
        write(left, top, tile.title if isinstance(tile, Picture) else tile.method.title, fontsize=9.5, weight="bold")
        for line, text in enumerate([*lines, *textwrap.wrap(caution, 38)]):
            style = {"color": INK} if line < len(lines) else {"color": WARNING}
            write(left, top + 17 + SIDE + 4 + 12.5 * line, text, fontsize=7.4, **style)
    figure.savefig(path)


def _draw_tile(axes: Axes, tile: Panel | Picture, photo: Image.Image) -> tuple[list[str], str]:
    if isinstance(tile, Picture):
        axes.imshow(tile.image)
        return textwrap.wrap(tile.note, 38), ""
    if tile.finding is None:
        axes.text(0.5, 0.5, "not run", color=FAINT, ha="center", va="center", transform=axes.transAxes)
        axes.set_facecolor("#eeeeee")
        return [], ""
    return captions(tile, overlay(axes, tile, photo))


def _legend(figure: Figure, width: int, height: int) -> None:
    """Both colour scales, at the upper right."""
    for place, (name, ends) in enumerate([(SIGNED, ("against", "for the class")), (SIZES, ("little", "much"))]):
        left = width - 330
        top = 24 + 24 * place
        axes = figure.add_axes((left / width, 1 - (top + 12) / height, 170 / width, 12 / height))
        axes.imshow(np.linspace(0, 1, 256)[None], cmap=name, aspect="auto")
        axes.axis("off")
        figure.text((left - 8) / width, 1 - (top + 6) / height, ends[0], fontsize=8.5, ha="right", va="center")
        figure.text((left + 178) / width, 1 - (top + 6) / height, ends[1], fontsize=8.5, va="center")
