"""Attributions to see: coloured texts, lines of a terminal, a figure. Colours and scales are those of `af.viz`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from attrfunc.core.extras import require
from attrfunc.viz.coloured import Passage, Row, Texts
from attrfunc.viz.pieces import Piece, visible
from attrfunc.viz.scales import scale_of

if TYPE_CHECKING:
    from attrfunc.text.attribution import TextAttribution

__all__ = ["coloured", "lines", "plot"]

_BARS = "▏▎▍▌▋▊▉█"
_WIDTH = 24


def coloured(found: TextAttribution) -> Texts:
    """The prompt in the colours of `af.viz.tokens`, for the whole answer and for each of its tokens.

    Its pieces are known: unlike `af.viz.tokens`, no marks of a tokenizer are looked for in them.
    """
    several = len(found.outputs) > 1
    shown = [("whole answer" if several else found.outputs[0], found.sequence)]
    shown += list(zip(found.outputs, found.values, strict=True)) if several else []
    pieces = _pieces(found)
    rows = tuple(_row(label, pieces, values) for label, values in shown)
    return Texts((Passage(_caption(found), found.unit, rows),))


def _pieces(found: TextAttribution) -> list[Piece]:
    """The segments, numbered, and the text between them, which has no number."""
    pieces, place = [], 0
    ends = [*((span, (number,)) for number, span in enumerate(found.spans)), ((len(found.text),) * 2, ())]
    for (a, b), numbers in ends:
        a = max(a, place)  # of segments that lie in each other, each character is shown once
        between, said = found.text[place:a], found.text[a : max(a, b)]
        spaced = between == " " and bool(said)
        if between and not spaced:
            pieces.append(Piece(between, False, ()))
        if said or numbers:
            pieces.append(Piece(said, spaced, numbers))
        place = max(place, b)
    return pieces


def _row(label: str, pieces: Sequence[Piece], values: Tensor) -> Row:
    numbers = values.double().numpy()
    at_pieces = np.array([numbers[list(piece.numbers)].sum() for piece in pieces])
    return Row(label, tuple(pieces), at_pieces, scale_of(numbers, "all"))


def _caption(found: TextAttribution) -> str:
    gap = float(found.gap.abs().max())
    return (
        f"{found.method}, {found.unit}; absent: {found.absent}; {found.evaluations} prompts read; "
        f"score {float(found.scores.sum()):.4g}, segments change it by {float(found.change.sum()):+.4g}, "
        f"largest gap {gap:.2g}"
    )


def lines(found: TextAttribution) -> str:
    """Segments with their values for the whole answer, and bars."""
    values = found.sequence.tolist()
    most = max((abs(value) for value in values if value == value), default=0.0) or 1.0
    labels = [visible(label) for label in found.labels]
    width = min(max(map(len, labels)), 48)
    made = [visible(found.answer), _caption(found)]
    for label, value in zip(labels, values, strict=True):
        shown = label if len(label) <= width else label[: width - 1] + "…"
        made.append(f"{shown:<{width}}  {value:+10.4f}  {_bar(abs(value) / most)}")
    return "\n".join(made)


def _bar(part: float) -> str:
    if part != part:
        return "?"
    eighths = round(part * _WIDTH * 8)
    return _BARS[-1] * (eighths // 8) + (_BARS[eighths % 8 - 1] if eighths % 8 else "")


def plot(found: TextAttribution, *, axis: Any = None) -> Any:
    """A map of segments and tokens of the answer.

    Args:
        found: The attributions.
        axis: Where to draw; a new figure by default.
    """
    require("matplotlib", "viz")
    from attrfunc.viz import canvas

    values = found.values.double().numpy()
    scale, colours = scale_of(values, "all"), canvas.colour_map(None, "all")
    size = (2 + 0.4 * len(found.labels), 1.5 + 0.4 * len(found.outputs))
    figure, axes = canvas.canvas(axis, size)
    axes.imshow(canvas.colours(scale.shares(values), colours, True), interpolation="nearest", aspect="auto")
    shown = [[visible(label)[:24] for label in names] for names in (found.labels, found.outputs)]
    for labels, ticks, turned in (
        (shown[0], axes.set_xticks, {"rotation": 60, "ha": "right"}),
        (shown[1], axes.set_yticks, {}),
    ):
        ticks(range(len(labels)), labels, parse_math=False, **turned)  # a dollar would begin a formula
    canvas.bar(figure, scale, colours, found.unit, ax=axes)
    return figure
