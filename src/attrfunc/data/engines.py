"""Engines: where the work is done. Each maps a function over items.

This is where `engine` is documented; every method refers here. It is one of
    * `None`: this process;
    * `"ray"`, or `af.data.Ray(...)`: actors of Ray, on this machine or a cluster;
    * `"torchrun"`, or `af.data.Torchrun()`: the processes that torchrun has started, each of which makes this call.

Each shard is computed by one worker, and from nothing but its rows, the model and the seed, so results do not depend on
the engine or the number of workers. They are equal to the bit where torch runs on the same device with the same number
of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

from attrfunc.core.errors import ArgumentError, describe

__all__ = ["Engine", "Local", "engine_of"]

T = TypeVar("T")
R = TypeVar("R")


class Engine(Protocol):
    """Where the work is done."""

    @property
    def remote(self) -> bool:
        """Whether items travel to other processes."""
        ...

    def map(self, function: Callable[[T], R], items: Iterable[T], *, in_order: bool = False) -> Iterator[R]:
        """The function of each item."""
        ...

    def share(self, numbers: Iterable[int]) -> Iterable[int]:
        """Those of some shards' numbers that this process sees to."""
        ...

    def wait(self) -> None:
        """Wait until all processes that make this call have come so far."""
        ...


class Local:
    """This process."""

    remote = False

    def map(self, function: Callable[[T], R], items: Iterable[T], *, in_order: bool = False) -> Iterator[R]:
        """The function of each item, in order."""
        return map(function, items)

    def share(self, numbers: Iterable[int]) -> Iterable[int]:
        """All of them."""
        return numbers

    def wait(self) -> None:
        """Nobody else makes this call."""


def engine_of(engine: Any) -> Engine:
    """An engine in any of the forms of this module.

    Args:
        engine: What the user gave.

    Raises:
        ArgumentError: If it is none of them.
    """
    from attrfunc.data.ray_engine import Ray
    from attrfunc.data.torchrun import Torchrun

    if engine is None:
        return Local()
    if engine == "ray":
        return Ray()
    if engine == "torchrun":
        return Torchrun()
    if isinstance(engine, Local | Ray | Torchrun):
        return engine
    expected = "None, 'ray', 'torchrun', af.data.Ray(...) or af.data.Torchrun()"
    raise ArgumentError("engine", describe(engine), expected, "None computes in this process.")
