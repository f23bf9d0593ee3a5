"""Coloured texts as HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence

from attrfunc.viz.coloured import Passage, Row, colour, dark, signed
from attrfunc.viz.scales import number

__all__ = ["css", "fragment", "spans"]

_TEXT = "font:16px/1.9 sans-serif;white-space:pre-wrap;overflow-wrap:anywhere;margin:.2em 0 .8em;color:#222"
UNREADABLE = frozenset(map(chr, [*range(0x20), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]))
_SMALL = "font:13px/1.4 sans-serif;color:#555;margin:.6em 0 .1em"


def fragment(passages: Sequence[Passage], legend: bool) -> str:
    """A part of a page; styles stand at the elements, so that it fits into any page.

    Args:
        passages: The texts.
        legend: Whether to say what colours mean.
    """
    parts = []
    for passage in passages:
        if passage.title:
            parts.append(
                f'<p dir="auto" style="font:bold 16px/1.4 sans-serif;margin:1.2em 0 .2em">{_safe(passage.title)}</p>'
            )
        for row in passage.rows:
            told = [f"<b>{_safe(row.name)}</b>"] if row.name else []
            told += [_legend(row, passage.unit)] if legend else []
            parts.append(f'<p style="{_SMALL}">{" ".join(told)}</p>' if told else "")
            parts.append(f'<p dir="auto" style="{_TEXT}">{spans(row, passage.unit)}</p>')
    return f'<div style="background:#fff;padding:.2em .6em">{"".join(parts)}</div>'


def spans(row: Row, unit: str) -> str:
    """The pieces of a text; a value shows when the mouse is over its piece."""
    parts = []
    for piece, value, background in zip(row.pieces, row.values.tolist(), row.colours(), strict=True):
        style = f"background:{css(background)};color:{'#fff' if dark(background) else '#000'}"
        style += ";padding:.15em .1em;border-radius:.2em"
        told = f"{signed(value)} {unit}".strip()
        space = " " if piece.spaced else ""
        # A new line is shown, and begins one.
        text = _safe(piece.text).replace("\n", "⏎\n")
        parts.append(f'{space}<span style="{style}" title="{_safe(told)}">{text}</span>')
    return "".join(parts)


def _legend(row: Row, unit: str) -> str:
    """The ends of the scale, beside its colours."""
    shades = ",".join(css(colour(share / 4)) for share in range(-4, 5))
    strip = "display:inline-block;width:8em;height:.8em;vertical-align:middle;"
    strip += f"background:linear-gradient(90deg,{shades})"
    top, (low, high) = number(row.scale.top), _arrows(row)
    missing = f"; {row.scale.missing} not finite: green" if row.scale.missing else ""
    ends = (f"against {low}−{top}", f"{top}{high} {_safe(unit)}".rstrip() + " for")
    return f'{ends[0]} <i style="{strip}"></i> {ends[1]}{missing}'


def _arrows(row: Row) -> tuple[str, str]:
    """Signs of values beyond the scale."""
    extend = row.scale.extend
    return "≤ " if extend in ("min", "both") else "", " ≤" if extend in ("max", "both") else ""


def css(background: tuple[int, int, int]) -> str:
    """A colour, as style sheets write it."""
    return "#{:02x}{:02x}{:02x}".format(*background)


def _safe(text: str) -> str:
    # Characters that HTML does not allow are dropped by browsers in different ways, and those that turn the direction
    # of writing around would turn what stands behind them, too.
    kept = "".join("�" if one in UNREADABLE and one not in "\n\t" else one for one in text)
    return html.escape(kept, quote=True)
