"""One shard on disk: a Parquet file of its rows; and beside it, for images, a zip of zarr arrays."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError
from attrfunc.data.calls import Found
from attrfunc.data.durable import write_whole
from attrfunc.data.extras import parquet, pyarrow, zarr

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Shard", "corrupt", "read_arrays", "read_schema", "read_table", "shard_at", "shard_path", "write_shard"]

_KEY = b"attrfunc"
_CHUNK = 1 << 22
"""Bytes of a chunk of a zarr array, more or less."""


@dataclass(frozen=True)
class Shard:
    """A shard that is on disk.

    Attributes:
        path: Its Parquet file.
        number: Its number.
        first: The number of its first row.
        rows: How many rows it has.
        zarr: The size in bytes of the zip of arrays beside it; 0 where there is none.
        columns: The names of its columns, those of arrays too.
        data: A hash of what it was made of, where that is passed over again.
    """

    path: Path
    number: int
    first: int
    rows: int
    zarr: int
    columns: tuple[str, ...]
    data: str


def shard_path(folder: Path, number: int) -> Path:
    """The file of a shard."""
    return folder / "shards" / f"{number:08d}.parquet"


def arrays_path(path: Path) -> Path:
    """The zip of arrays beside a shard's file."""
    return path.with_suffix(".zarr.zip")


def write_shard(
    folder: Path, number: int, first: int, found: Iterable[Found], *, about: dict[str, str], images: bool
) -> int:
    """Write a shard, whole or not at all.

    Args:
        folder: The store.
        number: The shard's number.
        first: The number of its first row.
        found: What is known of its rows.
        about: Hashes of what the store and the shard are made with.
        images: Whether attributions are written as zarr arrays, and not into the Parquet file.

    Returns:
        The number of rows.

    Raises:
        ArgumentError: If it cannot be written.
    """
    parts = sorted(found, key=lambda part: part.rows)
    path = shard_path(folder, number)
    size = 0
    if images:
        write_whole(arrays_path(path), lambda partial: _write_arrays(partial, parts, first))
        size = arrays_path(path).stat().st_size
    table = _table(parts, images)
    names = [*table.column_names, *(name for part in parts for name in part.attributions)]
    told = {
        "shard": number,
        "first": first,
        "rows": len(table),
        "zarr": size,
        "columns": [name for name in dict.fromkeys(names) if not name.endswith(":shape")],
        **about,
    }
    table = table.replace_schema_metadata({_KEY: json.dumps(told)})
    write_whole(path, lambda partial: _write_table(partial, table))
    return len(table)


def _write_table(path: Path, table: pa.Table) -> None:
    """Write a table; numbers that hardly repeat are split into their bytes, and not looked up."""
    pa = pyarrow()
    lists = [field for field in table.schema if field.name.startswith("attributions") and pa.types.is_list(field.type)]
    split = [field.name for field in lists if field.type.value_type in (pa.float32(), pa.float64())]
    parquet().write_table(
        table,
        path,
        compression="zstd",
        write_page_checksum=True,
        use_dictionary=[name for name in table.column_names if name not in split],
        column_encoding={f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in split},
    )


def _table(parts: Sequence[Found], images: bool) -> pa.Table:
    pa = pyarrow()
    columns: dict[str, Any] = {"row": pa.array([row for part in parts for row in part.rows], pa.int64())}
    for name in dict.fromkeys(name for part in parts for name in part.columns):
        entries = [_entries(part.columns.get(name), len(part.rows)) for part in parts]
        columns[name] = _array(entries)
    columns["error"] = pa.array([error for part in parts for error in part.errors], pa.string())
    for name in () if images else dict.fromkeys(name for part in parts for name in part.attributions):
        columns[name] = _lists(parts, name)
        shapes = [
            None if name not in part.attributions else list(part.attributions[name].shape[1:])
            for part in parts
            for _ in part.rows
        ]
        if any(shape is not None and len(shape) != 1 for shape in shapes):
            columns[f"{name}:shape"] = pa.array(shapes, pa.list_(pa.int32()))
    return pa.table(columns)


def _entries(values: Any, rows: int) -> list[Any] | Tensor:
    """What is stored of a column for some rows: a tensor, or a list."""
    if values is None:
        return [None] * rows
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return values.float() if values.dtype == torch.bfloat16 else values
    return list(values) if isinstance(values, list | tuple) and len(values) == rows else [values] * rows


def _array(entries: Sequence[list[Any] | Tensor]) -> Any:
    """An Arrow array of all rows' entries; tensors of several numbers are lists."""
    pa = pyarrow()
    if all(isinstance(part, Tensor) and part.dim() == 1 for part in entries):
        return pa.array(torch.cat(list(entries)).numpy())  # type: ignore[arg-type]
    plain = [one for part in entries for one in (part.tolist() if isinstance(part, Tensor) else map(_plain, part))]
    return pa.array(plain)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, Tensor | np.generic | np.ndarray) else value


