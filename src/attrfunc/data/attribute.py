"""Attributions of a whole data set, on disk."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe, positive
from attrfunc.core.loops.progress import Progress, reporter
from attrfunc.core.score.method import named
from attrfunc.core.score.views import Model, as_view
from attrfunc.data.blocks import Block, Cut, Source
from attrfunc.data.calls import Call, device_of
from attrfunc.data.columns import Columns, rows_of, table_of
from attrfunc.data.engines import engine_of
from attrfunc.data.extras import parquet, zarr
from attrfunc.data.gaps import gap_of
from attrfunc.data.identity import described, model_identity
from attrfunc.data.job import Job
from attrfunc.data.manifest import begun, folder_of, identity_of
from attrfunc.data.same import require_same, require_unbatched
from attrfunc.data.sources import source_of
from attrfunc.data.store import Store, open_store

__all__ = ["attribute"]

_IMAGE = 4096
"""Numbers of an input from which on its attributions are written as arrays."""
_BYTES, _ROWS = 1 << 25, 1024
"""How large a shard gets if nobody says."""


@partial(named, "attribute")
def attribute(
    method: Callable[..., Any],
    model: Model,
    data: Any,
    *,
    path: str | Path,
    columns: Any = None,
    target: Any = None,
    batch_size: int | None = None,
    prepare: Callable[[Any], Any] | None = None,
    shard_rows: int | None = None,
    format: Literal["auto", "parquet", "zarr"] = "auto",  # noqa: A002  # the field's name
    predictions: bool = True,
    gap: bool | Callable[..., Tensor] = True,
    on_error: Literal["check", "record", "raise"] = "check",
    seed: int = 0,
    data_version: str | int | None = None,
    engine: Any = None,
    progress: Progress = True,
    **options: Any,
) -> Store:
    """The attributions of every row of a data set, written to disk as they come.

    Rows are computed in shards, each of which is written whole or not at all. A run that was interrupted, killed too,
    goes on where it was when it is called again: no row is lost, none is computed twice but those of the shard that was
    under way. Memory holds a shard, however many rows there are.

    Args:
        method: Any method `(model, x, **options)` that gives attributions of each example.
        model: A module, any callable, or a view of one.
        data: The rows; see `attrfunc.data.sources`.
        path: The folder of the store, which is made. Extra: `attrfunc[data]`.
        columns: Which parts of a row are what; see `attrfunc.data.columns`.
        target: As for the method, the same for all rows; or `"label"`, the true class; or `"predicted"`, the class with
            the largest score.
        batch_size: How many rows go to the method at once. `None` takes the loader's, that of the first batch, or 32.
        prepare: Changes each batch before anything else does: scales, tokenises. It sees as many rows as there are.
        shard_rows: Rows of a shard, rounded up to whole batches. `None` takes some 32 MiB of attributions, and at most
            1,024 rows. What is under way in a shard is lost with the process: a slow method wants small shards.
        format: `"parquet"` writes attributions as lists into the table of the rows, `"zarr"` as arrays beside it;
            `"auto"` takes arrays for inputs of 4,096 numbers and more.
        predictions: Store what the model says of each row, which costs a forward pass.
        gap: Store how far attributions are from completeness, for methods whose measure is known (`ig`, `guided_ig`,
            `deep_lift`, `lrp`), which costs two; or a measure `(model, x, attributions, **arguments) -> (B,)`.
        on_error: A row that fails, whatever the reason, is recorded with its error and does not stop the rest:
            `"record"`. `"check"` raises if every row of the first shard fails, since then the call is wrong and not the
            rows. `"raise"` raises always.
        seed: Where all randomness comes from: each batch draws from a generator made of the seed and the number of its
            first row, which a method gets as `generator` if it has such an argument. Results do not depend on
            interruptions, engines and workers.
        data_version: What tells these data from others, such as a date or a revision: a call with another one in the
            same folder is refused. Without it, data are told apart as `attrfunc.data.sources` says.
        engine: Where shards are computed; see `attrfunc.data.engines`.
        progress: Whether and how to report, in rows; see `attrfunc.core.loops.progress`.
        options: Further arguments of the method, the same for all rows.

    Returns:
        The store, with the columns `row`, `attributions` (for structures `attributions.0`, `attributions.name`, ...),
        `error` (None for rows that are right), `prediction` (the class with the largest score, or the number that the
        model gives), `score` (what is attributed), `target`, `gap`, `label`, and those that are kept.

    Raises:
        ArgumentError: If an argument cannot be right; if rows lack a column; if the folder holds a store of another
            model, other data or options, and which these are; if a shard is damaged, and how to mend it; if the disk
            is full, of which nothing half-written is left; if the engine is not there.

    Example:
        >>> import tempfile
        >>> model, data = torch.nn.Linear(4, 3), [(torch.randn(8, 4), torch.randint(3, (8,))) for _ in range(5)]
        >>> path = tempfile.mkdtemp() + "/store"
        >>> store = af.data.attribute(af.ig, model, data, path=path, target="predicted", progress=False)
        >>> len(store), store[0]["attributions"].shape, store.columns
        (40, torch.Size([4]), ['row', 'label', 'prediction', 'score', 'target', 'gap', 'error', 'attributions'])
    """
    reads, worker = Columns.of(columns), engine_of(engine)
    _require(method, format, on_error, options)
    require_same(target, options, reads)
    folder = folder_of(path)
    parquet()
    size = None if batch_size is None else positive("batch_size", batch_size)
    source, size = source_of(data, size, None if prepare else reads.names)
    sample = source.sample()
    first = _first_batch(sample, prepare)
    reads.require(first)
    size = rows_of(sample.pieces[0].batch) if size is None else size
    cut, images = _cut(first, reads, size, shard_rows, format)
    if images:
        zarr()
    require_unbatched(options, first, reads, size)
    measure, device = gap_of(method, options, gap), device_of(model)
    call = Call(method, model, reads, options, target, prepare, predictions, measure, seed, device)
    made_with = _made_with(call, source, sample, cut, images, gap, data_version)
    manifest = begun(folder, made_with)
    job = Job(call, source, cut, folder, identity_of(made_with), images, on_error)
    job.run(manifest, worker, reporter(progress, source.rows or 0))
    return open_store(folder)


def _require(method: Any, format: str, on_error: str, options: dict[str, Any]) -> None:  # noqa: A002
    if not callable(method):
        raise ArgumentError("method", describe(method), "a callable (model, x, **options)", "Pass af.ig, say.")
    for name, value, forms in (
        ("format", format, ("auto", "parquet", "zarr")),
        ("on_error", on_error, ("check", "record", "raise")),
    ):
        if value not in forms:
            raise ArgumentError(name, describe(value), " or ".join(map(repr, forms)), f"The default is {forms[0]!r}.")
    if "generator" in options:
        fix = "Pass seed=...: each batch draws from a generator made of it."
        raise ArgumentError("generator", "a generator for all rows", "a seed", fix)
    parameters = inspect.signature(method).parameters
    known = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    for name in options:
        if not known and name not in parameters:
            expected = f"arguments of attribute, or of {getattr(method, '__name__', 'the method')}"
            raise ArgumentError(name, "an argument that the method does not have", expected, "Drop it.")


def _first_batch(sample: Block, prepare: Callable[[Any], Any] | None) -> Any:
    """The batch by which columns and sizes are known."""
    if not sample.pieces:
        fix = "Look at what the data set gives for its first row."
        raise ArgumentError("data", f"rows that cannot be read: {sample.errors[0]}", "rows", fix)
    batch = sample.pieces[0].batch
    return batch if prepare is None else prepare(batch)


def _cut(batch: Any, columns: Columns, size: int, shard_rows: int | None, format: str) -> tuple[Cut, bool]:  # noqa: A002
    """How rows are cut, and whether their attributions are written as arrays."""
    x = pytree.tree_leaves(columns.read(batch)[0])
    rows = columns.rows(batch)
    numbers = max(1, sum(leaf.numel() for leaf in x if isinstance(leaf, Tensor)) // max(1, rows))
    wanted = max(1, min(_ROWS, _BYTES // (4 * numbers))) if shard_rows is None else positive("shard_rows", shard_rows)
    whole = wanted // size if shard_rows is None else -(-wanted // size)
    return Cut(size, size * max(1, whole)), format == "zarr" or (format == "auto" and numbers >= _IMAGE)


def _made_with(
    call: Call, source: Source, sample: Block, cut: Cut, images: bool, gap: Any, version: str | int | None
) -> dict[str, Any]:
    """What tells this store from any other."""
    from attrfunc import __version__

    rows = described([[table_of(piece.batch) for piece in sample.pieces], sample.errors])
    held = call.columns
    return {
        "version": __version__,
        "method": described(call.method),
        "model": {**model_identity(call.model), "class": type(as_view(call.model).model).__qualname__},
        "data": {"rows": source.rows, "sample": rows, "version": version, "whole": source.identity()},
        "options": {
            **{name: described(value) for name, value in call.options.items() if name != "progress"},
            "columns": described([held.x, held.arguments, held.label, held.keep]),
            "target": described(call.target),
            "prepare": described(call.prepare),
            "predictions": call.predictions,
            "gap": described(gap) if call.gap is not None else "False",
            "seed": call.seed,
            "batch_size": cut.batch,
            "shard_rows": cut.shard,
            "format": "zarr" if images else "parquet",
        },
    }
