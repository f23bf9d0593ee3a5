"""Sources of rows: data sets with an index, and batches that come one after the other.

This is where `data` is documented; every method refers here. It is one of
    * a torch `Dataset` or a `datasets.Dataset` of Hugging Face, whose rows are read by their numbers;
    * a `DataLoader`, which must not shuffle; its `collate_fn` and `num_workers` are kept;
    * a folder of Parquet files, or one such file, as a path; files are taken by the order of their names;
    * any iterable of batches that can be passed over several times, such as a list.

A row has to be the same each time it is read: what draws at random, for augmentation, does not belong here.

A run that goes on, or a store that is asked for again, has to be of the same data. A `TensorDataset` is compared whole
(up to 1 GiB), and so are batches that come one after the other. Of other data sets with an index the number of rows
and 17 of them are compared, from the first to the last; of Parquet files the first, one in the middle and the last,
their sizes, and what they say of their columns.
**A row between these that has changed is not noticed**: pass `data_version`, and another one when the data change.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
)

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.data.blocks import Block, Cut, Piece, Source
from attrfunc.data.columns import rows_of, sliced, table_of
from attrfunc.data.identity import described, tensor_hash

__all__ = ["MapSource", "StreamSource", "source_of"]

_SHUFFLES = RandomSampler | SubsetRandomSampler | WeightedRandomSampler
_USUAL = 32
"""Rows of a batch where nothing says how many."""
_COMPARED, _HASHED = 16, 1 << 30
"""How many rows tell data sets apart, and up to how many bytes tensors are compared whole."""


def source_of(data: Any, batch_size: int | None, needed: Sequence[str] | None) -> tuple[Source, int | None]:
    """Where rows come from, and how many make a batch; None for batches as they come.

    Args:
        data: In any of the forms of this module.
        batch_size: How many rows the user wants in a batch, or None.
        needed: Which columns of Parquet files are read; None for all.

    Raises:
        ArgumentError: If it is of none of the forms, shuffles, or can be passed over only once.
    """
    if isinstance(data, str | Path):
        from attrfunc.data.parquet_source import ParquetSource

        return ParquetSource.of(data, needed), batch_size or _USUAL
    if isinstance(data, Mapping) and any(map(_is_hugging_face, data.values())):
        fix = f"Pass one of its splits: data[{next(iter(data))!r}]."
        raise ArgumentError("data", f"{type(data).__name__} of {', '.join(map(repr, data))}", "one data set", fix)
    if _is_hugging_face(data):
        data = data.with_format("torch") if _plain(data) else data
    if isinstance(data, DataLoader):
        return _of_loader(data, batch_size)
    if isinstance(data, IterableDataset) or (_is_hugging_face(data) and not hasattr(data, "__len__")):
        loader: DataLoader[Any] = DataLoader(data, batch_size or _USUAL)
        return StreamSource(loader), batch_size or _USUAL
    if isinstance(data, Dataset) or _is_hugging_face(data):
        return MapSource(data), batch_size or _USUAL
    if isinstance(data, np.ndarray) or hasattr(data, "to_numpy"):
        fix = "Pass TensorDataset(torch.from_numpy(array)); of a frame take the columns and their to_numpy()."
        got = f"{type(data).__name__} of shape {getattr(data, 'shape', 'unknown')}"
        raise ArgumentError("data", got, "a data set, or batches", fix)
    if isinstance(data, Tensor | Mapping) or not hasattr(data, "__iter__"):
        fix = "Pass a DataLoader, a Dataset, a path of Parquet files, or a list of batches: data=[(x, labels)]."
        raise ArgumentError("data", describe(data), "a data set, or batches", fix)
    return StreamSource(data), batch_size


def _of_loader(loader: DataLoader[Any], batch_size: int | None) -> tuple[Source, int | None]:
    inner = getattr(loader.batch_sampler, "sampler", loader.sampler)
    if isinstance(inner, _SHUFFLES):
        fix = "Pass a DataLoader with shuffle=False over the same data."
        raise ArgumentError("data", "a DataLoader that shuffles", "the same order each time", fix)
    size = batch_size or loader.batch_size
    in_order = isinstance(inner, SequentialSampler) and loader.batch_size is not None and not loader.drop_last
    if in_order and not isinstance(loader.dataset, IterableDataset):
        options = {"num_workers": loader.num_workers, "worker_init_fn": loader.worker_init_fn}
        if loader.num_workers:
            options["multiprocessing_context"] = loader.multiprocessing_context
            options["prefetch_factor"] = loader.prefetch_factor
        return MapSource(loader.dataset, loader.collate_fn, options), size or _USUAL
    return StreamSource(loader), size


def _is_hugging_face(data: Any) -> bool:
    return type(data).__module__.partition(".")[0] == "datasets" and hasattr(data, "with_format")


def _plain(data: Any) -> bool:
    """Whether rows come as plain Python, whose lists are not told from tensors."""
    form = getattr(data, "format", None)
    return form is None or form["type"] is None


def _first(data: Iterable[Any]) -> Any:
    found = iter(data)
    if found is data:
        raise ArgumentError(
            "data",
            f"an iterator ({type(data).__name__}), which can be passed over once",
            "batches that can be passed over several times",
            "Pass a DataLoader or list(data).",
        )
    for batch in found:
        return batch
    raise ArgumentError("data", "no batch", "at least one", "Look at what the data set holds.")


def told(error: BaseException) -> str:
    """An error as it is recorded."""
    return f"{type(error).__name__}: {error}"


@dataclass(frozen=True)
class MapSource:
    """Rows that are read by their numbers.

    Attributes:
        dataset: The data set.
        collate: Makes a batch of a list of rows.
        options: Further options of the loader: workers.
    """

    dataset: Any
    collate: Callable[[list[Any]], Any] = default_collate
    options: dict[str, Any] = field(default_factory=dict)
    separable = True

    def __post_init__(self) -> None:
        if not len(self.dataset):
            raise ArgumentError("data", "no row", "at least one", "Look at what the data set holds.")

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.dataset)

    def sample(self) -> Block:
        """The first row, one in the middle and the last."""
        return _Reader(self.dataset, self.collate).read(sorted({0, self.rows // 2, self.rows - 1}))

    def identity(self) -> str:
        """Of tensors all of them, else of rows between the first and the last, which are read one by one."""
        tensors = self.dataset.tensors if isinstance(self.dataset, TensorDataset) else ()
        if tensors and sum(leaf.numel() * leaf.element_size() for leaf in tensors) <= _HASHED:
            return " ".join(map(tensor_hash, tensors))
        reader, found = _Reader(self.dataset, self.collate), hashlib.sha256()
        for number in sorted({(self.rows - 1) * part // _COMPARED for part in range(_COMPARED + 1)}):
            block = reader.read([number])
            found.update(described([[table_of(piece.batch) for piece in block.pieces], block.errors]).encode())
        return found.hexdigest()

    def shards(self, cut: Cut, wanted: Iterable[int] | None) -> Iterator[tuple[int, Iterator[Block]]]:
        """The blocks of each shard that is wanted."""
        numbers = list(range(cut.shards(self.rows)) if wanted is None else wanted)
        reader = _Reader(self.dataset, self.collate)
        stream = iter(
            DataLoader(
                reader,  # type: ignore[arg-type]
                batch_sampler=_Blocks(cut, numbers, self.rows),
                collate_fn=_as_it_is,
                generator=torch.Generator(),  # the global one is the user's
                **self.options,
            )
        )
        for number in numbers:
            yield number, itertools.islice(stream, len(list(cut.blocks(number, self.rows))))


@dataclass(frozen=True)
class _Blocks:
    """The numbers of the rows of each block."""

    cut: Cut
    numbers: list[int]
    rows: int

    def __iter__(self) -> Iterator[list[int]]:
        for number in self.numbers:
            yield from map(list, self.cut.blocks(number, self.rows))

    def __len__(self) -> int:
        return sum(len(list(self.cut.blocks(number, self.rows))) for number in self.numbers)


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class _Reader:
    """A data set whose rows come as blocks; it runs in the loader's workers, and never raises."""

    dataset: Any
    collate: Callable[[list[Any]], Any]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, numbers: list[int]) -> Block:
        return self.read(numbers)

    def read(self, numbers: list[int]) -> Block:
        """The rows of these numbers: one batch, or where rows fail or do not fit, batches of one row."""
        errors: dict[int, str] = {}
        pieces: list[Piece] = []
        try:
            batch = self.collate(self._fetched(numbers))
            pieces.append(Piece(tuple(range(len(numbers))), batch))
        except Exception:  # of whatever kind: it is found out row by row
            for place, number in enumerate(numbers):
                try:
                    pieces.append(Piece((place,), self.collate(self._fetched([number]))))
                except Exception as error:
                    errors[place] = told(error)
        return Block(numbers[0], len(numbers), tuple(pieces), errors)

    def _fetched(self, numbers: list[int]) -> list[Any]:
        many = getattr(self.dataset, "__getitems__", None)
        return list(many(numbers)) if many else [self.dataset[number] for number in numbers]


