"""Stores that were made of parts of the data, as one."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.data.durable import sweep, unwritable, write_whole
from attrfunc.influence.manifest import numbers_of, read, stale, write
from attrfunc.influence.store import Store, open_store
from attrfunc.influence.streams import public

__all__ = ["join_stores"]


@public
def join_stores(paths: Iterable[str | Path], *, path: str | Path) -> Store:
    """Make one store of several that were embedded from parts of the data, in their order.

    Embedding is a map from batches to rows, so that processes or machines share it without talking to each other: each
    calls `embed` with its part of the data and a folder of its own, and one of them joins the folders. The sketch is a
    value; give all of them the same.

    Args:
        paths: The folders of the parts, in the order of the data.
        path: The folder of the whole, which is made; the parts stay as they are.

    Returns:
        The store, the same as of all data at once. A call with the same parts gives it without writing.

    Raises:
        ArgumentError: If a part is not whole, they are of other parameters, projections or widths, or the folder holds
            another store or cannot be written to.

    Example:
        >>> import tempfile
        >>> model, batch = torch.nn.Linear(3, 1), (torch.randn(8, 3), torch.randn(8, 1))
        >>> loss = lambda model, batch: (model(batch[0]) - batch[1]).square().sum(1)
        >>> folder = tempfile.mkdtemp()
        >>> shards = [folder + "/0", folder + "/1"]  # each in a process of its own
        >>> for shard, part in zip(shards, (slice(0, 4), slice(4, 8))):
        ...     _ = af.influence.embed(model, [(batch[0][part], batch[1][part])], loss=loss, path=shard)
        >>> af.influence.join_stores(shards, path=folder + "/all").rows
        8
    """
    if isinstance(paths, str | Path):
        fix = 'Pass a list of folders: sorted(Path("shards").iterdir()).'
        raise ArgumentError("paths", describe(paths), "the folders of several stores", fix)
    stores, folder = [open_store(one) for one in paths], Path(path)
    if not stores:
        raise ArgumentError("paths", "an empty list", "the folders of several stores", "Embed the data first.")
    _require_same(stores)
    if any(store.path.resolve() == folder.resolve() for store in stores):
        raise ArgumentError("path", f"{folder}, which is one of the parts", "a folder of its own", "Choose another.")
    first, rows = _manifest(stores[0]), sum(store.rows for store in stores)
    data = hashlib.sha256(" ".join(store.data for store in stores).encode()).hexdigest()
    wanted = {**first, "rows": rows, "data": data}
    wanted["batches"] = sum(_manifest(store)["batches"] for store in stores)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        there = read(folder)
        if there is not None and there != {**wanted, "complete": there["complete"]}:
            raise stale(folder, "other parts")
        if there is None or not there["complete"]:
            write(folder, {**wanted, "complete": False})
            write_whole(numbers_of(folder), lambda partial: _joined(stores, partial))
            write(folder, wanted)
    except OSError as error:
        raise unwritable(folder, error) from error
    return open_store(folder)


def _joined(stores: list[Store], path: Path) -> None:
    """The numbers of all, one behind the other."""
    with open(path, "wb") as file:
        for store in stores:
            with open(numbers_of(store.path), "rb") as part:
                shutil.copyfileobj(part, file, 2**24)


def _manifest(store: Store) -> dict[str, Any]:
    found = read(store.path)
    assert found is not None  # it has been opened
    return found


def _require_same(stores: list[Store]) -> None:
    first = stores[0]
    for store in stores[1:]:
        pairs = (
            ("other parameters", store.names == first.names),
            ("other values of the parameters", store.digest == first.digest),
            ("another projection", store.sketch == first.sketch),
        )
        for what, same in pairs:
            if not same:
                got = f"{store.path}, a store of {what} than {first.path}"
                fix = "Embed all parts with one model and one sketch: count_sketch gives another at each call."
                raise ArgumentError("paths", got, "parts of one whole", fix)
