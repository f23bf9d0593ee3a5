"""Training data: batches that can be passed over again, and their examples."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data import RandomSampler, SubsetRandomSampler, WeightedRandomSampler

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.trees import has_rows, map_rows, require_dense

__all__ = ["batches_of", "one_of", "row_of", "rows_of", "slow_maps", "zeroth"]


def batches_of(data: Iterable[Any], name: str = "data", *, ordered: bool = False) -> Iterator[Any]:
    """The batches of a data set.

    Loaders draw from torch's global generator, to shuffle and to seed their workers. It is put back, and each pass
    draws the same.

    Args:
        data: Any iterable that can be passed over several times: a `DataLoader`, or a list of batches.
        name: The argument's name.
        ordered: Whether examples are told apart by their place in it.

    Raises:
        ArgumentError: If it is no such iterable, holds no batch, or shuffles what is told apart by its place.
    """
    if isinstance(data, Tensor | dict | str):
        fix = f"Pass a DataLoader, or a list of batches: {name}=[(inputs, labels)]."
        raise ArgumentError(name, describe(data), "an iterable of batches", fix)
    if ordered and _shuffles(data):
        fix = "Pass a DataLoader with shuffle=False over the same data."
        raise ArgumentError(name, "a DataLoader that shuffles", "the same order each time", fix)
    mine, yours = torch.get_rng_state(), torch.get_rng_state()
    try:
        found = iter(data)
        mine = torch.get_rng_state()
    except TypeError:
        fix = "Pass a DataLoader or a list of batches."
        raise ArgumentError(name, describe(data), "an iterable of batches", fix) from None
    finally:
        torch.set_rng_state(yours)
    if found is data:
        raise ArgumentError(
            name,
            f"an iterator ({type(data).__name__}), which can be passed over once",
            "batches that can be passed over several times",
            f"Pass a DataLoader or list({name}).",
        )
    return _drawn(found, name, mine)


def _drawn(found: Iterator[Any], name: str, mine: Tensor) -> Iterator[Any]:
    """Batches, which draw from a stream of their own."""
    count = 0
    while True:
        yours = torch.get_rng_state()
        torch.set_rng_state(mine)
        try:
            batch = next(found)
            mine = torch.get_rng_state()
        except StopIteration:
            break
        finally:
            torch.set_rng_state(yours)
        count += 1
        yield batch
    if not count:
        raise ArgumentError(name, "no batch", "at least one", "Look at what the data set holds.")


def _shuffles(data: Any) -> bool:
    """Whether a loader, or one that is wrapped to report, gives another order each time."""
    inner = getattr(data, "batches", data)
    samplers = [getattr(inner, "sampler", None), getattr(getattr(inner, "batch_sampler", None), "sampler", None)]
    return any(isinstance(one, RandomSampler | SubsetRandomSampler | WeightedRandomSampler) for one in samplers)


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


@contextmanager
def slow_maps() -> Iterator[None]:
    """Let `vmap` loop over what it has no rule for, without a word: what is mapped here is right either way."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        yield


def zeroth(batch: Any, rows: int) -> Any:
    """Which dimension of each tensor `vmap` maps over."""
    return pytree.tree_map(lambda leaf: 0 if has_rows(leaf, rows) else None, batch)


def one_of(batch: Any, dims: Any) -> Any:
    """What `vmap` shows of a batch, as a batch of one example."""
    leaves, spec = pytree.tree_flatten(batch)
    places = spec.flatten_up_to(dims)
    pairs = zip(leaves, places, strict=True)
    return pytree.tree_unflatten([torch.unsqueeze(leaf, 0) if at == 0 else leaf for leaf, at in pairs], spec)
