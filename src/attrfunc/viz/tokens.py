"""Texts, coloured by what each token contributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from attrfunc.core.errors import ArgumentError
from attrfunc.viz.arrays import Array, described, drawing, text, to_array
from attrfunc.viz.coloured import Passage, Row, Texts
from attrfunc.viz.pieces import Piece, joined, pieces_of
from attrfunc.viz.scales import scale_of

__all__ = ["tokens"]


@drawing
def tokens(
    tokens: Sequence[str],
    values: Any | Mapping[str, Any],
    *,
    words: bool = False,
    outliers: float = 0.0,
    limit: float | None = None,
    title: str = "",
    unit: str = "",
    legend: bool = True,
) -> Texts:
    """Colour a text by the attributions of its tokens: red speaks for, blue against.

    Args:
        tokens: The T pieces of the text, with a tokenizer's marks (`Ġ`, `▁`, `##`) or with their spaces.
        values: One number for each, `(T,)`: attributions to embeddings are summed over their dimensions first. By
            name, those of several methods, each with a scale of its own.
        words: Join the pieces of each word, and add up their values.
        outliers: How many percent of the values may lie beyond the scale.
        limit: Where the scale ends instead.
        title: What stands above the text.
        unit: The unit of the values.
        legend: Whether to say what colours mean.

    Returns:
        An object that shows itself in notebooks and, by `print`, in terminals; its `save` writes `.html`, `.png`,
        `.svg` or `.txt`, its `figure` is matplotlib's. Texts add up: `first + second` is both.

    Raises:
        ArgumentError: If there are no tokens, or not as many values.

    Example:
        >>> text = af.viz.tokens(["▁un", "believ", "able", "▁story"], torch.tensor([0.5, 0.25, 0.25, -0.5]), words=True)
        >>> print(text.plain())
        unbelievable (+1) story (−0.5)
    """
    pieces = pieces_of(tokens)
    given = values if isinstance(values, Mapping) else {"": values}
    if not given:
        fix = 'Pass {"name of the method": values}, or values alone.'
        raise ArgumentError("values", described(values), "values of at least one method", fix)
    rows = []
    for name, one in given.items():
        found = _values(f"values[{name!r}]" if isinstance(values, Mapping) else "values", one, len(pieces))
        shown = joined(pieces) if words else pieces
        numbers = _summed(shown, found)
        rows.append(Row(text(name), tuple(shown), numbers, scale_of(numbers, "all", outliers, limit)))
    return Texts((Passage(text(title), text(unit), tuple(rows)),), legend)


def _values(name: str, values: Any, count: int) -> Array:
    found = to_array(name, values)
    if found.ndim != 1:
        fix = "Sum over the embedding's dimensions and choose one example: attributions.sum(-1)[0]."
        raise ArgumentError(name, described(values), f"one number for each of {count} tokens", fix)
    if len(found) != count:
        fix = "Leave out padding from both, or from neither."
        raise ArgumentError(name, f"{len(found)} values", f"{count}, as many as tokens", fix)
    return found


def _summed(pieces: Sequence[Piece], values: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.array([values[list(piece.numbers)].sum() for piece in pieces])
