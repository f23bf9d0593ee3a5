"""Texts coloured by what each token contributes: as a web page, and as a picture."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

COLUMNS, SIZE, LINE = 100, 10, 1.6
_WIDTH = 0.602 * SIZE / 72  # of a character of DejaVu Sans Mono, in inches


@dataclass(frozen=True)
class Coloured:
    """A text under one method.

    Attributes:
        title: The method, and what it measures.
        tokens: The pieces of the text.
        values: One number for each; the largest in size gets the full colour.
    """

    title: str
    tokens: Sequence[str]
    values: Sequence[float]


@dataclass(frozen=True)
class Passage:
    """A text under several methods.

    Attributes:
        title: What is said of the text.
        rows: The methods.
    """

    title: str
    rows: Sequence[Coloured]


def write_page(title: str, passages: Sequence[Passage], path: Path) -> None:
    """Write a web page; the number of a token shows when the mouse is over it."""
    parts = [
        f"<!doctype html><meta charset='utf-8'><title>{html.escape(title)}</title>",
        "<style>body{font:16px/1.9 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#111;background:#fff}",
        "h2{font-size:1em;margin:2em 0 .3em}p{margin:.2em 0}small{color:#555;display:block;line-height:1.4}",
        "span{padding:.15em 0;white-space:pre-wrap}</style>",
        f"<h1 style='font-size:1.3em'>{html.escape(title)}</h1>",
    ]
    for passage in passages:
        parts.append(f"<h2>{html.escape(passage.title)}</h2>")
        for row in passage.rows:
            spans = [
                f"<span style='background:{_css(share)};color:{_ink(share)}' title='{value:+.2f}'>{html.escape(token)}"
                "</span>"
                for token, value, share in zip(row.tokens, row.values, _shares(row.values), strict=True)
            ]
            parts.append(f"<p><small>{html.escape(row.title)}</small>{''.join(spans)}</p>")
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")


def draw_picture(title: str, passages: Sequence[Passage], path: Path) -> None:
    """Draw the same on a grid of characters."""
    placed: list[tuple[float, int, str, float | None]] = []  # line, column, text, share of the full colour
    line = 0.0
    for passage in passages:
        placed.append((line, 0, passage.title, None))
        line += 1.0
        for row in passage.rows:
            placed.append((line, 2, row.title, None))
            line += 1.0
            column = 2
            for token, share, room in zip(row.tokens, _shares(row.values), _rooms(row.tokens), strict=True):
                if column + room > COLUMNS:
                    line, column = line + 1.0, 2
                    token = token.lstrip()
                placed.append((line, column, token, share))
                column += len(token)
            line += 1.3
        line += 0.4
    height = (line + 1) * LINE * SIZE / 72 + 0.5
    figure = Figure(figsize=((COLUMNS + 4) * _WIDTH, height), dpi=130)
    figure.suptitle(title, fontsize=SIZE + 2, y=1 - 0.15 / height, va="top")
    axes = figure.add_axes((0, 0, 1, 1 - 0.5 / height))
    axes.set(xlim=(-2, COLUMNS + 2), ylim=(line, -1))
    axes.axis("off")
    for at, column, text, share in placed:
        heading = share is None and column == 0
        style = {"color": "black" if heading else "dimgrey", "fontsize": SIZE if heading else SIZE - 2}
        if share is not None:
            axes.add_patch(Rectangle((column, at - 0.5), len(text), 0.94, color=_colour(share), linewidth=0))
            style = {"color": _ink(share), "fontsize": SIZE, "family": "DejaVu Sans Mono"}
        axes.text(column, at, text, va="center", weight="bold" if heading else "normal", **style)
    figure.savefig(path)


def _rooms(tokens: Sequence[str]) -> list[int]:
    """How many characters have to fit into the line where each token begins: its word's, if it begins one."""
    rooms: list[int] = []
    rest = 0  # of the word, behind the token
    for token in reversed(tokens):
        begins = token[:1].isspace()
        whole = len(token) + rest
        rooms.append(whole if begins and whole < COLUMNS else len(token))
        rest = 0 if begins else whole
    return rooms[::-1]


def _shares(values: Sequence[float]) -> list[float]:
    top = max(map(abs, values)) or 1.0
    return [value / top for value in values]


def _colour(share: float) -> tuple[float, ...]:
    """Red speaks for, blue against, white says nothing."""
    return colormaps["RdBu_r"](0.5 + 0.5 * share)


def _css(share: float) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in _colour(share)[:3])


def _ink(share: float) -> str:
    return "white" if abs(share) > 0.75 else "black"
