"""Batches of a data set in any form, for whatever takes batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from attrfunc.core.errors import ArgumentError, positive
from attrfunc.core.score.method import named
from attrfunc.data.blocks import Cut, Source
from attrfunc.data.sources import StreamSource, source_of

__all__ = ["Batches", "batches"]


@dataclass(frozen=True)
class Batches:
    """Batches that can be passed over several times; made by `batches`.

    Attributes:
        source: Where rows come from.
        size: How many make a batch; None takes batches as they come.
    """

    source: Source
    size: int | None

    def __iter__(self) -> Iterator[Any]:
        if self.size is None:
            assert isinstance(self.source, StreamSource)
            yield from self.source.batches
            return
        for _, blocks in self.source.shards(Cut(self.size, self.size), None):
            for block in blocks:
                for place, error in block.errors.items():
                    fix = "Mend the row, or leave it out."
                    told = ArgumentError("data", f"row {block.first + place}: {error}", "rows that can be read", fix)
                    raise told.within("batches")
                yield from (piece.batch for piece in block.pieces)

    def __len__(self) -> int:
        if self.source.rows is None or self.size is None:
            raise TypeError("how many batches there are is known when they have been passed over")
        return Cut(self.size, self.size).shards(self.source.rows)


@partial(named, "batches")
def batches(data: Any, *, batch_size: int | None = None) -> Batches:
    """Batches of a data set, in the order of its rows, for any function that takes batches.

    Args:
        data: The rows; see `attrfunc.data.sources`.
        batch_size: How many make a batch. `None` takes the loader's, batches as they come, or 32.

    Returns:
        An iterable that can be passed over several times.

    Raises:
        ArgumentError: If the data are of none of the forms.

    Example:
        >>> data = torch.utils.data.TensorDataset(torch.randn(10, 4), torch.zeros(10))
        >>> [len(x) for x, _ in af.data.batches(data, batch_size=4)]
        [4, 4, 2]
    """
    source, size = source_of(data, None if batch_size is None else positive("batch_size", batch_size), None)
    return Batches(source, size)
