"""Global importance: what attributions of a whole data set say together."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe, suggestions
from attrfunc.core.score.method import named
from attrfunc.data.statistics import Statistics
from attrfunc.data.store import Store, open_store
from attrfunc.data.student import quantile

__all__ = ["Importance", "Summary", "summary"]

_ROWS = 128
"""Rows that are looked at together."""


@dataclass(frozen=True)
class Importance:
    """What the attributions of some rows say together, element by element.

    Attributes:
        signed: The statistics of the attributions: which way each feature pushes.
        absolute: Those of their absolute values: how much it matters.
        level: The level of the intervals.
    """

    signed: Statistics = field(repr=False)
    absolute: Statistics = field(repr=False)
    level: float

    @property
    def count(self) -> int:
        """How many rows these are."""
        return self.signed.count

    @property
    def mean(self) -> Tensor:
        """The mean attribution, `(*S)`."""
        return self.signed.mean

    @property
    def mean_absolute(self) -> Tensor:
        """The mean absolute attribution, `(*S)`: the usual measure of global importance."""
        return self.absolute.mean

    @property
    def interval(self) -> tuple[Tensor, Tensor]:
        """The ends of the interval of the mean, `(*S)`; NaN for a single row."""
        return self.signed.interval(self.level)

    @property
    def interval_absolute(self) -> tuple[Tensor, Tensor]:
        """The ends of the interval of the mean absolute attribution, `(*S)`; NaN for a single row."""
        return self.absolute.interval(self.level)

    def merged(self, other: Importance) -> Importance:
        """That of these rows and others."""
        return Importance(self.signed.merged(other.signed), self.absolute.merged(other.absolute), self.level)


@dataclass(frozen=True)
class Summary:
    """Global importance, of all rows and by class.

    Attributes:
        overall: Of all rows that are right.
        classes: By class.
        rows: How many rows there are.
        failed: How many of them have errors, and are left out.
    """

    overall: Importance
    classes: dict[Any, Importance]
    rows: int
    failed: int


@partial(named, "summary")
def summary(
    path: str | Path | Store,
    *,
    by: str | None = "target",
    column: str = "attributions",
    reduce: Callable[[Tensor], Tensor] | None = None,
    level: float = 0.95,
    partial: bool = False,
) -> Summary:
    """Global importance from stored rows: mean attributions and mean absolute ones, by class, with intervals.

    One pass over the store, a shard at a time. Intervals are Student's, of means over rows: rows are taken for draws
    that are independent of each other.

    Args:
        path: The store, or its folder.
        by: The column whose values are the classes: `"target"` (the class that is explained), `"label"`,
            `"prediction"`, or one that was kept. `None` makes no classes; where the store has no `"target"`, there are
            none either.
        column: Which attributions, where there are several.
        reduce: Changes the attributions of each row first: `lambda a: a.abs().mean((1, 2))` for what each channel of
            an image matters, say. Statistics of images take as much memory as eight images for each class.
        level: The level of the intervals.
        partial: Whether to take the rows that are there of a store that is not whole.

    Returns:
        The summary.

    Raises:
        ArgumentError: If there is no such store or column, no row is right, or rows differ in shape.

    Example:
        >>> import tempfile
        >>> model, data = torch.nn.Linear(4, 3), [torch.randn(64, 4)]
        >>> path = tempfile.mkdtemp() + "/store"
        >>> _ = af.data.attribute(af.ig, model, data, path=path, target="predicted", progress=False)
        >>> found = af.data.summary(path)
        >>> found.overall.mean_absolute.shape, sum(part.count for part in found.classes.values())
        (torch.Size([4]), 64)
    """
    quantile(level, 1)
    store = path if isinstance(path, Store) else open_store(path, partial=partial)
    for argument, name in (("by", by), ("column", column)):
        if name is not None and name not in store.columns and (argument, name) != ("by", "target"):
            raise ArgumentError(argument, repr(name), "a column of the store", suggestions(name, store.columns))
    names = [column, "error", *([by] if by is not None and by in store.columns else [])]
    found: dict[Any, Importance] = {}
    shapes, failed = set[tuple[int, ...]](), 0
    for rows in _some(store, names):
        chosen: dict[Any, list[Tensor]] = {}
        for value, error, *key in rows:
            if error is None:
                chosen.setdefault(key[0] if key else None, []).append(_reduced(value, reduce))
            else:
                failed += 1
        for key, values in chosen.items():
            shapes |= {tuple(value.shape) for value in values}
            if len(shapes) > 1:
                fix = "Pass reduce=..., which makes one shape of each row: lambda a: a.abs().sum()."
                raise ArgumentError("column", f"{column!r}, of shapes {sorted(shapes)}", "one shape in all rows", fix)
            samples = torch.stack(values).double()
            new = Importance(Statistics.of(samples), Statistics.of(samples.abs()), level)
            found[key] = found[key].merged(new) if key in found else new
    if not found:
        fix = "Look at store.errors()."
        raise ArgumentError("path", f"a store of {failed} rows with errors, and no other", "rows that are right", fix)
    overall, *others = found.values()
    for other in others:
        overall = overall.merged(other)
    classes = {key: found[key] for key in sorted(found, key=_order) if key is not None}
    return Summary(overall, classes, len(store), failed)


def _some(store: Store, names: list[str]) -> Iterator[list[tuple[Any, ...]]]:
    """Rows, some at a time."""
    for batch in store.batches(names):
        rows = zip(*(batch[name] for name in names), strict=True)
        while some := list(itertools.islice(rows, _ROWS)):
            yield some


def _reduced(value: Any, reduce: Callable[[Tensor], Tensor] | None) -> Tensor:
    value = torch.as_tensor(value, dtype=None if isinstance(value, Tensor) else torch.float64)
    reduced = value if reduce is None else reduce(value.double())
    if not isinstance(reduced, Tensor):
        raise ArgumentError("reduce", f"one that gives {describe(reduced)}", "a tensor", "Return a tensor.")
    return reduced


def _order(key: Any) -> tuple[str, Any]:
    """Numbers by value and then names, whatever classes are."""
    return ("", key) if isinstance(key, int | float) else (type(key).__name__, str(key))
