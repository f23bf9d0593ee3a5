"""Coloured texts, as web pages, in terminals and as figures."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.extras import require
from attrfunc.viz.arrays import Array
from attrfunc.viz.pages import write_page
from attrfunc.viz.pieces import Piece, visible, width
from attrfunc.viz.scales import Scale, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Passage", "Row", "Texts"]

# The ends and the middle of matplotlib's RdBu, which texts are coloured by without matplotlib: dark blue, blue, pale
# blue, nearly white, pale red, red, dark red.
STOPS = np.array([[33, 102, 172], [103, 169, 207], [209, 229, 240], [255, 255, 255], [253, 219, 199], [239, 138, 98]])
STOPS = np.concatenate([STOPS, [[178, 24, 43]]])
MISSING = (64, 255, 0)  # of values that are not finite


@dataclass(frozen=True, eq=False)
class Row:
    """A text under one method.

    Attributes:
        name: The method, may be empty.
        pieces: What is read.
        values: One number for each, `(T,)`.
        scale: Which of them gets the full colour.
    """

    name: str
    pieces: tuple[Piece, ...]
    values: Array
    scale: Scale

    def colours(self) -> list[tuple[int, int, int]]:
        """The background of each piece: red, green, blue, from 0 to 255."""
        return [colour(share) for share in self.scale.shares(self.values).tolist()]


@dataclass(frozen=True)
class Passage:
    """A text, under one or several methods.

    Attributes:
        title: What stands above, may be empty.
        unit: Of the values.
        rows: The methods.
    """

    title: str
    unit: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Texts:
    """Coloured texts; made by `af.viz.tokens`, added up by `+`.

    Attributes:
        passages: The texts.
        legend: Whether to say what colours mean.
    """

    passages: tuple[Passage, ...]
    legend: bool = True

    def __add__(self, other: Texts) -> Texts:
        """Both, one below the other."""
        if not isinstance(other, Texts):
            return NotImplemented
        return replace(self, passages=self.passages + other.passages, legend=self.legend or other.legend)

    def __str__(self) -> str:
        """For a terminal of its width, in 24 bits of colour."""
        return self.terminal()

    def __repr__(self) -> str:
        """The values, without colours."""
        return self.plain()

    def _repr_html_(self) -> str:
        """For notebooks and pages: no script, and no text of the user's that a browser would run."""
        from attrfunc.viz.coloured_html import fragment

        return fragment(self.passages, self.legend)

    def terminal(self, columns: int | None = None) -> str:
        """For a terminal, with colours.

        Args:
            columns: Its width; that of the terminal itself by default, 80 where there is none.
        """
        room = shutil.get_terminal_size((80, 24)).columns if columns is None else columns
        if isinstance(room, bool) or not isinstance(room, int) or room < 10:
            fix = "Leave it out for the width of the terminal."
            raise ArgumentError("columns", describe(columns), "a whole number of at least 10", fix).within("terminal")
        blocks = []
        for passage in self.passages:
            lines = [visible(passage.title)] if passage.title else []
            for row in passage.rows:
                told = ": ".join(filter(None, [visible(row.name), self.told(row, passage.unit)]))
                lines += [told] if told else []
                lines += ["".join(_painted(*cell) for cell in line) for line in wrapped(row, room)]
            blocks.append("\n".join(lines))
        return "\n\n".join(blocks)

    def plain(self) -> str:
        """In words: each piece with its value."""
        blocks = []
        for passage in self.passages:
            lines = [visible(passage.title)] if passage.title else []
            for row in passage.rows:
                pairs = [f"{visible(piece.text)} ({signed(value)})" for piece, value in told_pairs(row)]
                lines.append(": ".join(filter(None, [visible(row.name), " ".join(pairs)])))
            blocks.append("\n".join(lines))
        return "\n\n".join(blocks)

    def told(self, row: Row, unit: str) -> str:
        """The legend of a row, in words."""
        if not self.legend:
            return ""
        top = number(row.scale.top)
        missing = f", {row.scale.missing} not finite: green" if row.scale.missing else ""
        clipped = "" if row.scale.extend == "neither" else " and beyond"
        return f"blue against, red for, full at ±{top}{clipped} {unit}".rstrip() + missing

    def figure(self) -> Figure:
        """As a figure of matplotlib's, with `save` and `savefig`."""
        require("matplotlib", "viz")
        from attrfunc.viz.coloured_figure import drawn

        return drawn(self.passages, self.told)

    def save(self, path: str | Path, **options: Any) -> Path:
        """Write a file in the form that its name says.

        Args:
            path: `.html` is a page by itself, `.txt` plain words; all else is drawn by matplotlib.
            **options: For `Figure.savefig`.

        Returns:
            The path.
        """
        ending = Path(path).suffix.lower() if isinstance(path, str | Path) else ""
        if ending in (".html", ".htm"):
            title = next((passage.title for passage in self.passages if passage.title), "attributions of tokens")
            return write_page(Path(path), self._repr_html_(), title)
        if ending == ".txt":
            Path(path).write_text(self.plain() + "\n", encoding="utf-8")
            return Path(path)
        picture: Any = self.figure()
        written: Path = picture.save(path, **options)
        return written


