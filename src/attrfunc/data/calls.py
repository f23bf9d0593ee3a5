"""The method on one batch, and on the rows of a block: what fails is told of by row."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.model.parts import model_root
from attrfunc.core.model.twin import Twin
from attrfunc.core.score.target import canonical, output_tensor, select
from attrfunc.core.score.views import Model, as_view
from attrfunc.core.trees import batch_size
from attrfunc.data.blocks import Block, Piece
from attrfunc.data.columns import Columns, moved, sliced
from attrfunc.data.gaps import Gap
from attrfunc.data.sources import told

__all__ = ["Call", "Found", "MisfitError", "device_of"]

NOT_FINITE = "ModelError: the attributions are not finite"


@dataclass(frozen=True)
class Found:
    """What is known of some rows of a block.

    Attributes:
        rows: The rows' numbers in the data set.
        attributions: Arrays `(k, *S)` by name; none where these rows failed.
        columns: A list or tensor of k entries, by name.
        errors: What each row failed of, or None.
    """

    rows: tuple[int, ...]
    attributions: dict[str, Tensor]
    columns: dict[str, Any]
    errors: list[str | None]


class MisfitError(ArgumentError):
    """A method or a call that fits no row, which is not tried again."""


@dataclass(frozen=True)
class Call:
    """What is computed of a batch.

    Attributes:
        method: The method.
        model: The model or view.
        columns: Which columns are what.
        options: The method's arguments that are the same for all rows.
        target: As the user gave it: `"label"` and `"predicted"`, too.
        prepare: Changes a batch before anything else does, or None.
        predictions: Whether the model's own output is asked for.
        gap: What measures completeness, or None.
        seed: Where all draws come from.
    """

    method: Callable[..., Any]
    model: Model
    columns: Columns
    options: Mapping[str, Any]
    target: Any
    prepare: Callable[[Any], Any] | None
    predictions: bool
    gap: Gap | None
    seed: int
    device: torch.device | None = field(default=None)

    def __call__(self, block: Block) -> Iterator[Found]:
        """What is known of the rows of a block."""
        for place, error in block.errors.items():
            yield Found((block.first + place,), {}, {}, [error])
        for piece in block.pieces:
            yield from self._of_piece(block.first, piece)

    def _of_piece(self, first: int, piece: Piece) -> Iterator[Found]:
        """The batch at once; if it fails, each row alone."""
        rows = tuple(first + place for place in piece.places)
        try:
            yield self._of_batch(piece.batch, rows, 0)
            return
        except MisfitError:
            raise
        except Exception as error:  # of whatever kind: a row that fails does not stop the rest
            _require_alive(error)
            if len(rows) == 1:
                yield Found(rows, {}, self._what_is_told(piece.batch), [told(error)])
                return
        for place, row in enumerate(rows):
            alone = sliced(piece.batch, place, place + 1, len(rows))
            try:
                yield self._of_batch(alone, (row,), 1)
            except MisfitError:
                raise
            except Exception as error:
                _require_alive(error)
                yield Found((row,), {}, self._what_is_told(alone), [told(error)])

    def _what_is_told(self, batch: Any) -> dict[str, Any]:
        """The label and what is kept, which a row has that fails, too, if it can be read."""
        try:
            batch = batch if self.prepare is None else self.prepare(batch)
            _, _, label, kept = self.columns.read(batch)
        except Exception:
            return {}
        return kept if label is None else {**kept, "label": label}

    def _of_batch(self, batch: Any, rows: tuple[int, ...], trial: int) -> Found:
        batch = batch if self.prepare is None else self.prepare(batch)
        x, arguments, label, kept = self.columns.read(batch)
        x, arguments = moved(x, self.device), {**self.options, **moved(arguments, self.device)}
        if batch_size(x) != len(rows):
            got = f"a batch of {batch_size(x)} rows, made of {len(rows)}"
            raise MisfitError("prepare", got, "as many rows as it is given", "Change the rows one by one.")
        columns: dict[str, Any] = kept if label is None else {**kept, "label": label}
        output = self._output(x, arguments) if self.predictions or isinstance(self.target, str) else None
        if self.target is not None:
            arguments["target"] = self._target(label, output)
        if self.predictions:
            columns |= _predicted(output, arguments.get("target"), len(rows), neuron=as_view(self.model).output)
        with _seeded(self._seed(rows[0], trial), self.device):
            result = self.method(self.model, x, **arguments, **self._drawing(rows[0], trial))
        named = named_leaves(result, len(rows), self.method)
        if self.gap is not None:
            columns |= _gaps(self.gap(self.model, x, result, **arguments), len(rows))
        finite = torch.stack([_finite(leaf) for leaf in named.values()]).all(0).tolist()
        return Found(rows, named, columns, [None if is_finite else NOT_FINITE for is_finite in finite])

    def _output(self, x: Any, arguments: Mapping[str, Any]) -> Any:
        view = as_view(self.model)
        twin = Twin(view.model, view.tensors)
        with torch.no_grad():
            given = x if isinstance(x, tuple) else (x,)
            return twin(*given, *arguments.get("args", ()), **(arguments.get("kwargs") or {}))

    def _target(self, label: Any, output: Any) -> Any:
        if isinstance(self.target, str) and self.target == "label":
            return moved(label, self.device)
        if isinstance(self.target, str):
            scores = output_tensor(output, 0, "target")
            if scores.dim() != 2:
                got = f"'predicted' for an output of shape {tuple(scores.shape)}"
                expected = "an output (B, C), which has a class with the largest score"
                raise MisfitError("target", got, expected, "Pass a callable, or None for one number per example.")
            return scores.argmax(1)
        return self.target

    def _seed(self, row: int, trial: int) -> int:
        """The same for a batch wherever it is computed: of the seed, its first row, and whether it is tried again."""
        found = hashlib.sha256(f"{self.seed} {row} {trial}".encode()).digest()
        return int.from_bytes(found[:8], "little", signed=True)

    def _drawing(self, row: int, trial: int) -> dict[str, torch.Generator]:
        if not draws(self.method):
            return {}
        return {"generator": torch.Generator().manual_seed(self._seed(row, trial))}


def _gaps(gap: Any, rows: int) -> dict[str, Any]:
    """A gap for each row; for a list of layers, a column for each of them."""
    parts = {"gap": gap} if isinstance(gap, Tensor) else {f"gap.{i}": one for i, one in enumerate(gap)}
    for part in parts.values():
        if not isinstance(part, Tensor) or part.shape != (rows,):
            got, fix = f"{describe(part)} for {rows} rows", "Pass gap=False, or a measure of each row."
            raise MisfitError("gap", got, f"a measure that gives a tensor of shape ({rows},)", fix)
    return parts


def _require_alive(error: Exception) -> None:
    """Raise an error of a device on which nothing runs any more: all later rows would fail of it."""
    lost = isinstance(error, getattr(torch, "AcceleratorError", ())) or "CUDA error" in str(error)
    if lost and not isinstance(error, torch.OutOfMemoryError):
        raise error


def draws(method: Callable[..., Any]) -> bool:
    """Whether a method takes a generator."""
    try:
        return "generator" in inspect.signature(method).parameters
    except (TypeError, ValueError):
        return False


class _seeded:  # noqa: N801  # a context
    """Torch's default generators from a seed, and the user's state again afterwards: models and targets may draw."""

    def __init__(self, seed: int, device: torch.device | None) -> None:
        devices = [device] if device is not None and device.type == "cuda" else []
        self._fork, self._seed = torch.random.fork_rng(devices=devices), seed

    def __enter__(self) -> None:
        self._fork.__enter__()
        torch.manual_seed(self._seed)

    def __exit__(self, *exception: Any) -> None:
        self._fork.__exit__(*exception)


def device_of(model: Model) -> torch.device | None:
    """Where a model's first parameter or buffer is; None for callables, which take data where it is."""
    root = model_root(as_view(model).model)
    if root is None:
        return None
    return next((tensor.device for tensor in (*root.parameters(), *root.buffers())), None)


