"""The processes that torchrun has started, as an engine."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

from attrfunc.core.errors import ArgumentError

__all__ = ["Torchrun"]

T = TypeVar("T")
R = TypeVar("R")

# The first process to be done waits for the last one, however long that takes.
_LONG = timedelta(days=30)
_CALLS = itertools.count()


@dataclass(frozen=True)
class Torchrun:
    """The processes that `torchrun` has started: the one of rank r computes shards r, r + W, r + 2 W ...

    All of them make the same call, with the same data and on one file system, and get the same store. A model that is
    on a GPU is put there by the script, as always with torchrun: `model.to(f"cuda:{os.environ['LOCAL_RANK']}")`.

    Example:
        >>> af.data.Torchrun()  # run by `torchrun --nproc-per-node 8 script.py`
        Torchrun()
    """

    remote = False

    def map(self, function: Callable[[T], R], items: Iterable[T], *, in_order: bool = False) -> Iterator[R]:
        """The function of each item of this process, in order."""
        return map(function, items)

    def share(self, numbers: Iterable[int]) -> Iterable[int]:
        """Each W-th of them."""
        rank, world = _place()
        return (number for number in numbers if number % world == rank)

    def wait(self) -> None:
        """Wait for the other processes."""
        _place()
        if not dist.is_initialized():
            # A name of its own: addresses of a group that is gone stay in the store.
            store, rank, world = next(dist.rendezvous("env://", timeout=_LONG))  # type: ignore[attr-defined]
            store = dist.PrefixStore(f"attrfunc.data/{next(_CALLS)}", store)  # type: ignore[attr-defined]
            dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=_LONG)
            try:
                dist.barrier()
            finally:
                dist.destroy_process_group()
            return
        group: Any = dist.new_group(backend="gloo", timeout=_LONG)  # one of NCCL gives up after half an hour
        try:
            dist.barrier(group)
        finally:
            dist.destroy_process_group(group)


def _place() -> tuple[int, int]:
    """The rank of this process, and how many there are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    try:
        return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    except (KeyError, ValueError):
        expected = "a process that torchrun has started"
        fix = "Run the script by `torchrun --nproc-per-node 8 script.py`, or leave engine=None."
        raise ArgumentError("engine", "'torchrun' without RANK and WORLD_SIZE", expected, fix) from None
