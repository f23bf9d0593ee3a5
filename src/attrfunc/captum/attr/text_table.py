"""Texts in a table, coloured by the attributions of their tokens."""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from attrfunc.core.errors import ArgumentError
from attrfunc.viz.arrays import drawing, to_array
from attrfunc.viz.coloured import Row, colour
from attrfunc.viz.coloured_html import css, spans
from attrfunc.viz.pages import write_page
from attrfunc.viz.pieces import Piece
from attrfunc.viz.scales import Scale

__all__ = ["Page", "VisualizationDataRecord", "cell", "special", "visualize_text", "words_of"]

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


class VisualizationDataRecord:
    """What `visualize_text` shows of one text.

    Args:
        word_attributions: One number for each token, from -1 to 1.
        pred_prob: The probability of the predicted class.
        pred_class: The predicted class.
        true_class: The class that is right.
        attr_class: The class that is explained.
        attr_score: The sum of the attributions.
        raw_input_ids: The tokens.
        convergence_score: The convergence delta.
    """

    __slots__ = [
        "attr_class",
        "attr_score",
        "convergence_score",
        "pred_class",
        "pred_prob",
        "raw_input_ids",
        "true_class",
        "word_attributions",
    ]

    def __init__(
        self,
        word_attributions: Tensor,
        pred_prob: float,
        pred_class: int,
        true_class: int,
        attr_class: int,
        attr_score: float,
        raw_input_ids: list[str],
        convergence_score: float,
    ) -> None:
        self.word_attributions = word_attributions
        self.pred_prob = pred_prob
        self.pred_class = pred_class
        self.true_class = true_class
        self.attr_class = attr_class
        self.attr_score = attr_score
        self.raw_input_ids = raw_input_ids
        self.convergence_score = convergence_score


@drawing
def visualize_text(datarecords: Iterable[VisualizationDataRecord], legend: bool = True) -> Any:
    """Show texts coloured by the attributions of their tokens, in a table.

    Args:
        datarecords: The texts.
        legend: Whether to say what colours mean.

    Returns:
        IPython's `HTML`, which is displayed, too; without IPython an object with `data`, `_repr_html_` and `save`.

    Raises:
        ArgumentError: If a record has fewer attributions than tokens.
    """
    page = Page(_table(datarecords, legend))
    try:
        from IPython.display import HTML, display
    except ImportError:
        return page
    shown = HTML(page.data)
    display(shown)
    return shown


def _table(records: Iterable[Any], legend: bool) -> str:
    """The table, as HTML.

    Args:
        records: Objects with the attributes of a `VisualizationDataRecord`.
        legend: Whether to say what colours mean.
    """
    rows = [f"<tr>{''.join(f'<th>{heading}</th>' for heading in HEADINGS)}</tr>"]
    for number, record in enumerate(records):
        predicted = f"{record.pred_class} ({float(record.pred_prob):.2f})"
        cells = [record.true_class, predicted, record.attr_class, f"{float(record.attr_score):.2f}"]
        told = "".join(map(cell, cells))
        rows.append(f"<tr>{told}{words_of(record.raw_input_ids, record.word_attributions, f'record {number}')}</tr>")
    parts = [f"<table width='100%'>{''.join(rows)}</table>"]
    if legend:
        box = "display:inline-block;width:10px;height:10px;border:1px solid;background-color:"
        told = " ".join(f'<span style="{box}{css(colour(share))}"></span> {name}' for share, name in LEGEND)
        line = "border-top:1px solid;margin-top:5px;padding-top:5px;display:inline-block"
        parts.insert(0, f'<div style="{line}"><b>Legend: </b>{told}</div>')
    return "".join(parts)


def cell(content: Any) -> str:
    """A cell of the table."""
    return f'<td style="padding-right:2em"><b>{html.escape(str(content))}</b></td>'


def words_of(words: Iterable[Any], attributions: Any, whose: str) -> str:
    """A cell of words; as Captum, it takes attributions as shares of the full colour, and drops those behind the last.

    Args:
        words: The words.
        attributions: One number for each.
        whose: Of what they are, for errors.
    """
    told = [special(str(word)) for word in words]
    values = np.zeros(0) if attributions is None else to_array("word_attributions", attributions, empty=True)
    if values.size and (values.ndim != 1 or len(values) < len(told)):
        fix = "Sum over the embedding's dimensions, and pass one number for each token."
        got = f"shape {values.shape} for the {len(told)} tokens of {whose}"
        raise ArgumentError("word_attributions", got, "at least one number for each token", fix)
    pieces = [Piece(word, True, (place,)) for place, word in enumerate(told)] if values.size else []
    shown = spans(Row("", tuple(pieces), values[: len(told)], Scale("all", 1.0)), "") if pieces else ""
    return f"<td style='line-height:1.75'>{shown}</td>"


def special(word: str) -> str:
    """A word; a special token without its brackets, behind a `#`."""
    return "#" + word.strip("<>") if word.startswith("<") and word.endswith(">") else word
