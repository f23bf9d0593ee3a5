"""Batched evaluation: many points, in chunks of rows, merged on the way.

This is where `chunk_size` and `progress` are documented; every method refers here.

chunk_size: How many rows (points or samples, times examples) are evaluated at once. `None` lets the library choose: all
    where these are few and small; otherwise the first point tells how many bytes one row allocates, and a chunk is as
    many rows as fit the processor's cache. Results do not depend on it beyond rounding, and memory does not grow with
    the number of points.
progress: `True` shows a bar (needs tqdm: the extra `attrfunc[progress]`); a callable gets `(done, total)` rows after
    each chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError
from attrfunc.core.inputs import Inputs
from attrfunc.core.meter import Meter
from attrfunc.core.problem import Problem
from attrfunc.core.progress import Progress, reporter
from attrfunc.core.quadrature import positive
from attrfunc.core.transforms import transformed

__all__ = ["added", "appended", "cache_rows", "joined", "to_measure", "walk", "weighted_sum", "weighted_sums"]

# Bytes that one chunk may allocate, forward and backward. Beside a cache of 32 MiB, the time per row of convolutional
# networks falls until here and then rises; that of transformers and MLPs is flat from a quarter of it on. Accelerators
# have no such optimum: there it bounds memory only.
CPU_BUDGET = 2**28
OTHER_BUDGET = 2**31
# Fewer rows than this keep no processor busy, however large they are.
FEWEST_ROWS = 4
# Forward passes alone are fastest with half as many rows: on the residual CNN by a quarter, on EfficientNet by a third.
FORWARD_SHARE = 2
# Inputs of so few bytes and rows are evaluated at once: to measure them would take as long.
SMALL_BYTES = 2**20
SMALL_ROWS = 256

Visit = Callable[[Problem, slice, slice], Any]
"""Evaluates some points for some examples, `(problem of these examples, examples, points)`.

