"""Attributions to see: a page, lines of a terminal, a figure. All that draws text is in this file."""

from __future__ import annotations

import html as markup
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from attrfunc.text.attribution import TextAttribution

__all__ = ["html", "lines", "plot"]

_BARS = "▏▎▍▌▋▊▉█"
_WIDTH = 24


def html(found: TextAttribution) -> str:
    """A fragment of a page: the prompt in colours, red for and blue against; every text in it is escaped."""
    rows = [("whole answer" if len(found.outputs) > 1 else found.outputs[0], found.sequence)]
    rows += list(zip(found.outputs, found.values, strict=True)) if len(found.outputs) > 1 else []
    parts = []
    for label, values in rows:
        prompt = _coloured(found, values)
        parts.append(
            f"<tr><th style='text-align:left;vertical-align:top;padding-right:1em'>{markup.escape(label)}</th>"
            f"<td style='text-align:left;white-space:pre-wrap'>{prompt}</td></tr>"
        )
    return f"<table><caption>{markup.escape(_caption(found))}</caption>{''.join(parts)}</table>"


def _coloured(found: TextAttribution, values: Tensor) -> str:
    most, place, made = max(float(values.abs().max()), 1e-30), 0, []
    for (a, b), value in zip(found.spans, values.tolist(), strict=True):
        made.append(markup.escape(found.text[place:a]))
        shade = round(min(abs(value) / most, 1.0) * 0.7, 3) if value == value else 0
        colour = f"rgba(200,30,30,{shade})" if value > 0 else f"rgba(30,80,200,{shade})"
        said = markup.escape(found.text[a:b])
        made.append(f"<span style='background:{colour}' title='{value:+.4g} {markup.escape(found.unit)}'>{said}</span>")
        place = b
    return "".join(made) + markup.escape(found.text[place:])


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
    labels = [_printable(label) for label in found.labels]
    width = min(max(map(len, labels)), 48)
    made = [f"{_printable(found.answer)!s}", _caption(found)]
    for label, value in zip(labels, values, strict=True):
        shown = label if len(label) <= width else label[: width - 1] + "…"
        made.append(f"{shown:<{width}}  {value:+10.4f}  {_bar(abs(value) / most)}")
    return "\n".join(made)


def _printable(text: str) -> str:
    """Without signs that would move the cursor."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


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
    from matplotlib.figure import Figure

    if axis is None:
        size = (2 + 0.4 * len(found.labels), 1.5 + 0.4 * len(found.outputs))
        axis = Figure(figsize=size, layout="constrained").add_subplot()
    most = max(float(found.values.abs().max()), 1e-30)
    image = axis.imshow(found.values.numpy(), cmap="bwr", vmin=-most, vmax=most, aspect="auto")
    # A dollar would begin a formula.
    shown = [[_printable(label)[:24].replace("$", r"\$") for label in names] for names in (found.labels, found.outputs)]
    axis.set_xticks(range(len(shown[0])), shown[0], rotation=60, ha="right")
    axis.set_yticks(range(len(shown[1])), shown[1])
    axis.figure.colorbar(image, ax=axis, label=found.unit)
    return axis.figure