def _lists(parts: Sequence[Found], name: str) -> Any:
    """The attributions of all rows as lists of numbers, or as numbers; nulls for rows that failed."""
    pa = pyarrow()
    found: list[Any] = []
    for part in parts:
        if name not in part.attributions:
            found.append(None)
            continue
        values = _numpy(part.attributions[name])
        if values.ndim > 1:
            offsets = np.arange(len(values) + 1, dtype=np.int32) * (values[0].size if len(values) else 0)
            found.append(pa.ListArray.from_arrays(offsets, values.reshape(-1)))
        else:
            found.append(pa.array(values))
    kind = next(array.type for array in found if array is not None)
    pairs = zip(found, parts, strict=True)
    return pa.chunked_array([pa.nulls(len(part.rows), kind) if array is None else array for array, part in pairs], kind)


def _numpy(leaf: Tensor) -> Any:
    leaf = leaf.float() if leaf.dtype == torch.bfloat16 else leaf
    return np.ascontiguousarray(leaf.numpy())


def _write_arrays(path: Path, parts: Sequence[Found], first: int) -> None:
    """Arrays by name and first row: rows behind each other of one shape are one array."""
    library = zarr()
    store = library.storage.ZipStore(path, mode="w")
    try:
        group = library.create_group(store)
        for name in dict.fromkeys(name for part in parts for name in part.attributions):
            for run in _runs([part for part in parts if name in part.attributions], name):
                values = np.concatenate([_numpy(part.attributions[name]) for part in run])
                chunks = (max(1, min(len(values), _CHUNK // max(1, values[0].nbytes))), *values.shape[1:])
                key = f"{name}/{run[0].rows[0] - first:08d}"
                group.create_array(key, shape=values.shape, chunks=chunks, dtype=values.dtype)[...] = values
    finally:
        store.close()


def _runs(parts: Sequence[Found], name: str) -> Iterator[list[Found]]:
    """Parts whose rows follow each other and have one shape."""
    run: list[Found] = []
    for part in parts:
        kind = part.attributions[name].shape[1:], part.attributions[name].dtype
        last = run[-1] if run else part
        alike = kind == (last.attributions[name].shape[1:], last.attributions[name].dtype)
        if run and not (alike and part.rows[0] == last.rows[-1] + 1):
            yield run
            run = []
        run.append(part)
    if run:
        yield run


def shard_at(path: Path, identity: str | None = None) -> Shard:
    """What a shard's file tells of itself, from its last bytes; what lies beside it is there and of its size.

    Args:
        path: The Parquet file.
        identity: The hash of what the store is made with, if it is to be compared.

    Raises:
        ArgumentError: If it is not whole, or another store's.
    """
    try:
        held = parquet().read_metadata(path)
        told = json.loads(held.metadata[_KEY])
        shard = Shard(
            path, told["shard"], told["first"], told["rows"], told["zarr"], tuple(told["columns"]), told["data"]
        )
        whole = held.num_rows == shard.rows and path.name == shard_path(Path(), shard.number).name
    except (OSError, ValueError, KeyError, TypeError, pyarrow().ArrowException) as error:
        raise corrupt(path, str(error)) from error
    if not whole:
        raise corrupt(path, "it is not the shard that its name says")
    if identity is not None and told["identity"] != identity:
        raise corrupt(path, "it is of another store")
    arrays = arrays_path(path)
    if shard.zarr and not (arrays.exists() and arrays.stat().st_size == shard.zarr):
        raise corrupt(path, f"{arrays.name} is not there, or not of {shard.zarr} bytes")
    return shard


def corrupt(path: Path, why: str) -> ArgumentError:
    """The error for a shard that is not as it was written."""
    got = f"{path.parent.parent}, whose shard {path} is damaged ({why})"
    fix = f"Delete {path} and call attribute with this path again: it computes what is missing, and nothing else."
    return ArgumentError("path", got, "shards as they were written", fix)


def read_schema(shard: Shard) -> list[str]:
    """The names of the columns of a shard's table.

    Raises:
        ArgumentError: If it is damaged.
    """
    try:
        return list(parquet().read_schema(shard.path).names)
    except (OSError, ValueError, pyarrow().ArrowException) as error:
        raise corrupt(shard.path, str(error)) from error


def read_table(shard: Shard, columns: Sequence[str] | None = None) -> pa.Table:
    """The table of a shard's rows, with checksums verified.

    Raises:
        ArgumentError: If it is damaged.
    """
    try:
        # ParquetFile and not read_table, which does not verify checksums in all versions.
        with parquet().ParquetFile(shard.path, page_checksum_verification=True) as file:
            return file.read(None if columns is None else list(columns))
    except (OSError, ValueError, pyarrow().ArrowException) as error:
        raise corrupt(shard.path, str(error)) from error


def read_arrays(shard: Shard) -> dict[str, list[tuple[int, Any]]]:
    """The arrays beside a shard by name, each with its first row in the shard.

    Raises:
        ArgumentError: If these are damaged.
    """
    library, found = zarr(), dict[str, list[tuple[int, Any]]]()
    try:
        store = library.storage.ZipStore(arrays_path(shard.path), mode="r")
        try:
            group = library.open_group(store, mode="r")
            for name, inner in group.groups():
                found[name] = sorted(((int(key), array[...]) for key, array in inner.arrays()), key=lambda one: one[0])
        finally:
            store.close()
    except (OSError, ValueError, RuntimeError, KeyError, zipfile.BadZipFile) as error:
        raise corrupt(shard.path, f"{arrays_path(shard.path).name}: {error}") from error
    return found
