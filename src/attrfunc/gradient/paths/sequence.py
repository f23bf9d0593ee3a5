"""Paths on which the times of a sequence move one by one."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, ModelError, describe
from attrfunc.core.loops.chunks import Work, added, in_chunks, joined
from attrfunc.core.loops.plan import planned
from attrfunc.core.loops.progress import Progress
from attrfunc.core.loops.quadrature import quadrature
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.point import Point
from attrfunc.core.score.problem import Problem

__all__ = ["time_by_time"]


def time_by_time(
    problem: Problem,
    baseline: Baseline,
    *,
    beside: Literal["past", "all"],
    dim: int,
    n_steps: int,
    method: str,
    chunk_size: int | None,
    progress: Progress,
) -> Any:
    """For each time, the gradient by it along the straight line on which it moves alone, times its way.

    Args:
        problem: The problem.
        baseline: Where each time starts.
        beside: Which other times are as in the input, while one moves: the `"past"` or `"all"`. The rest is as in the
            baseline.
        dim: The dimension of time.
        n_steps: Points on each line.
        method: The rule that places and weighs them.
        chunk_size: Rows evaluated at once.
        progress: Whether and how to report.
    """
    nodes, weights = quadrature(method, n_steps)
    problem = planned(problem, chunk_size, share=False)
    start, end = problem.endpoints(baseline)
    rows = problem.inputs.rows
    if not problem.plan.apart or any(leaf.dim() == 0 or leaf.shape[0] != rows for leaf in end.leaves):
        raise ModelError(
            "each example is a sequence of its own, but examples are not apart: their scores depend on each other, or "
            "the layer's activation does not have them in dimension 0. Choose another layer."
        )
    times = _times(end, dim)

    def visit(rows: slice, chosen: slice) -> list[Tensor]:
        part, numbers = problem.at(rows), range(times * n_steps)[chosen]
        now = torch.tensor([number // n_steps for number in numbers])[:, None]
        place = torch.tensor([nodes[number % n_steps] for number in numbers], dtype=torch.float64)
        weight = torch.tensor([weights[number % n_steps] for number in numbers], dtype=torch.float64)
        every = torch.arange(times)
        moving = (every == now).double()  # (K, T)
        seen = ((every < now) if beside == "past" else (every != now)) + moving * place[:, None]
        pairs = [(low[rows], high[rows] - low[rows]) for low, high in zip(start.leaves, end.leaves, strict=True)]
        _, slopes = part.gradients(end.like([low + _over(seen, way, dim) * way for low, way in pairs]))
        shares = moving * weight[:, None]
        return [(_wide(slope) * _over(shares, _wide(slope[0]), dim)).sum(0)[None] for slope in slopes]

    chunks = in_chunks(Work.of(problem), times * n_steps, visit, added, chunk_size=chunk_size, progress=progress)
    ways = [high - low for low, high in zip(start.leaves, end.leaves, strict=True)]
    return end.restored([mean[0].to(way.dtype) * way for mean, way in zip(joined(chunks, dim=1), ways, strict=True)])


def _times(point: Point, dim: int) -> int:
    """How many times the sequences have."""
    lengths = set()
    for leaf in point.leaves:
        if not isinstance(dim, int) or isinstance(dim, bool) or not -leaf.dim() < dim < leaf.dim() or dim == 0:
            raise ArgumentError(
                "dim",
                f"{describe(dim)} for a tensor of shape {tuple(leaf.shape)}",
                "a dimension behind that of the examples",
                "Pass dim=1 for (B, T, features), dim=-1 for (B, channels, T).",
            )
        lengths.add(leaf.shape[dim])
    if len(lengths) != 1:
        got = ", ".join(str(tuple(leaf.shape)) for leaf in point.leaves)
        fix = "Give what has no time, or another one, in args=."
        raise ArgumentError("x", f"tensors of shapes {got}", f"equally many times in dimension {dim}", fix)
    return lengths.pop()


def _over(values: Tensor, leaf: Tensor, dim: int) -> Tensor:
    """Numbers `(K, T)` beside points `(K, *leaf)`."""
    shape = [1] * leaf.dim()
    shape[dim] = values.shape[1]
    return values.to(leaf.device, leaf.dtype).view(len(values), *shape)


def _wide(values: Tensor) -> Tensor:
    """In single precision at least."""
    return values.float() if values.dtype.itemsize < 4 else values
