"""Coloured texts on a grid of characters, drawn by matplotlib."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from attrfunc.viz.canvas import Picture, faint, ink
from attrfunc.viz.coloured import Passage, Row, dark, wrapped
from attrfunc.viz.pieces import visible, width

__all__ = ["drawn"]

COLUMNS, SIZE, LINE = 90, 10, 1.65  # of a line, in points, and from line to line in sizes
_ADVANCE = 0.602 * SIZE / 72  # inches of a character of DejaVu Sans Mono


@dataclass(frozen=True)
class _Cell:
    """A text on the grid, and the colour behind it."""

    line: float
    column: float
    text: str
    background: tuple[int, int, int] | None
    style: dict[str, Any]


def drawn(passages: Sequence[Passage], told: Callable[[Row, str], str]) -> Figure:
    """A figure as high as its lines.

    Args:
        passages: The texts.
        told: The legend of a row, in words.
    """
    cells, lines = _placed(passages, told)
    height = (lines + 0.6) * LINE * SIZE / 72
    figure = Picture(figsize=((COLUMNS + 4) * _ADVANCE, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-2, COLUMNS + 2), ylim=(lines, -0.6))
    axes.axis("off")
    for cell in cells:
        if cell.style:
            axes.text(cell.column, cell.line, cell.text, va="center", parse_math=False, **cell.style)
        elif cell.background is not None:
            shade = tuple(part / 255 for part in cell.background)
            box = Rectangle((cell.column, cell.line - 0.46), width(cell.text), 0.92, color=shade, linewidth=0)
            axes.add_patch(box)
            if cell.text.strip():
                axes.add_patch(_letters(cell, "white" if dark(cell.background) else "black"))
    return figure


def _letters(cell: _Cell, colour: str) -> PathPatch:
    """Letters as outlines, which are as wide at any resolution as their column is; those of fonts are rounded."""
    # The dollar is no beginning of a formula.
    outline = TextPath((0, 0), cell.text.replace("$", r"\$"), size=SIZE, prop={"family": "DejaVu Sans Mono"})
    points = LINE * SIZE
    place = Affine2D().scale(1 / (0.602 * SIZE), -1 / points).translate(cell.column, cell.line + 0.22)
    return PathPatch(place.transform_path(outline), color=colour, linewidth=0)


def _placed(passages: Sequence[Passage], told: Callable[[Row, str], str]) -> tuple[list[_Cell], float]:
    cells, line = [], 0.0
    heading: dict[str, Any] = {"fontsize": SIZE, "weight": "bold", "color": ink()}
    small: dict[str, Any] = {"fontsize": SIZE - 2, "color": faint()}
    for passage in passages:
        if passage.title:
            for part in textwrap.wrap(visible(passage.title), 85):
                cells.append(_Cell(line, 0, part, None, heading))
                line += 1.1
        for row in passage.rows:
            legend = ": ".join(filter(None, [row.name, told(row, passage.unit)]))
            for part in textwrap.wrap(visible(legend), 115):
                cells.append(_Cell(line, 0, part, None, small))
                line += 1.0
            for cells_of_line in wrapped(row, COLUMNS):
                column = 0
                for text, background in cells_of_line:
                    cells.append(_Cell(line, column, text, background, {}))
                    column += width(text)
                line += 1.0
            line += 0.25
        line += 0.4
    return cells, line - 0.4
