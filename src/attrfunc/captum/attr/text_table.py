"""The table of `visualize_text`."""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attrfunc.core.errors import ArgumentError
from attrfunc.viz.arrays import to_array
from attrfunc.viz.coloured import Row, colour
from attrfunc.viz.coloured_html import css, spans
from attrfunc.viz.pages import write_page
from attrfunc.viz.pieces import Piece
from attrfunc.viz.scales import Scale

__all__ = ["Page", "table"]

HEADINGS = ("True Label", "Predicted Label", "Attribution Label", "Attribution Score", "Word Importance")
LEGEND = ((-1.0, "Negative"), (0.0, "Neutral"), (1.0, "Positive"))


@dataclass(frozen=True)
class Page:
    """A piece of HTML that shows itself in notebooks.

    Attributes:
        data: The HTML.
    """

    data: str

    def _repr_html_(self) -> str:
        return self.data

    def save(self, path: str | Path) -> Path:
        """Write it as a page by itself; returns the path."""
        return write_page(Path(path), self.data, "attributions of texts")


def table(records: Iterable[Any], legend: bool) -> str:
    """The table, as HTML.

    Args:
        records: Objects with the attributes of a `VisualizationDataRecord`.
        legend: Whether to say what colours mean.
    """
    rows = [f"<tr>{''.join(f'<th>{heading}</th>' for heading in HEADINGS)}</tr>"]
    for number, record in enumerate(records):
        predicted = f"{record.pred_class} ({float(record.pred_prob):.2f})"
        cells = [record.true_class, predicted, record.attr_class, f"{float(record.attr_score):.2f}"]
        told = "".join(f'<td style="padding-right:2em"><b>{html.escape(str(cell))}</b></td>' for cell in cells)
        rows.append(f"<tr>{told}<td style='line-height:1.75'>{_words(record, number)}</td></tr>")
    parts = [f"<table width='100%'>{''.join(rows)}</table>"]
    if legend:
        box = "display:inline-block;width:10px;height:10px;border:1px solid;background-color:"
        told = " ".join(f'<span style="{box}{css(colour(share))}"></span> {name}' for share, name in LEGEND)
        line = "border-top:1px solid;margin-top:5px;padding-top:5px;display:inline-block"
        parts.insert(0, f'<div style="{line}"><b>Legend: </b>{told}</div>')
    return "".join(parts)


def _words(record: Any, number: int) -> str:
    """Captum takes attributions as shares of the full colour, and drops those behind the last token."""
    words = [str(word) for word in record.raw_input_ids]
    given = record.word_attributions
    values = np.zeros(0) if given is None else to_array("word_attributions", given, empty=True)
    if not values.size:
        return ""
    if values.ndim != 1 or len(values) < len(words):
        fix = "Sum over the embedding's dimensions, and pass one number for each token."
        got = f"shape {values.shape} for the {len(words)} tokens of record {number}"
        raise ArgumentError("word_attributions", got, "at least one number for each token", fix)
    pieces = [Piece(_special(word), True, (place,)) for place, word in enumerate(words)]
    return spans(Row("", tuple(pieces), values[: len(words)], Scale("all", 1.0)), "")


def _special(word: str) -> str:
    return "#" + word.strip("<>") if word.startswith("<") and word.endswith(">") else word
