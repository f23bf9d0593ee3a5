"""Rows of Parquet files."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from attrfunc.core.errors import ArgumentError, suggestions
from attrfunc.data.blocks import Block, Cut, Piece
from attrfunc.data.extras import parquet, pyarrow

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ParquetSource"]


@dataclass(frozen=True)
class ParquetSource:
    """Rows of Parquet files, read from the row group on in which they stand.

    Attributes:
        groups: The file, number and first row of each row group.
        rows: How many rows there are.
        columns: The columns to read; None for all.
    """

    groups: tuple[tuple[str, int, int], ...]
    rows: int
    columns: tuple[str, ...] | None
    separable = True

    @classmethod
    def of(cls, path: str | Path, columns: Sequence[Any] | None) -> ParquetSource:
        """Look at a folder of files, or at one file.

        Args:
            path: The folder or file.
            columns: The columns that are needed; None for all.

        Raises:
            ArgumentError: If there are no files, one cannot be read, or one lacks a column.
        """
        library, place = parquet(), Path(path)
        files = sorted(place.rglob("*.parquet")) if place.is_dir() else [place]
        if not place.exists():
            raise ArgumentError("data", f"{str(path)!r}, which is not there", "Parquet files", "Mend the path.")
        if not files:
            fix = "Pass a folder with files named *.parquet, or one such file."
            raise ArgumentError("data", f"{str(path)!r}, which holds no Parquet files", "Parquet files", fix)
        groups: list[tuple[str, int, int]] = []
        rows = 0
        for file in files:
            try:
                held = library.read_metadata(file)
                names = held.schema.to_arrow_schema().names
            except (OSError, ValueError, pyarrow().ArrowException) as error:
                fix = "Restore the file, or take it out of the folder."
                raise ArgumentError("data", f"{file}, which cannot be read ({error})", "a Parquet file", fix) from error
            for name in columns or ():
                if name not in names:
                    got, fix = f"the column {name!r}, which {file.name} lacks", suggestions(name, names)
                    raise ArgumentError("columns", got, "a column that the rows have", fix)
            for number in range(held.num_row_groups):
                groups.append((str(file), number, rows))
                rows += held.row_group(number).num_rows
        if not rows:
            raise ArgumentError("data", f"{str(path)!r}, which holds no row", "at least one", "Look at the files.")
        return cls(tuple(groups), rows, None if columns is None else tuple(columns))

    def sample(self) -> Block:
        """The first row, one in the middle and the last."""
        numbers = sorted({0, self.rows // 2, self.rows - 1})
        tables = [next(self._tables(number, number + 1, 1)) for number in numbers]
        pieces = [Piece((place,), next(_batches(table))[1]) for place, table in enumerate(tables)]
        return Block(0, len(numbers), tuple(pieces))

    def identity(self) -> str:
        """The sizes of the files, and what these say of their columns: smallest and largest values, bytes."""
        found = hashlib.sha256()
        for name in dict.fromkeys(name for name, _, _ in self.groups):
            told = parquet().read_metadata(name).to_dict()
            found.update(f"{Path(name).stat().st_size} {told}".encode())
        return found.hexdigest()

    def shards(self, cut: Cut, wanted: Iterable[int] | None) -> Iterator[tuple[int, Iterator[Block]]]:
        """The blocks of each shard that is wanted; those behind each other are read in one go."""
        numbers = range(cut.shards(self.rows)) if wanted is None else wanted
        for _, run in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
            chosen = [number for _, number in run]
            end = min(self.rows, (chosen[-1] + 1) * cut.shard)
            blocks = self._blocks(chosen[0] * cut.shard, end, cut)
            for number in chosen:
                yield number, itertools.islice(blocks, len(list(cut.blocks(number, self.rows))))

    def _blocks(self, begin: int, end: int, cut: Cut) -> Iterator[Block]:
        first = begin
        for table in self._tables(begin, end, cut.batch):
            pieces = [Piece(places, batch) for places, batch in _batches(table)]
            yield Block(first, table.num_rows, tuple(pieces))
            first += table.num_rows

    def _tables(self, begin: int, end: int, size: int) -> Iterator[pa.Table]:
        """The rows from `begin` to `end`, so many at a time."""
        held: list[Any] = []
        count = 0
        for part in self._parts(begin, end, size):
            while part.num_rows:
                taken = part.slice(0, size - count)
                held.append(taken)
                count, part = count + taken.num_rows, part.slice(taken.num_rows)
                if count == size:
                    yield _joined(held)
                    held, count = [], 0
        if held:
            yield _joined(held)

    def _parts(self, begin: int, end: int, size: int) -> Iterator[Any]:
        """The same in pieces as they are read."""
        columns = None if self.columns is None else list(self.columns)
        starts = [*(first for _, _, first in self.groups[1:]), self.rows]
        for (name, group, first), behind in zip(self.groups, starts, strict=True):
            if behind <= begin or first >= end:
                continue
            with parquet().ParquetFile(name, buffer_size=1 << 20) as file:
                for part in file.iter_batches(batch_size=size, row_groups=[group], columns=columns):
                    skipped, wanted = max(0, begin - first), max(0, end - first)
                    if skipped < part.num_rows and wanted:
                        yield part.slice(skipped, min(part.num_rows, wanted) - skipped)
                    first += part.num_rows
                    if first >= end:
                        break


def _joined(parts: list[Any]) -> pa.Table:
    return pyarrow().Table.from_batches(parts, parts[0].schema).combine_chunks()


def _batches(table: pa.Table) -> Iterator[tuple[tuple[int, ...], dict[str, Any]]]:
    """The rows as one batch, or, where lists differ in length or a value is missing, as batches of one row."""
    batch = {name: _values(table.column(name)) for name in table.column_names}
    if all(value is not None for value in batch.values()):
        yield tuple(range(table.num_rows)), batch
        return
    for place in range(table.num_rows):
        row = table.slice(place, 1).combine_chunks()
        yield (place,), {name: _values(row.column(name), alone=True) for name in row.column_names}


def _values(column: Any, *, alone: bool = False) -> Any:
    """A tensor of numbers, or a list of anything else; None for lists that do not fit together."""
    pa, types = pyarrow(), pyarrow().types
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0)
    if isinstance(array, pa.FixedShapeTensorArray):
        return torch.from_numpy(array.to_numpy_ndarray().copy())
    inner = array.type
    while types.is_list(inner) or types.is_large_list(inner) or types.is_fixed_size_list(inner):
        inner = inner.value_type
    if not _is_number(inner):
        return array.to_pylist()
    if array.null_count and not types.is_floating(array.type):  # no number says that there is none
        return array.to_pylist() if alone else None
    if inner is array.type:
        return torch.from_numpy(np.array(array.to_numpy(zero_copy_only=False)))
    try:
        found = np.array(array.to_pylist(), dtype=inner.to_pandas_dtype())
    except (ValueError, TypeError):  # of several lengths, or with nulls
        return array.to_pylist() if alone else None
    return torch.from_numpy(found)


def _is_number(kind: Any) -> bool:
    types = pyarrow().types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))
