"""Batched evaluation: many points or samples, in chunks of rows, merged on the way.

This is where `chunk_size` and `progress` are documented; every method refers here.

chunk_size: How many rows (points or samples, times examples) are evaluated at once. `None` lets the library choose: all
    where these are few and small; otherwise the first point tells how many bytes one row allocates, and a chunk is as
    many rows as fit the processor's cache. Results do not depend on it beyond rounding, and memory does not grow with
    the number of points. With 1 the model sees one example at a time. Methods that take one gradient of each example
    evaluate all at once, if it is `None`.
progress: `True` shows a bar (needs tqdm: the extra `attrfunc[progress]`); a callable gets `(done, total)` rows after
    each chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, positive
from attrfunc.core.loops.meter import Meter
from attrfunc.core.loops.progress import Progress, reporter
from attrfunc.core.model.engines import transformed
from attrfunc.core.score.problem import Problem

__all__ = ["Work", "added", "appended", "in_chunks", "joined", "weighted_sum"]

# Bytes that one chunk may allocate, forward and backward. Beside a cache of 32 MiB, the time per row of convolutional
# networks falls until here and then rises; that of transformers and MLPs is flat from half of it on. Accelerators have
# no such optimum: there it bounds memory only.
CPU_BUDGET = 2**27
OTHER_BUDGET = 2**31
# Fewer rows than this keep no processor busy, however large they are.
FEWEST_ROWS = 4
# Forward passes alone are fastest with half as many rows: on the residual CNN by a quarter, on EfficientNet by a third.
FORWARD_SHARE = 2
# Inputs of so few bytes and rows are evaluated at once: to measure them would take as long.
SMALL_BYTES = 2**20
SMALL_ROWS = 256

Visit = Callable[[slice, slice], Any]
"""Evaluates some examples (first) at some points: a structure of tensors that have the examples in dimension 1."""


@dataclass(frozen=True)
class Work:
    """What is evaluated, as far as it matters to how much is evaluated at once.

    Attributes:
        rows: Number of examples.
        leaves: The input's tensors.
        target: The target.
        folds: Whether several points may be one larger batch.
        split: Whether a batch may be split.
        backward: Whether there is a backward pass.
        shared_bytes: What an evaluation allocates once, for however many points.
        shared_part: The same as a part of what the first point allocates, where that has to be measured.
        row_bytes: What one example allocates in both passes; 0 if that has to be measured.
    """

    rows: int
    leaves: list[Tensor]
    target: Any
    folds: bool = True
    split: bool = True
    backward: bool = True
    shared_bytes: int = 0
    shared_part: float = 0.0
    row_bytes: int = 0

    @classmethod
    def of(cls, problem: Problem, *, split: bool = True) -> Work:
        """That of a problem."""
        inputs, plan = problem.inputs, problem.plan
        backward, leaves = problem.view.differentiated, pytree.tree_leaves(inputs.x)
        # The plan was made of the batch as it shows; of targets that `vmap` maps, each row is many.
        row_bytes = 0 if transformed(inputs.target) else plan.row_bytes
        rows, target, shared_bytes = inputs.rows, inputs.target, plan.shared_bytes
        return cls(rows, leaves, target, plan.folds, split, backward, shared_bytes, row_bytes=row_bytes)

    def is_to_be_measured(self, points: int) -> bool:
        """Whether one evaluation is to tell how many rows to evaluate at once, rather than to evaluate all."""
        leaves = [leaf for leaf in self.leaves if leaf.is_floating_point()]
        small = bool(leaves) and points * sum(leaf.nbytes for leaf in leaves) <= SMALL_BYTES
        # A row that a transform maps is as many.
        few = points * self.rows <= SMALL_ROWS and not transformed((self.leaves, self.target))
        return points > 1 and not (small and few) and not torch.compiler.is_compiling()

    def rows_at_once(self, allocated: int) -> int:
        """How many rows to evaluate at once, if one point for all examples allocates this many bytes.

        What is allocated once, for however many points, has to be a small part of each evaluation. Without a backward
        pass fewer rows are best.
        """
        shared = max(self.shared_bytes, int(self.shared_part * allocated))
        budget = max(CPU_BUDGET if self.leaves[0].device.type == "cpu" else OTHER_BUDGET, 8 * shared)
        # With targets mapped by vmap, one row here is a row for each target.
        fewest = 1 if transformed(self.target) else FEWEST_ROWS
        rows = max(fewest, budget * self.rows // max(allocated - shared, 1))
        return rows if self.backward else max(1, rows // FORWARD_SHARE)


def in_chunks(
    work: Work,
    points: int,
    visit: Visit,
    merge: Callable[[Any, Any], Any],
    finish: Callable[[slice, Any], Any] = lambda rows, result: result,
    *,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> list[Any]:
    """Visit all points for all examples, in chunks, and merge the results on the way.

    Args:
        work: What is evaluated. Where examples cannot be told apart, the points are visited one by one, for all.
        points: Number of points.
        visit: Evaluates a chunk.
        merge: Makes one of two results for the same examples.
        finish: `(examples, result)` makes of the merged result of these examples what is kept of it.
        chunk_size: Rows visited at once.
        progress: Whether and how to report.

    Returns:
        What is kept for each block of examples, in their order.

    Raises:
        ArgumentError: If `chunk_size` is below 1.
    """
    size = None if chunk_size is None else positive("chunk_size", chunk_size)
    rows = work.rows
    report = reporter(progress, rows * points)
    first, begin = None, 0
    if size is None and work.is_to_be_measured(points):
        if work.row_bytes:
            size = work.rows_at_once(work.row_bytes * rows)
        else:
            with Meter() as meter:
                first = visit(slice(None), slice(0, 1))
            begin, size = 1, work.rows_at_once(meter.weight)
            report(rows)
    size = size or rows * points
    whole = size >= rows or not (work.folds and work.split)
    blocks = [slice(None)] if whole else [slice(start, min(start + size, rows)) for start in range(0, rows, size)]
    results = []
    for block in blocks:
        result = first if whole else pytree.tree_map_only(Tensor, lambda leaf, block=block: leaf[:, block], first)
        length = rows if whole else block.stop - block.start
        count = max(1, size // max(length, 1)) if work.folds else 1
        for start in range(begin, points, count):
            chosen = slice(start, min(start + count, points))
            try:
                visited = visit(block, chosen)
            except ArgumentError:
                if count > 1:  # an error that speaks of as many rows as the user gave
                    visit(block, slice(start, start + 1))
                raise
            result = visited if result is None else merge(result, visited)
            report(length * (chosen.stop - chosen.start))
        results.append(finish(block, result))
    return results


def added(one: list[Tensor], other: list[Tensor]) -> list[Tensor]:
    """Merges running sums."""
    return [left + right for left, right in zip(one, other, strict=True)]


def appended(one: list[Any], other: list[Any]) -> list[Any]:
    """Merges lists of what all points gave."""
    return one + other


def joined(blocks: list[list[Tensor]], dim: int) -> list[Tensor]:
    """The tensors of all blocks of examples, which are in this dimension."""
    return [torch.cat(leaves, dim) if len(leaves) > 1 else leaves[0] for leaves in zip(*blocks, strict=True)]


def weighted_sum(weights: Tensor, values: Tensor) -> Tensor:
    """`(L, K)` weights and values `(K, *S)` to sums `(L, *S)`, in single precision at least."""
    dtype = torch.promote_types(values.dtype, torch.float32)
    return torch.tensordot(weights.to(values.device, dtype), values.to(dtype), dims=1)
