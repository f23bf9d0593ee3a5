"""Gradients of a data set on disk: made once, asked many times."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, positive
from attrfunc.core.extras import extra
from attrfunc.core.loops.progress import Progress
from attrfunc.core.score.method import method
from attrfunc.core.score.views import Model
from attrfunc.core.trees import map_rows
from attrfunc.data.columns import moved
from attrfunc.data.durable import sweep, unwritable, write_whole
from attrfunc.data.engines import engine_of
from attrfunc.data.gpu import on_gpu
from attrfunc.data.torchrun import Torchrun
from attrfunc.influence.batches import batches_of, rows_of
from attrfunc.influence.count_sketch import CountSketch, Sketcher
from attrfunc.influence.curvature import digest
from attrfunc.influence.manifest import FORMAT, chained, numbers_of, read, stale, write
from attrfunc.influence.network import Network, open_network
from attrfunc.influence.per_example import PerExample, require_finite_scores
from attrfunc.influence.streams import public, reported
from attrfunc.influence.terms import flat
from attrfunc.influence.top import Top, best
from attrfunc.influence.values import Loss, Values, losses, measured

__all__ = ["Store", "embed", "open_store"]

_ROWS = 65_536
"""Rows that are looked at at once."""


@dataclass(frozen=True)
class Store:
    """The gradients of a data set's losses, sketched or not, on disk. Made by `embed`, opened by `open_store`.

    Attributes:
        path: The folder.
        rows: The number of examples, N.
        width: How many numbers each has.
        names: The parameters that gradients were taken of.
        digest: A hash of the parameters' values.
        data: A hash of the data, batch by batch.
        sketch: The projection; None for whole gradients.
    """

    path: Path
    rows: int
    width: int
    names: tuple[str, ...]
    digest: str
    data: str
    sketch: CountSketch | None

    @property
    def vectors(self) -> np.memmap[Any, Any]:
        """All of them, `(N, width)` in single precision: mapped into memory, read where they are looked at."""
        return np.memmap(numbers_of(self.path), np.float32, "r", shape=(self.rows, self.width))

    def scores(self, model: Model, x: Any, *, loss: Loss, measure: Any = None) -> Tensor:
        """The scores of `tracin` with the same sketch, `(Q, N)`, from what is stored.

        Args:
            model: The model, with the parameters that the store was made with.
            x: The queries.
            loss: `loss(model, batch) -> (B,)`.
            measure: As for `tracin`.

        Raises:
            ArgumentError: If the parameters are others.
        """
        try:
            return torch.cat(list(self._blocks(self._queries(model, x, loss, measure))), 1)
        except ArgumentError as error:
            raise error.within("Store.scores")  # noqa: B904  # the same error, now with its name

    def top(
        self,
        model: Model,
        x: Any,
        *,
        loss: Loss,
        measure: Any = None,
        k: int,
        largest: bool = True,
        index: str | None = None,
    ) -> Top:
        """The examples with the highest scores, from what is stored.

        Args:
            model: The model, with the parameters that the store was made with.
            x: The queries.
            loss: `loss(model, batch) -> (B,)`.
            measure: As for `tracin`.
            k: How many to keep.
            largest: Whether the highest scores or the lowest.
            index: `None` looks at all of them, exactly. `"faiss"` asks a graph of neighbours (HNSW) that is made on the
                first call and kept beside the store: approximate, and faster for millions of examples; of the extra
                `attrfunc[neighbours]`.

        Raises:
            ArgumentError: If the parameters are others, or an argument cannot be right.
        """
        try:
            queries = self._queries(model, x, loss, measure)
            if index is None:
                return best(self._blocks(queries), positive("k", k), largest)
            if index != "faiss":
                raise ArgumentError("index", repr(index), "None or 'faiss'", "None looks at all of them.")
            return self._neighbours(queries, positive("k", k), largest)
        except ArgumentError as error:
            raise error.within("Store.top")  # noqa: B904  # the same error, now with its name

    def _queries(self, model: Model, x: Any, loss: Loss, measure: Any) -> Tensor:
        network = open_network(model, self.names)
        if digest(network) != self.digest:
            fix = "Embed the data anew, in another folder, or load the parameters that it was made with."
            raise ArgumentError("model", "other parameters than the store was made with", "those, as they were", fix)
        return _embedded(network, self.sketch, PerExample(network, measured(measure, loss)), x)

    def _blocks(self, queries: Tensor) -> Iterator[Tensor]:
        for begin in range(0, self.rows, _ROWS):
            part = torch.from_numpy(np.array(self.vectors[begin : begin + _ROWS])).to(queries)
            yield require_finite_scores(-queries @ part.T)

    def _neighbours(self, queries: Tensor, k: int, largest: bool) -> Top:
        faiss = extra("faiss", "neighbours", "index", "'faiss'")
        if k > self.rows:
            fix = "Pass a smaller k."
            raise ArgumentError("k", str(k), f"at most the {self.rows} examples that there are", fix)
        file = self.path / f"hnsw-{self.digest[:16]}-{self.data[:16]}.faiss"
        if file.exists():
            graph = faiss.read_index(str(file))
        else:
            graph = faiss.IndexHNSWFlat(self.width, 32, faiss.METRIC_INNER_PRODUCT)
            for begin in range(0, self.rows, _ROWS):
                graph.add(np.ascontiguousarray(self.vectors[begin : begin + _ROWS]))
            write_whole(file, lambda partial: faiss.write_index(graph, str(partial)))
        graph.hnsw.efSearch = max(128, 2 * k)
        sign = -1.0 if largest else 1.0
        found, indices = graph.search((sign * queries).float().cpu().numpy(), k)
        return Top(torch.from_numpy(found) * (1.0 if largest else -1.0), torch.from_numpy(indices))


@method
def embed(
    model: Model,
    data: Iterable[Any],
    *,
    loss: Loss,
    path: str | Path,
    sketch: CountSketch | None = None,
    parameters: Any = None,
    engine: Any = None,
    progress: Progress = False,
) -> Store:
    """Write the gradient of each example's loss, sketched, to disk.

    A folder with the numbers, in single precision, and a manifest with hashes of the parameters, the data and the
    projection. After each batch what is written is whole: a run that was interrupted goes on where it was when it is
    called again, and one that is done gives the store at once. Several processes or machines share the work: each
    embeds its part of the data in a folder of its own, and `join_stores` makes them one.

    Args:
        model: A module, in evaluation mode.
        data: The training data: batches in the same order each time.
        loss: `loss(model, batch) -> (B,)`.
        path: The folder, which is made.
        sketch: A projection of gradients, made by `count_sketch`; `None` stores whole gradients.
        parameters: As for `tracin`.
        engine: `"ray"`, or `af.data.Ray(...)`, sends batches to workers; `None` computes in this process.
        progress: Whether and how to report; see `attrfunc.core.loops.progress`.

    Returns:
        The store.

    Raises:
        ArgumentError: If the folder holds a store of other parameters, data or projection, or of a loss that gives
            the first example another gradient, or cannot be written to: a full disk leaves what was whole, and the
            next call goes on from there.

    Example:
        >>> import tempfile
        >>> model, batch = torch.nn.Linear(3, 2), (torch.randn(8, 3), torch.randint(2, (8,)))
        >>> def loss(model, batch):
        ...     return torch.nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")
        >>> store = af.influence.embed(model, [batch] * 3, loss=loss, path=tempfile.mkdtemp() + "/store")
        >>> store.scores(model, batch, loss=loss).shape
        torch.Size([8, 24])
    """
    network, folder = open_network(model, parameters), Path(path)
    wanted = _described(network, sketch)
    width = network.size if sketch is None else Sketcher(sketch, network).size
    embedding, worker = _Embedding(model, parameters, losses(loss), sketch), engine_of(engine)
    if isinstance(worker, Torchrun):
        fix = "Embed each part of the data in a folder of its own, or pass engine='ray'."
        raise ArgumentError("engine", "'torchrun', of which one file is not written", "None or 'ray'", fix)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        manifest = _begun(folder, wanted, width)
        known, chain, done = manifest["batches"], "", 0
        with open(numbers_of(folder), "ab") as file:
            file.truncate(manifest["rows"] * width * 4)  # what came behind the last whole batch
            chains: deque[str] = deque()

            def missing() -> Iterator[Any]:
                """The batches behind those that are there."""
                nonlocal chain, done
                first = None
                for batch in reported(batches_of(data, ordered=True), data, progress):
                    chain, done = chained(chain, batch), done + 1
                    first = batch if first is None else first
                    if done == known and chain != manifest["data"]:
                        raise stale(folder, "other data, or batches in another order or of another size")
                    if done == known:
                        again = _Embedding(model, parameters, losses(loss), sketch)
                        _require_the_same(folder, again, first, width)
                    if done <= known:
                        continue
                    if manifest["complete"]:
                        raise stale(folder, "fewer batches than the data has now")
                    chains.append(chain)
                    yield batch

            for numbers in worker.map(embedding, missing(), in_order=True):
                file.write(require_finite_scores(numbers).float().cpu().contiguous().numpy().tobytes())
                file.flush()
                os.fsync(file.fileno())
                manifest = {**manifest, "rows": manifest["rows"] + len(numbers), "batches": manifest["batches"] + 1}
                manifest["data"] = chains.popleft()
                write(folder, manifest)
        if done < known:
            raise stale(folder, "more batches than the data has now")
        if not manifest["complete"]:
            write(folder, {**manifest, "complete": True})
    except OSError as error:
        raise unwritable(folder, error) from error
    return open_store(folder)


@public
def open_store(path: str | Path) -> Store:
    """Open what `embed` has written.

    Args:
        path: The folder.

    Raises:
        ArgumentError: If it holds no store, or one that is not whole.

    Example:
        >>> import tempfile
        >>> model, batch = torch.nn.Linear(3, 1), (torch.randn(8, 3), torch.randn(8, 1))
        >>> loss = lambda model, batch: (model(batch[0]) - batch[1]).square().sum(1)
        >>> path = tempfile.mkdtemp() + "/store"
        >>> _ = af.influence.embed(model, [batch], loss=loss, path=path)
        >>> af.influence.open_store(path).vectors.shape
        (8, 4)
    """
    folder = Path(path)
    manifest = read(folder)
    fix = "Call embed with this folder again: it goes on where it was."
    if manifest is None:
        raise ArgumentError("path", f"{folder}, which holds no manifest", "a folder that embed has written", fix)
    if not manifest["complete"]:
        got = f"{folder}, of which {manifest['rows']} rows are written, and not all"
        raise ArgumentError("path", got, "a store that is whole", fix)
    size = manifest["rows"] * manifest["width"] * 4
    if not numbers_of(folder).exists() or numbers_of(folder).stat().st_size != size:
        got = f"{folder}, whose numbers are not the {size} bytes that its manifest tells of"
        raise ArgumentError("path", got, "a store that is whole", "Delete the folder, and embed the data anew.")
    held = manifest["sketch"]
    return Store(
        folder,
        manifest["rows"],
        manifest["width"],
        tuple(manifest["names"]),
        manifest["parameters"],
        manifest["data"],
        None if held is None else CountSketch(held["size"], held["seed"]),
    )


@dataclass
class _Embedding:
    """What a worker makes of a batch; it opens the model where it runs."""

    model: Model
    parameters: Any
    values: Values
    sketch: CountSketch | None
    opened: tuple[Network, PerExample] | None = None
    device: torch.device | None = None

    def __call__(self, batch: Any) -> Tensor:
        if self.opened is None:
            network = open_network(self.model, self.parameters)
            self.opened = network, PerExample(network, self.values)
        network, gradients = self.opened
        return _embedded(network, self.sketch, gradients, moved(batch, self.device)).cpu()

    def on_gpu(self) -> _Embedding:
        """The same with the model on this worker's GPU."""
        self.model, self.device = on_gpu(self.model)
        return self


