"""Training data: batches that can be passed over again, and their examples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.trees import has_rows, map_rows, require_dense

__all__ = ["batches_of", "one_of", "row_of", "rows_of", "zeroth"]


def batches_of(data: Iterable[Any], name: str = "data") -> Iterator[Any]:
    """The batches of a data set.

    Args:
        data: Any iterable that can be passed over several times: a `DataLoader`, or a list of batches.
        name: The argument's name.

    Raises:
        ArgumentError: If it is no such iterable, or holds no batch.
    """
    if isinstance(data, Tensor | dict | str):
        fix = f"Pass a DataLoader, or a list of batches: {name}=[(inputs, labels)]."
        raise ArgumentError(name, describe(data), "an iterable of batches", fix)
    try:
        found = iter(data)
    except TypeError:
        fix = "Pass a DataLoader or a list of batches."
        raise ArgumentError(name, describe(data), "an iterable of batches", fix) from None
    if found is data:
        raise ArgumentError(
            name,
            f"an iterator ({type(data).__name__}), which can be passed over once",
            "batches that can be passed over several times",
            f"Pass a DataLoader or list({name}).",
        )
    return _some(found, name)


def _some(found: Iterator[Any], name: str) -> Iterator[Any]:
    empty = True
    for batch in found:
        empty = False
        yield batch
    if empty:
        raise ArgumentError(name, "no batch", "at least one", "Look at what the data set holds.")


def rows_of(batch: Any, name: str = "data") -> int:
    """The number of examples of a batch: dimension 0 of its first tensor that has one.

    Args:
        batch: A tensor, or any structure of tensors.
        name: The argument's name.

    Raises:
        ArgumentError: If there is no such tensor, or it has no rows.
    """
    leaves = [leaf for leaf in pytree.tree_leaves(batch) if isinstance(leaf, Tensor)]
    for leaf in leaves:
        require_dense(leaf, name)
    sizes = [leaf.shape[0] for leaf in leaves if leaf.dim()]
    if not sizes:
        fix = "Give each batch its inputs and labels as tensors with a batch dimension: x[None]."
        raise ArgumentError(name, f"a batch that is {describe(batch)}", "tensors whose dimension 0 is the example", fix)
    if not sizes[0]:
        raise ArgumentError(name, "a batch without examples", "at least one example", "Leave empty batches out.")
    return sizes[0]


def row_of(batch: Any, rows: int, number: int) -> Any:
    """One example, as a batch of its own."""
    return map_rows(lambda leaf: leaf[number : number + 1], batch, rows)


def zeroth(batch: Any, rows: int) -> Any:
    """Which dimension of each tensor `vmap` maps over."""
    return pytree.tree_map(lambda leaf: 0 if has_rows(leaf, rows) else None, batch)


def one_of(batch: Any, dims: Any) -> Any:
    """What `vmap` shows of a batch, as a batch of one example."""
    leaves, spec = pytree.tree_flatten(batch)
    places = spec.flatten_up_to(dims)
    pairs = zip(leaves, places, strict=True)
    return pytree.tree_unflatten([torch.unsqueeze(leaf, 0) if at == 0 else leaf for leaf, at in pairs], spec)
