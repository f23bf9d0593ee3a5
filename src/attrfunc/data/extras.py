"""Libraries of the extras `attrfunc[data]` and `attrfunc[ray]`, imported where they are used."""

from __future__ import annotations

import functools
import importlib
from typing import Any

from attrfunc.core.errors import ArgumentError

__all__ = ["parquet", "pyarrow", "ray", "zarr"]


@functools.cache
def _module(name: str, extra: str, argument: str, needed: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        got = f"{needed} without {name.partition('.')[0]} installed"
        fix = f"Install the extra attrfunc[{extra}]."
        raise ArgumentError(argument, got, f"{name.partition('.')[0]} to be there", fix) from None


def pyarrow() -> Any:
    """Arrow tables."""
    return _module("pyarrow", "data", "path", "a store of Parquet files")


def parquet() -> Any:
    """Parquet files."""
    pyarrow()
    return _module("pyarrow.parquet", "data", "path", "a store of Parquet files")


def zarr() -> Any:
    """Arrays on disk."""
    return _module("zarr", "data", "format", "'zarr'")


def ray() -> Any:
    """Workers on one machine or several."""
    return _module("ray", "ray", "engine", "'ray'")