The result is a structure of tensors that have the examples in dimension 1.
"""


def walk(
    problem: Problem,
    steps: int,
    visit: Visit,
    merge: Callable[[Any, Any], Any],
    finish: Callable[[slice, Any], Any],
    *,
    separable: bool,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> list[Any]:
    """Visit all points for all examples, in chunks, and merge the results on the way.

    Args:
        problem: The problem.
        steps: Number of points.
        visit: Evaluates a chunk.
        merge: Makes one of two results for the same examples.
        finish: `(examples, result)` makes of the merged result of these examples what is kept of it.
        separable: Whether examples, and points of a batch, can be told apart in dimension 0 of every tensor. Otherwise
            the points are visited one by one, for all examples together.
        chunk_size: Rows visited at once.
        progress: Whether and how to report.

    Returns:
        What is kept for each block of examples, in their order.

    Raises:
        ArgumentError: If `chunk_size` is below 1.
    """
    size = None if chunk_size is None else positive("chunk_size", chunk_size)
    rows = problem.inputs.rows
    report = reporter(progress, rows * steps)
    first, begin = None, 0
    if size is None and to_measure(problem.inputs, steps):
        with Meter() as meter:
            first = visit(problem, slice(None), slice(0, 1))
        backward = problem.view.differentiated
        begin, size = 1, cache_rows(problem.inputs, meter.weight, problem.shared_bytes, backward=backward)
        report(rows)
    size = size or rows * steps
    whole = size >= rows or not separable
    blocks = [slice(None)] if whole else [slice(start, start + size) for start in range(0, rows, size)]
    results = []
    for block in blocks:
        part = problem if whole else problem.at(block)
        result = first if whole else pytree.tree_map_only(Tensor, lambda leaf, block=block: leaf[:, block], first)
        count = max(1, size // max(part.inputs.rows, 1)) if separable else 1
        for start in range(begin, steps, count):
            points = slice(start, min(start + count, steps))
            visited = _told(visit, part, block, points)
            result = visited if result is None else merge(result, visited)
            report(part.inputs.rows * (points.stop - points.start))
        results.append(finish(block, result))
    return results


def _told(visit: Visit, problem: Problem, rows: slice, points: slice) -> Any:
    """A visit whose errors speak of as many rows as the user gave."""
    try:
        return visit(problem, rows, points)
    except ArgumentError:
        visit(problem, rows, slice(points.start, points.start + 1))
        raise


def added(one: list[Tensor], other: list[Tensor]) -> list[Tensor]:
    """Merges running sums."""
    return [left + right for left, right in zip(one, other, strict=True)]


def appended(one: list[Any], other: list[Any]) -> list[Any]:
    """Merges lists of what all points gave."""
    return one + other


def joined(blocks: list[list[Tensor]], dim: int) -> list[Tensor]:
    """The tensors of all blocks of examples, which are in this dimension."""
    return [torch.cat(leaves, dim) if len(leaves) > 1 else leaves[0] for leaves in zip(*blocks, strict=True)]


def to_measure(inputs: Inputs, steps: int) -> bool:
    """Whether one evaluation is to tell how many rows to evaluate at once, rather than to evaluate all."""
    leaves = [leaf for leaf in pytree.tree_leaves(inputs.x) if leaf.is_floating_point()]
    small = bool(leaves) and steps * sum(leaf.nbytes for leaf in leaves) <= SMALL_BYTES
    # A row that a transform maps is as many.
    few = steps * inputs.rows <= SMALL_ROWS and not transformed((inputs.x, inputs.target))
    return steps > 1 and not (small and few) and not torch.compiler.is_compiling()


def cache_rows(inputs: Inputs, allocated: int, shared: int = 0, *, backward: bool = True) -> int:
    """How many rows to evaluate at once, if one point for all examples allocates this many bytes.

    What is allocated once, for however many points, has to be a small part of each evaluation. Without a backward pass
    fewer rows are best.
    """
    like = pytree.tree_leaves(inputs.x)[0]
    budget = max(CPU_BUDGET if like.device.type == "cpu" else OTHER_BUDGET, 8 * shared)
    # With targets mapped by vmap, one row here is a row for each target.
    fewest = 1 if transformed(inputs.target) else FEWEST_ROWS
    rows = max(fewest, budget * inputs.rows // max(allocated - shared, 1))
    return rows if backward else max(1, rows // FORWARD_SHARE)


def weighted_sums(
    problem: Problem,
    evaluate: Callable[[Problem, slice, slice], list[Tensor]],
    weights: Tensor,
    *,
    separable: bool,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> list[Tensor]:
    """Weighted sums over points.

    Args:
        problem: The problem.
        evaluate: `(problem of some examples, examples, points)` gives what is summed, tensors `(K, examples, ...)`.
        weights: Weights `(L, K)`, one set for each sum.
        separable: As in `walk`.
        chunk_size: Rows evaluated at once.
        progress: Whether and how to report.

    Returns:
        Sums `(L, B, ...)`, in single precision at least.

    Raises:
        ArgumentError: If `chunk_size` is below 1.
    """

    def visit(part: Problem, rows: slice, points: slice) -> list[Tensor]:
        return [weighted_sum(weights[:, points], leaf) for leaf in evaluate(part, rows, points)]

    options: dict[str, Any] = {"separable": separable, "chunk_size": chunk_size, "progress": progress}
    blocks = walk(problem, weights.shape[1], visit, added, lambda rows, sums: sums, **options)
    return joined(blocks, dim=1)


def weighted_sum(weights: Tensor, values: Tensor) -> Tensor:
    """`(L, K)` weights and values `(K, *S)` to sums `(L, *S)`, in single precision at least."""
    dtype = torch.promote_types(values.dtype, torch.float32)
    return torch.tensordot(weights.to(values.device, dtype), values.to(dtype), dims=1)
