"""What is the same for all rows, and what is not: an argument with an entry for each row belongs into a column."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.score.target import BatchScore
from attrfunc.data.columns import Columns

__all__ = ["require_same", "require_unbatched"]

_ROWWISE = ("baseline", "feature_mask", "args", "kwargs")
"""Arguments of methods that may have an entry for each example."""


def require_same(target: Any, options: Mapping[str, Any], columns: Columns) -> None:
    """Raise for a target that is not the same for all rows, and for what is given twice.

    Args:
        target: As the user gave it.
        options: The method's arguments that are the same for all rows.
        columns: Those that stand in columns.

    Raises:
        ArgumentError: If one cannot be right.
    """
    inner = target.func if isinstance(target, functools.partial) else target
    if isinstance(inner, BatchScore):
        fix = "Use dataset_ablation for a metric of all rows."
        raise ArgumentError("target", "a batch_score", "a score for each row", fix)
    if isinstance(target, str) and target not in ("label", "predicted"):
        expected = "'label', 'predicted', or a target as methods take it"
        raise ArgumentError("target", repr(target), expected, "'predicted' is the class with the largest score.")
    parts = target if isinstance(target, tuple) else (target,)
    if any(isinstance(one, list) or (isinstance(one, Tensor | np.ndarray) and one.ndim) for one in parts):
        expected = "one target for all rows, 'label' or 'predicted'"
        fix = (
            "Put targets of rows beside these: TensorDataset(x, targets) with columns={'x': 0, 'target': 1}. Of an "
            "output of several dimensions, a tuple of ints says which number is meant."
        )
        raise ArgumentError("target", describe(target), expected, fix)
    given = {name for name, value in {"target": target, **options}.items() if name != "target" or value is not None}
    for name in given & set(columns.arguments):
        fix = "Leave one of them out."
        raise ArgumentError(name, f"{describe({**options, 'target': target}[name])}, and a column", "one of both", fix)


def require_unbatched(options: Mapping[str, Any], batch: Any, columns: Columns, size: int | None) -> None:
    """Raise for an option that has as many entries as a batch has rows, which would go to other rows in each batch.

    Args:
        options: The method's arguments that are the same for all rows.
        batch: A batch of the data.
        columns: Which columns are what.
        size: How many rows batches have.
    """
    if size is None or size == 1:
        return
    dims = [leaf.dim() for leaf in pytree.tree_leaves(columns.read(batch)[0]) if isinstance(leaf, Tensor)]
    for name in _ROWWISE:
        for leaf in pytree.tree_leaves(options.get(name)):
            whole = name in ("args", "kwargs") or leaf_dims(leaf) in dims
            if isinstance(leaf, Tensor) and leaf.dim() and len(leaf) == size and whole:
                got = f"{describe(leaf)}, an entry for each of the {size} rows of a batch"
                fix = (
                    f"Put what differs by row into a column: columns={{'x': ..., {name!r}: ...}}. Where it is the same "
                    "for all rows, take another batch_size, or give it a first dimension of 1."
                )
                raise ArgumentError(name, got, "an argument that is the same for all rows", fix)


def leaf_dims(leaf: Any) -> int:
    """How many dimensions a leaf has; of what is no tensor, none."""
    return leaf.dim() if isinstance(leaf, Tensor) else 0