def _embedded(network: Network, sketch: CountSketch | None, gradients: PerExample, batch: Any) -> Tensor:
    found = gradients(batch)
    return flat(found, network.dtype) if sketch is None else Sketcher(sketch, network)(found)


def _require_the_same(folder: Path, embedding: _Embedding, batch: Any, width: int) -> None:
    """A loss and the code of a model have no hash: what the first example gives now tells whether they are others."""
    rows = rows_of(batch, embedding.values.of)
    found = embedding(map_rows(lambda leaf: leaf[:1], batch, rows))[0].float()
    held = torch.from_numpy(np.fromfile(numbers_of(folder), np.float32, width))
    if (found - held).norm() > 0.1 * held.norm() + 1e-6:
        raise stale(folder, "another loss, or of a model with other code or buffers")


def _described(network: Network, sketch: CountSketch | None) -> dict[str, Any]:
    """What a store has to have been made with."""
    if sketch is not None:
        Sketcher(sketch, network)
    held = None if sketch is None else {"size": sketch.size, "seed": sketch.seed}
    return {"format": FORMAT, "names": list(network.names), "parameters": digest(network), "sketch": held}


def _begun(folder: Path, wanted: dict[str, Any], width: int) -> dict[str, Any]:
    """The manifest of what is there, or a new one."""
    manifest = read(folder)
    if manifest is None:
        manifest = {**wanted, "width": width, "rows": 0, "batches": 0, "data": "", "complete": False}
        write(folder, manifest)
    for key, name in (("format", "another version"), ("names", "other parameters"), ("sketch", "another projection")):
        if manifest[key] != wanted[key]:
            raise stale(folder, name)
    if manifest["parameters"] != wanted["parameters"]:
        raise stale(folder, "other values of the parameters")
    file = numbers_of(folder)
    if manifest["rows"] and (not file.exists() or file.stat().st_size < manifest["rows"] * width * 4):
        raise stale(folder, "fewer numbers than its manifest tells of")
    return manifest