def named_leaves(result: Any, rows: int, method: Any) -> dict[str, Tensor]:
    """The tensors of a result by the names they are stored under.

    Args:
        result: What the method returned.
        rows: How many rows there were.
        method: The method, for errors.

    Raises:
        MisfitError: If these are not tensors with one entry for each row.
    """
    pairs, _ = pytree.tree_flatten_with_path(result)
    found = {}
    for path, leaf in pairs:
        name = ".".join(["attributions", *(str(_key(part)) for part in path)])
        if not isinstance(leaf, Tensor) or leaf.dim() == 0 or leaf.shape[0] != rows or leaf.is_complex():
            got = f"{describe(leaf)} for {rows} rows from {getattr(method, '__name__', method)!r}"
            expected = "tensors of real numbers whose dimension 0 is the row"
            raise MisfitError("method", got, expected, "Pass a method that gives attributions of each example.")
        found[name] = leaf.detach().cpu()
    if not found:
        raise MisfitError("method", f"{describe(result)}", "tensors of attributions", "Return these.")
    return found


def _key(part: Any) -> Any:
    return next(getattr(part, name) for name in ("idx", "key", "name") if hasattr(part, name))


def _finite(leaf: Tensor) -> Tensor:
    return leaf.reshape(len(leaf), -1).isfinite().all(1)


def _predicted(output: Any, target: Any, rows: int, *, neuron: Any) -> dict[str, Any]:
    """What the model says of each row: its class or number, and the score that is attributed."""
    found: dict[str, Any] = {}
    index = canonical(target, rows)
    try:
        scores = output_tensor(output, index, "target")
    except ArgumentError:
        scores = None
    if isinstance(scores, Tensor) and scores.dim() > 0 and scores.shape[0] == rows:
        if scores.dim() == 2 and scores.shape[1] > 1:
            found["prediction"] = scores.argmax(1)
        elif scores.numel() == rows:
            found["prediction"] = scores.reshape(rows)
    if neuron is None:
        found["score"] = select(output, index, rows)
        if not callable(index) and index is not None and len(index) == 1 and isinstance(index[0], Tensor | int):
            found["target"] = torch.as_tensor(index[0]).expand(rows)
    return found