@dataclass(frozen=True)
class StreamSource:
    """Batches that come one after the other, and are cut anew.

    Attributes:
        batches: The batches.
    """

    batches: Iterable[Any]
    rows = None
    separable = False

    def sample(self) -> Block:
        """The first batch that has rows."""
        _first(self.batches)
        for batch in self.batches:
            rows = rows_of(batch)
            if rows:
                return Block(0, rows, (Piece(tuple(range(rows)), batch),))
        raise ArgumentError("data", "batches without rows", "at least one row", "Look at what the data set holds.")

    def identity(self) -> str:
        """Nothing: the batches of each shard are compared when they are passed over again."""
        return ""

    def shards(self, cut: Cut, wanted: Iterable[int] | None) -> Iterator[tuple[int, Iterator[Block]]]:
        """The blocks of each shard that is wanted; the others are passed over."""
        chosen = None if wanted is None else set(wanted)
        grouped = itertools.groupby(self._blocks(cut.batch), lambda block: block.first // cut.shard)
        for number, blocks in grouped:
            if chosen is None or number in chosen:
                yield number, blocks

    def _blocks(self, size: int) -> Iterator[Block]:
        held: list[Piece] = []
        first = count = 0
        for batch in self.batches:
            rows, begin = rows_of(batch), 0
            while begin < rows:
                end = min(rows, begin + size - count)
                part = batch if end - begin == rows else sliced(batch, begin, end, rows)
                held.append(Piece(tuple(range(count, count + end - begin)), part))
                count, begin = count + end - begin, end
                if count == size:
                    yield Block(first, count, tuple(held))
                    held, first, count = [], first + count, 0
        if count:
            yield Block(first, count, tuple(held))