def colour(share: float) -> tuple[int, int, int]:
    """The background of a share between -1 and 1."""
    if np.isnan(share):
        return MISSING
    places = np.linspace(-1, 1, len(STOPS))
    red, green, blue = (round(float(np.interp(share, places, part))) for part in STOPS.T)
    return red, green, blue


def dark(background: tuple[int, int, int]) -> bool:
    """Whether letters on it have to be white."""
    linear = [part / 3294.6 if part < 10.31 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in background]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    # Where the contrasts with both are equal: 1.05 / (L + 0.05) = (L + 0.05) / 0.05, as WCAG 2 measures them.
    return luminance < 0.179


def signed(value: float) -> str:
    """A value with its sign."""
    return ("+" if value > 0 else "") + number(value) if np.isfinite(value) else "not finite"


def told_pairs(row: Row) -> list[tuple[Piece, float]]:
    """Pieces and their values."""
    return list(zip(row.pieces, row.values.tolist(), strict=True))


Cell = tuple[str, tuple[int, int, int] | None]  # a text, and the colour behind it; None where there is none


def wrapped(row: Row, columns: int) -> list[list[Cell]]:
    """The lines of a row, broken between words; a word that is longer than a line is broken, too."""
    lines: list[list[Cell]] = [[]]
    used = 0
    rooms = _rooms(row.pieces)
    for piece, background, room in zip(row.pieces, row.colours(), rooms, strict=True):
        fits = used + piece.spaced + (room if room <= columns else width(visible(piece.text))) <= columns
        if used and not fits:
            lines, used = [*lines, []], 0
        elif used and piece.spaced:
            lines[-1].append((" ", None))
            used += 1
        text = visible(piece.text)
        while text:
            head = _head(text, columns - used)
            lines[-1].append((head, background))
            used, text = used + width(head), text[len(head) :]
            if text:
                lines, used = [*lines, []], 0
        if "\n" in piece.text and used:
            lines, used = [*lines, []], 0
    return [line for line in lines if line]


def _head(text: str, room: int) -> str:
    """As much of a text as fits, and one character at least."""
    count = 1
    while count < len(text) and width(text[: count + 1]) <= room:
        count += 1
    return text[:count]


def _rooms(pieces: tuple[Piece, ...]) -> list[int]:
    """How many columns have to fit where each piece stands: its word's, if it begins one."""
    rooms: list[int] = []
    rest = 0
    for piece in reversed(pieces):
        own = width(visible(piece.text))
        rooms.append(own + rest if piece.spaced else own)
        rest = 0 if piece.spaced else own + rest
    return rooms[::-1]


def _painted(text: str, background: tuple[int, int, int] | None) -> str:
    if background is None:
        return text
    ink = "255;255;255" if dark(background) else "0;0;0"
    return f"\x1b[48;2;{background[0]};{background[1]};{background[2]}m\x1b[38;2;{ink}m{text}\x1b[0m"
