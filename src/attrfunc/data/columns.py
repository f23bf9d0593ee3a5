"""Columns: which parts of a row are the input, the label and the method's arguments.

This is where `columns` is documented; every method refers here. A batch is a dict, whose columns are its keys; a tuple
or list, whose columns are the numbers of its elements; or a tensor, whose only column is 0.

columns: A dict. Its keys are
    * `"x"`: what is attributed: the name of a column, or a tuple, list or dict of names, as the model takes it;
    * `"label"`: the column with the true class, which is stored;
    * `"keep"`: a list of columns that are stored as they are: an id, a file's name;
    * any argument of the method: `{"baseline": "reference"}`, `{"kwargs": {"attention_mask": "mask"}}`.

    `None` takes the first element of a tuple as `x`, and a second one as the label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe, suggestions
from attrfunc.core.trees import batch_size, has_rows

__all__ = ["Columns", "is_rows", "moved", "rows_of", "sliced", "table_of"]

RESERVED = {"row", "error", "prediction", "score", "gap", "target", "label"}
"""Columns of a store that are not the user's."""


def table_of(batch: Any) -> dict[Any, Any]:
    """The columns of a batch by name, with numpy arrays as tensors."""
    if isinstance(batch, Mapping):
        found = dict(batch)
    elif isinstance(batch, tuple | list):
        found = dict(enumerate(batch))
    else:
        found = {0: batch}
    return pytree.tree_map_only(np.ndarray, _tensor, found)


def _tensor(array: Any) -> Any:
    return torch.from_numpy(array) if array.dtype.kind in "biuf" else array.tolist()


@dataclass(frozen=True)
class Columns:
    """Which columns are what; read from `columns` by `Columns.of`.

    Attributes:
        x: The names of the input's columns, nested as the model takes them.
        arguments: Names, nested, by the method's argument.
        label: The name of the true class's column, or None.
        keep: The names of what is stored as it is.
        optional: Whether the label need not be there.
    """

    x: Any
    arguments: Mapping[str, Any]
    label: Any
    keep: tuple[Any, ...]
    optional: bool = False

    @classmethod
    def of(cls, columns: Any) -> Columns:
        """Read the argument.

        Args:
            columns: In any of its forms.

        Raises:
            ArgumentError: If it cannot be right.
        """
        if columns is None:
            return cls(0, {}, 1, (), optional=True)
        if not isinstance(columns, Mapping) or "x" not in columns:
            fix = "Pass columns={'x': 'image', 'label': 'class'}, say, or columns={'x': 0} for tuples."
            raise ArgumentError("columns", describe(columns), "a dict that says at least which column is x", fix)
        rest = dict(columns)
        x, label, keep = rest.pop("x"), rest.pop("label", None), rest.pop("keep", ())
        keep = (keep,) if isinstance(keep, str | int) else tuple(keep)
        taken = [name for name in keep if str(name) in RESERVED or str(name).startswith(("attributions", "gap."))]
        if taken:
            expected = f"other names than the store's own: {', '.join(sorted(RESERVED))}, attributions"
            fix = "Rename the column, in `prepare`, say. The label is kept by columns={'label': ...}."
            raise ArgumentError("columns", f"the column {taken[0]!r} to keep", expected, fix)
        return cls(x, rest, label, keep)

    @property
    def names(self) -> list[Any]:
        """The names of all of them."""
        held = [self.x, dict(self.arguments), self.label, list(self.keep)]
        return [name for name in pytree.tree_leaves(held) if name is not None]

    def require(self, batch: Any) -> None:
        """Raise if a batch lacks a column."""
        table = table_of(batch)
        given = {"x": self.x, **self.arguments, "keep": list(self.keep), "label": None if self.optional else self.label}
        for role, names in given.items():
            for name in pytree.tree_leaves(names):
                if name is not None and name not in table:
                    got, expected = f"the column {name!r} for {role!r}", "a column that the rows have"
                    if not isinstance(batch, Mapping) or all(isinstance(one, int) for one in table):
                        fix = f"The rows have the columns {list(table)}, by number."
                    else:
                        fix = suggestions(name, map(str, table))
                    raise ArgumentError("columns", got, expected, fix)

    def read(self, batch: Any) -> tuple[Any, dict[str, Any], Any, dict[str, Any]]:
        """The input, the method's arguments, the label, and what is kept, of a batch.

        Raises:
            ArgumentError: If it lacks a column.
        """
        self.require(batch)
        table = table_of(batch)

        def at(names: Any) -> Any:
            return pytree.tree_map(table.__getitem__, names)

        kept = {str(name): table[name] for name in self.keep}
        return at(self.x), {name: at(tree) for name, tree in self.arguments.items()}, table.get(self.label), kept

    def rows(self, batch: Any) -> int:
        """The number of rows of a batch: that of its input."""
        self.require(batch)
        return batch_size(pytree.tree_map(table_of(batch).__getitem__, self.x))


def rows_of(batch: Any) -> int:
    """The number of rows of any batch: that of its first tensor, or the length of its first list.

    Raises:
        ArgumentError: If it holds none.
    """
    table = table_of(batch)
    sizes = [leaf.shape[0] for leaf in pytree.tree_leaves(table) if isinstance(leaf, Tensor) and leaf.dim()]
    sizes += [len(value) for value in table.values() if isinstance(value, list)]
    if not sizes:
        fix = "Give batches their inputs as tensors with a batch dimension: x[None]."
        raise ArgumentError("data", f"a batch that is {describe(batch)}", "tensors whose dimension 0 is the row", fix)
    return sizes[0]


def is_rows(value: Any, rows: int) -> bool:
    """Whether this is a list, of texts say, with one entry for each row."""
    return isinstance(value, list) and len(value) == rows and not any(isinstance(one, Tensor) for one in value)


def sliced(batch: Any, begin: int, end: int, rows: int) -> Any:
    """Some rows of a batch: of its tensors, and of its lists with one entry for each row.

    Args:
        batch: The batch.
        begin: The first row.
        end: Behind the last.
        rows: How many the batch has.
    """

    def change(leaf: Any) -> Any:
        return leaf[begin:end] if has_rows(leaf, rows) or is_rows(leaf, rows) else leaf

    return pytree.tree_map(change, table_of(batch), is_leaf=lambda value: is_rows(value, rows))


def moved(tree: Any, device: torch.device | None) -> Any:
    """A structure on a device."""
    return tree if device is None else pytree.tree_map_only(Tensor, lambda leaf: leaf.to(device), tree)
