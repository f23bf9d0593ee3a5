"""Libraries of the extras `attrfunc[data]` and `attrfunc[ray]`, imported where they are used."""

from __future__ import annotations

from typing import Any

from attrfunc.core.extras import extra

__all__ = ["parquet", "pyarrow", "ray", "zarr"]


def pyarrow() -> Any:
    """Arrow tables."""
    return extra("pyarrow", "data", "path", "a store of Parquet files")


def parquet() -> Any:
    """Parquet files."""
    return extra("pyarrow.parquet", "data", "path", "a store of Parquet files")


def zarr() -> Any:
    """Arrays on disk."""
    return extra("zarr", "data", "format", "'zarr'")


def ray() -> Any:
    """Workers on one machine or several."""
    return extra("ray", "ray", "engine", "'ray'")
