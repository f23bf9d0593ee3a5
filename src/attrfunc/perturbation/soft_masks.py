"""Scores of inputs of which masks between 0 and 1 show a part: the rest fades into the baseline."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from attrfunc.core.errors import ModelError
from attrfunc.core.loops.chunks import Work, appended, in_chunks, joined
from attrfunc.core.loops.progress import Progress
from attrfunc.core.model.engines import require_finite
from attrfunc.core.score.point import Point
from attrfunc.core.score.problem import Problem

__all__ = ["Masks", "masked_scores", "require_apart"]

Masks = Callable[[slice, slice], list[Tensor]]
"""The masks of some examples (first) and numbers: for each tensor of the point one that broadcasts to `(K, *point)`."""


def require_apart(problem: Problem, point: Point, what: str) -> None:
    """Raise unless each example has a score, and a place in dimension 0 of the point, of its own.

    Args:
        problem: The problem, with a plan.
        point: The point.
        what: What each example has of its own, in words.
    """
    rows = problem.inputs.rows
    if not problem.plan.apart or any(leaf.dim() == 0 or leaf.shape[0] != rows for leaf in point.leaves):
        raise ModelError(
            f"{what} are those of each example, but these are not apart: their scores depend on each other, or what is "
            "masked does not have them in dimension 0. Choose another layer, or attribute one example at a time."
        )


def masked_scores(
    problem: Problem,
    start: Point,
    end: Point,
    count: int,
    masks: Masks,
    *,
    chunk_size: int | None,
    progress: Progress,
) -> Tensor:
    """Scores of K masked points, `start + mask * (end - start)`.

    Args:
        problem: The problem, with a plan.
        start: The point at the baseline.
        end: The point at the input.
        count: Number of masks, K.
        masks: Makes some of them.
        chunk_size: Rows evaluated at once.
        progress: Whether and how to report.

    Returns:
        Scores `(K, B)`.

    Raises:
        ModelError: If a score is not finite.
    """

    def visit(rows: slice, chosen: slice) -> list[Tensor]:
        parts = zip(masks(rows, chosen), start.leaves, end.leaves, strict=True)
        points = [low[rows] + mask.to(high.dtype) * (high[rows] - low[rows]) for mask, low, high in parts]
        scores = problem.at(rows).scores(end.like(points))
        require_finite(scores)
        return [scores]

    def finish(rows: slice, scores: list[Tensor]) -> list[Tensor]:
        return [torch.cat(scores) if len(scores) > 1 else scores[0]]

    blocks = in_chunks(Work.of(problem), count, visit, appended, finish, chunk_size=chunk_size, progress=progress)
    (scores,) = joined(blocks, dim=1)
    return scores
