"""Blocks of rows, and how a data set is cut into them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["Block", "Cut", "Piece", "Source"]


@dataclass(frozen=True)
class Piece:
    """Rows that form one batch.

    Attributes:
        places: Which rows of the block these are.
        batch: Their batch.
    """

    places: tuple[int, ...]
    batch: Any


@dataclass(frozen=True)
class Block:
    """Rows behind each other that go to the method together, where they can.

    Attributes:
        first: The number of the first row in the data set.
        rows: How many there are.
        pieces: Their batches: one, unless they do not fit together.
        errors: What was raised when rows were read, by their place in the block.
    """

    first: int
    rows: int
    pieces: tuple[Piece, ...]
    errors: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cut:
    """How rows are cut.

    Attributes:
        batch: Rows of a block.
        shard: Rows of a shard, a multiple of these.
    """

    batch: int
    shard: int

    def shards(self, rows: int) -> int:
        """The number of shards of so many rows."""
        return -(-rows // self.shard)

    def blocks(self, number: int, rows: int) -> Iterator[range]:
        """The rows of each block of a shard."""
        end = min((number + 1) * self.shard, rows)
        for first in range(number * self.shard, end, self.batch):
            yield range(first, min(first + self.batch, end))


class Source(Protocol):
    """Where rows come from."""

    @property
    def rows(self) -> int | None:
        """How many there are; None where only the end will tell."""
        ...

    @property
    def separable(self) -> bool:
        """Whether any shard can be read without those before it."""
        ...

    def sample(self) -> Block:
        """The first rows, and with these some others where that is cheap: what tells one data set from another."""
        ...

    def identity(self) -> str:
        """What tells more of the data than these rows, where that is cheap; nothing where it is not."""
        ...

    def shards(self, cut: Cut, wanted: Iterable[int] | None) -> Iterator[tuple[int, Iterator[Block]]]:
        """The blocks of each shard that is wanted.

        Args:
            cut: How rows are cut.
            wanted: The shards' numbers, rising; of a source whose end is not known, None for all.
        """
        ...
