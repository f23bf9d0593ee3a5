"""One run over a data set: which shards there are, and what makes one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from attrfunc.core.errors import ArgumentError
from attrfunc.data.blocks import Block, Cut, Source
from attrfunc.data.calls import Call
from attrfunc.data.columns import table_of
from attrfunc.data.durable import sweep
from attrfunc.data.engines import Engine
from attrfunc.data.gpu import on_gpu
from attrfunc.data.identity import described
from attrfunc.data.manifest import finish
from attrfunc.data.shards import Shard, corrupt, shard_at, shard_path, write_shard

__all__ = ["Job"]

Work = tuple[int, Iterable[Block] | None]
"""A shard's number, and its blocks where these do not have to be read."""


@dataclass(frozen=True)
class Job:
    """What is the same for all shards of a run.

    Attributes:
        call: What is computed of a batch.
        source: Where rows come from.
        cut: How they are cut.
        folder: The store.
        identity: A hash of what it is made with.
        images: Whether attributions are written as zarr arrays.
        on_error: `"check"`, `"record"` or `"raise"`.
    """

    call: Call
    source: Source
    cut: Cut
    folder: Path
    identity: str
    images: bool
    on_error: str

    def __call__(self, work: Work) -> int:
        """Compute one shard and write it; gives the number of its rows."""
        number, blocks = work
        if blocks is None:
            blocks = next(iter(self.source.shards(self.cut, [number])))[1]
        first = number * self.cut.shard
        seen: list[str] = []
        found = [part for block in self._noted(blocks, seen) for part in self.call(block)]
        errors = [error for part in found for error in part.errors]
        failed = [(row, error) for part in found for row, error in zip(part.rows, part.errors, strict=True) if error]
        if failed and (self.on_error == "raise" or (self.on_error == "check" and number == 0 and all(errors))):
            row, error = failed[0]
            which = "every row of the first shard" if all(errors) else f"row {row}"
            expected = "rows that the method and the model take"
            fix = "Mend the call, or the rows; on_error='record' records errors whatever they are, and goes on."
            raise ArgumentError("data", f"{which} failed: {error}", expected, fix)
        about = {"identity": self.identity, "data": "".join(seen)}
        return write_shard(self.folder, number, first, found, about=about, images=self.images)

    def _noted(self, blocks: Iterable[Block], seen: list[str]) -> Iterator[Block]:
        """Blocks; of a stream, which is passed over again when a run goes on, with a hash of each."""
        for block in blocks:
            if not self.source.separable:
                held = described([table_of(piece.batch) for piece in block.pieces])
                seen.append(hashlib.sha256(held.encode()).hexdigest()[:8])
            yield block

    def on_gpu(self) -> Job:
        """The same with the model on this worker's GPU."""
        model, device = on_gpu(self.call.model)
        return replace(self, call=replace(self.call, model=model, device=device))

    def there(self) -> dict[int, Shard]:
        """The shards that are written, by number.

        Raises:
            ArgumentError: If one is damaged.
        """
        files = sorted((self.folder / "shards").glob("*.parquet"))
        found = [shard_at(path, self.identity) for path in files]
        return {shard.number: shard for shard in found}

    def run(self, manifest: dict[str, Any], engine: Engine, report: Callable[[int], None]) -> dict[str, Any]:
        """Compute what is missing; gives the manifest of the store, which then is whole.

        Args:
            manifest: As it is.
            engine: Where shards are computed.
            report: Is told of rows that are done.
        """
        sweep(self.folder / "shards")
        done, seen = self.there(), set[int]()
        report(sum(shard.rows for shard in done.values()))
        for rows in engine.map(self, self._work(done, engine, seen)):
            report(rows)
        engine.wait()
        return self._finished(manifest, seen)

    def _work(self, done: dict[int, Shard], engine: Engine, seen: set[int]) -> Iterator[Work]:
        if self.source.rows is not None:
            numbers = (number for number in range(self.cut.shards(self.source.rows)) if number not in done)
            wanted = list(engine.share(numbers))
            if engine.remote and self.source.separable:
                yield from ((number, None) for number in wanted)
                return
            pairs: Iterator[Work] = self.source.shards(self.cut, wanted)
        else:
            pairs = self._unknown(done, engine, seen)
        for number, blocks in pairs:
            yield number, (list(blocks or ()) if engine.remote else blocks)

    def _unknown(self, done: dict[int, Shard], engine: Engine, seen: set[int]) -> Iterator[Work]:
        """The shards of a source whose end is not known: those that are there are passed over, and counted."""
        for number, blocks in self.source.shards(self.cut, None):
            seen.add(number)
            if number in done:
                here: list[str] = []
                counts: list[int] = [block.rows for block in self._noted(blocks or [], here)]
                rows = sum(counts)
                if rows != done[number].rows or "".join(here) != done[number].data:
                    where = f"rows {number * self.cut.shard} on"
                    got = f"{self.folder}, a store of other data, or of batches in another order: {where}"
                    fix = "Choose another path, or give the rows that it was made of, in their order."
                    raise ArgumentError("path", got, "a store of these rows", fix)
            elif list(engine.share([number])):
                yield number, blocks
        beyond = [shard for shard in done.values() if shard.number not in seen]
        if beyond:
            raise corrupt(beyond[0].path, "the data ends before it")

    def _finished(self, manifest: dict[str, Any], seen: set[int]) -> dict[str, Any]:
        """See that every shard is there, and say so in the manifest."""
        done = self.there()
        last = max(done, default=0)
        total = self.source.rows
        if total is None:
            total = last * self.cut.shard + (done[last].rows if done else 0)
        shards = max(self.cut.shards(total), max(seen, default=-1) + 1)
        expected = {number: min(self.cut.shard, total - number * self.cut.shard) for number in range(shards)}
        missing = [number for number in expected if number not in done]
        if missing:
            got = f"{self.folder}, where the shards {missing[:5]} that workers have written are not seen"
            fix = "Choose a folder on a file system that all workers share."
            raise ArgumentError("path", got, "a folder that all workers write to", fix)
        for number, shard in done.items():
            if shard.rows != expected.get(number):
                raise corrupt(
                    shard_path(self.folder, number), f"it holds {shard.rows} rows, not {expected.get(number)}"
                )
        sweep(self.folder / "shards")
        return finish(self.folder, manifest, total, len(done))
