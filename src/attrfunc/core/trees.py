"""Nested structures of tensors, where dimension 0 of a tensor is the example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe

__all__ = [
    "Rows",
    "at_places",
    "batch_size",
    "floats",
    "has_rows",
    "join_rows",
    "joined_trees",
    "leaves_of",
    "map_rows",
    "repeat_rows",
    "require_dense",
    "unflatten",
]

Restore = Callable[[list[Any]], Any]

Rows = slice | Tensor
"""Some of the examples: a slice, or a tensor of their numbers."""


def leaves_of(tree: Any) -> list[Any]:
    """The leaves of a structure, which often is but one tensor, or nothing."""
    if isinstance(tree, Tensor):
        return [tree]
    return [] if tree is None or (isinstance(tree, (tuple, dict)) and not tree) else pytree.tree_leaves(tree)


def unflatten(leaves: list[Any], spec: Any) -> Any:
    """The structure `spec` filled with `leaves`."""
    return pytree.tree_unflatten(leaves, spec)


def floats(value: Any) -> tuple[list[Tensor], Restore]:
    """Split a structure into its floating-point tensors and a function that puts others in their place.

    What is not a floating-point tensor is kept where it was.

    Args:
        value: Any nested structure.

    Returns:
        The floating-point leaves, and `restore(leaves)`.
    """
    leaves, spec = pytree.tree_flatten(value)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.is_floating_point()]

    def restore(new: list[Any]) -> Any:
        filled = list(leaves)
        for place, leaf in zip(places, new, strict=True):
            filled[place] = leaf
        return pytree.tree_unflatten(filled, spec)

    return [leaves[i] for i in places], restore


class _Place:
    """Stands for a tensor in a structure."""


def at_places(name: str, given: Any, restore: Restore, tensors: Sequence[Tensor]) -> list[Any]:
    """What an argument that is nested as some tensors are holds for each of them.

    Args:
        name: The argument's name.
        given: What the user gave.
        restore: Gives the tensors their structure, which may hold other things besides.
        tensors: The tensors.

    Raises:
        ArgumentError: If it is nested otherwise.
    """
    places = [_Place() for _ in tensors]
    leaves, spec = pytree.tree_flatten(restore(places))
    try:
        entries = spec.flatten_up_to(given)
    except ValueError:
        expected = f"the structure of what is attributed, {describe(restore(list(tensors)))}"
        fix = f"Give one {name} for each tensor, nested as the tensors are."
        raise ArgumentError(name, describe(given), expected, fix) from None
    return [entries[leaves.index(place)] for place in places]


def batch_size(x: Any) -> int:
    """The number of examples in `x`: the first dimension that all of its tensors share.

    Args:
        x: A tensor or a structure of tensors.

    Returns:
        The number of examples.

    Raises:
        ArgumentError: If a leaf is not a tensor, has no dimension, or the batch sizes differ.
    """
    leaves = leaves_of(x)
    for leaf in leaves:
        if not isinstance(leaf, Tensor) and (hasattr(leaf, "__array__") or isinstance(leaf, float | int)):
            array = f"an array of type {type(leaf).__module__}.{type(leaf).__name__}"
            got = array if hasattr(leaf, "__array__") else describe(x)
            raise ArgumentError("x", got, "a tensor whose dimension 0 is the example", "Pass torch.as_tensor(x).")
        if isinstance(leaf, Tensor):
            require_dense(leaf, "x")
        if not isinstance(leaf, Tensor) or leaf.dim() == 0:
            raise ArgumentError(
                "x",
                describe(leaf),
                "tensors whose dimension 0 is the example",
                "Pass other values through `args` or `kwargs`, and give a single example a batch dimension: x[None].",
            )
    sizes = [leaf.shape[0] for leaf in leaves]
    if not sizes:
        raise ArgumentError("x", describe(x), "a tensor, or a structure of tensors", "Pass the model's input.")
    if any(size != sizes[0] for size in sizes):
        shapes = ", ".join(str(tuple(leaf.shape)) for leaf in leaves)
        raise ArgumentError(
            "x", f"inputs of shapes {shapes}", "one batch size in dimension 0", "Give every input the same batch size."
        )
    return sizes[0]


def has_rows(leaf: Any, rows: int) -> bool:
    """Whether this is a tensor with so many examples; not a sparse one, of which no rows can be taken."""
    return isinstance(leaf, Tensor) and leaf.dim() > 0 and leaf.shape[0] == rows and leaf.layout not in _SPARSE


_SPARSE = {torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc}


def map_rows(change: Callable[[Tensor], Tensor], tree: Any, rows: int) -> Any:
    """Apply `change` to the tensors of `tree` that have `rows` examples; leave everything else as it is."""
    return pytree.tree_map(lambda leaf: change(leaf) if has_rows(leaf, rows) else leaf, tree)


def join_rows(trees: Sequence[Any]) -> Any:
    """Batches of one structure, behind each other."""
    return trees[0] if len(trees) == 1 else pytree.tree_map(lambda *leaves: torch.cat(leaves), *trees)


def joined_trees(trees: Sequence[Any]) -> Any:
    """Structures of tensors behind each other, and whatever else stands in the first."""
    leaves, specs = zip(*(pytree.tree_flatten(tree) for tree in trees), strict=True)
    columns: list[Any] = list(zip(*leaves, strict=True))
    joined = [torch.cat(column) if isinstance(column[0], Tensor) else column[0] for column in columns]
    return pytree.tree_unflatten(joined, specs[0])


def repeat_rows(tensor: Tensor, times: int) -> Tensor:
    """Stack `times` copies of the batch behind each other: `(B, *S)` to `(times * B, *S)`."""
    return tensor.expand(times, *tensor.shape).flatten(0, 1)


def require_dense(leaf: Tensor, name: str) -> None:
    """Raise for what cannot be indexed by example, or has no numbers to put in place of others.

    Args:
        leaf: A tensor of an argument.
        name: The argument's name.
    """
    if leaf.is_nested:
        fix = f"Pass {name}.to_padded_tensor(0.0), and a mask of what is padded through args or kwargs."
        raise ArgumentError(name, "a nested tensor", "a dense tensor, whose dimension 0 is the example", fix)
    if leaf.layout != torch.strided:
        raise ArgumentError(name, f"a tensor of layout {leaf.layout}", "a dense tensor", f"Pass {name}.to_dense().")
    if leaf.is_quantized:
        raise ArgumentError(name, describe(leaf), "a tensor that is not quantised", f"Pass {name}.dequantize().")
    if leaf.is_meta:
        raise ArgumentError(name, "a tensor on device meta", "a tensor with values", "Make it on the model's device.")
