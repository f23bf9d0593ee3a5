"""Stores: attributions of a data set that are on disk, read without loading all of them."""

from __future__ import annotations

import bisect
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from attrfunc.core.errors import ArgumentError, suggestions
from attrfunc.core.score.method import named
from attrfunc.data.extras import parquet, pyarrow
from attrfunc.data.manifest import folder_of, identity_of, read_manifest
from attrfunc.data.shards import Shard, corrupt, read_arrays, read_schema, read_table, shard_at

if TYPE_CHECKING:
    import pandas
    import pyarrow as pa

__all__ = ["Store", "open_store"]


@dataclass(frozen=True)
class Store:
    """Attributions of a data set on disk. Made by `attribute`, opened by `open_store`.

    Iterating gives its rows as dicts, `store[7]` one row, `len(store)` their number; `batches` gives the rows of one
    shard after the other, and so does whatever is computed of all: memory holds one shard.

    Attributes:
        path: The folder.
        complete: Whether all rows of the data set are there.
        made_with: What it was made with: hashes and descriptions.
        shards: What is on disk.
        columns: The names of the columns.
    """

    path: Path
    complete: bool
    made_with: dict[str, Any] = field(repr=False)
    shards: tuple[Shard, ...] = field(repr=False)
    columns: list[str]

    def __len__(self) -> int:
        return sum(shard.rows for shard in self.shards)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.batches():
            for place in range(len(batch["row"])):
                yield {name: values[place] for name, values in batch.items()}

    def __getitem__(self, number: int) -> dict[str, Any]:
        try:
            place = range(len(self))[operator.index(number)]
        except IndexError:
            raise IndexError(f"row {number} of a store of {len(self)} rows") from None
        ends = np.cumsum([shard.rows for shard in self.shards]).tolist()
        which = bisect.bisect_right(ends, place)
        batch = self._read(self.shards[which], self.columns)
        inside = place - (ends[which] - self.shards[which].rows)
        return {name: values[inside] for name, values in batch.items()}

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """The rows of one shard after the other.

        Args:
            columns: The names of the columns to read; `None` reads all.

        Returns:
            Dicts by name: attributions as a list of tensors, one for each row, `None` for rows that failed before they
            had any; anything else as a list of Python's values.

        Raises:
            ArgumentError: If there is no such column, or a shard is damaged.
        """
        names = self.columns if columns is None else self._known(columns)
        return (self._read(shard, names) for shard in self.shards)

    def numpy(self, column: str = "attributions") -> np.ndarray[Any, Any]:
        """One column of all rows as an array `(N, *S)`: NaN for rows that have no such number. It is held in memory.

        Args:
            column: Its name.

        Raises:
            ArgumentError: If there is no such column, or its rows differ in shape.
        """
        found: list[Any] = [value for batch in self.batches([column]) for value in batch[column]]
        shapes = {tuple(np.shape(value)) for value in found if value is not None}
        if len(shapes) > 1:
            expected = "one shape in all rows"
            fix = "Read them row by row, or by `batches`."
            error = ArgumentError("column", f"{column!r}, of shapes {sorted(shapes)[:3]}", expected, fix)
            raise error.within("Store.numpy")
        if not shapes or all(value is not None for value in found):
            return np.stack([np.asarray(value) for value in found])
        blank = np.full(shapes.pop(), np.nan)
        return np.stack([blank if value is None else np.asarray(value) for value in found])

    def arrow(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The tables of the rows, one shard after the other; of arrays in zarr files, without these.

        Args:
            columns: The names of the columns to read; `None` reads all.
        """
        for shard in self.shards:
            table = read_table(shard)
            names = (
                table.column_names if columns is None else [n for n in self._known(columns) if n in table.column_names]
            )
            yield table.select(names)

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The table of all rows, in memory; of arrays in zarr files, without these.

        Args:
            columns: The names of the columns to read; `None` reads all.
        """
        return pyarrow().concat_tables(list(self.arrow(columns)), promote_options="permissive")

    def to_pandas(self, columns: Sequence[str] | None = None) -> pandas.DataFrame:
        """The same as a data frame.

        Args:
            columns: The names of the columns to read; `None` reads all.
        """
        return self.to_arrow(columns).to_pandas()

    def errors(self) -> dict[int, str]:
        """What the rows that failed failed of, by row."""
        found: dict[int, str] = {}
        for batch in self.batches(["row", "error"]):
            found |= {row: error for row, error in zip(batch["row"], batch["error"], strict=True) if error is not None}
        return found

    def verify(self) -> None:
        """Read all of it, and compare checksums.

        Raises:
            ArgumentError: If a shard is damaged: which one, and how to mend it.
        """
        for shard in self.shards:
            batch = self._read(shard, self.columns)
            if batch["row"] != list(range(shard.first, shard.first + shard.rows)):
                raise corrupt(shard.path, "rows are missing").within("Store.verify")

    def _known(self, columns: Sequence[str]) -> list[str]:
        for name in columns:
            if name not in self.columns:
                error = ArgumentError("columns", repr(name), "columns of the store", suggestions(name, self.columns))
                raise error.within("Store.batches")
        return list(columns)

    def _read(self, shard: Shard, columns: Sequence[str]) -> dict[str, Any]:
        arrays = read_arrays(shard) if shard.zarr and any(_is_attribution(name) for name in columns) else {}
        there = set(read_schema(shard))
        wanted = [one for name in columns for one in (name, f"{name}:shape") if one in there]
        table = read_table(shard, wanted)
        found: dict[str, Any] = {}
        for name in columns:
            if name in arrays:
                found[name] = _from_arrays(arrays[name], shard.rows)
            elif name not in there:
                found[name] = [None] * shard.rows
            elif _is_attribution(name):
                shapes = table.column(f"{name}:shape").to_pylist() if f"{name}:shape" in wanted else None
                found[name] = _from_lists(table.column(name), shapes)
            else:
                found[name] = table.column(name).to_pylist()
        return found


def _is_attribution(name: str) -> bool:
    return name.partition(".")[0] == "attributions"


def _from_arrays(arrays: list[tuple[int, Any]], rows: int) -> list[Any]:
    found: list[Any] = [None] * rows
    for begin, values in arrays:
        found[begin : begin + len(values)] = torch.from_numpy(values)
    return found


def _from_lists(column: Any, shapes: list[Any] | None) -> list[Any]:
    """A tensor for each row, on memory that they share."""
    pa, found = pyarrow(), list[Any]()
    for chunk in column.chunks:
        if not pa.types.is_list(chunk.type):
            numbers = torch.from_numpy(chunk.fill_null(0).to_numpy(zero_copy_only=False).copy())
            pairs = zip(numbers, chunk.is_valid().to_pylist(), strict=True)
            found += [number if valid else None for number, valid in pairs]
            continue
        values = torch.from_numpy(chunk.values.to_numpy(zero_copy_only=False).copy())
        offsets = chunk.offsets.to_pylist()
        ends = zip(offsets[:-1], offsets[1:], chunk.is_valid().to_pylist(), strict=True)
        found += [values[begin:end] if valid else None for begin, end, valid in ends]
    if shapes is None:
        return found
    return [None if one is None else one.reshape(shape) for one, shape in zip(found, shapes, strict=True)]


@partial(named, "open_store")
def open_store(path: str | Path, *, partial: bool = False) -> Store:
    """Open what `attribute` has written.

    Args:
        path: The folder.
        partial: Whether to open one that is not whole: the rows that are there so far.

    Raises:
        ArgumentError: If it holds no store, one that is not whole, or a shard that is damaged.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/store"
        >>> model, data = torch.nn.Linear(4, 1), [torch.randn(8, 4)]
        >>> _ = af.data.attribute(af.saliency, model, data, path=path, progress=False)
        >>> af.data.open_store(path).numpy().shape
        (8, 4)
    """
    parquet()
    folder = folder_of(path)
    manifest = read_manifest(folder)
    fix = "Call attribute with this path again: it goes on where it was."
    if manifest is None:
        raise ArgumentError("path", f"{folder}, which holds no manifest", "a folder that attribute has written", fix)
    if not (manifest["complete"] or partial):
        raise ArgumentError(
            "path",
            f"{folder}, of which not all rows are written",
            "a store that is whole",
            f"{fix} partial=True opens what is there.",
        )
    identity = identity_of(manifest["made_with"])
    shards = [shard_at(file, identity) for file in sorted((folder / "shards").glob("*.parquet"))]
    if manifest["complete"] and (len(shards), sum(shard.rows for shard in shards)) != (
        manifest["shards"],
        manifest["rows"],
    ):
        missing = set(range(manifest["shards"])) - {shard.number for shard in shards}
        got = f"{folder}, in which shards are missing: {sorted(missing)[:5]}"
        raise ArgumentError("path", got, f"the {manifest['shards']} shards that it had", fix)
    names = dict.fromkeys(name for shard in shards for name in shard.columns)
    return Store(folder, manifest["complete"], manifest["made_with"], tuple(shards), list(names))
