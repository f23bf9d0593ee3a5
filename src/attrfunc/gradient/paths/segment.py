"""The straight path from the baseline to the input, and the gradient averaged along it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.loops.affine_prefix import leading_linear_layer
from attrfunc.core.loops.chunks import Work, added, in_chunks, joined, weighted_sum
from attrfunc.core.loops.plan import planned
from attrfunc.core.loops.progress import Progress
from attrfunc.core.model.engines import settled
from attrfunc.core.model.sites import Site
from attrfunc.core.score.places import AtLayers
from attrfunc.core.score.point import Point
from attrfunc.core.score.problem import Problem
from attrfunc.core.trees import Rows

__all__ = ["Segment"]

# An affine prefix takes a few runs of the network to be found and left out: fewer points than this do not pay for it.
FEWEST_STEPS = 16


@dataclass(frozen=True)
class Segment:
    """The straight path of a problem's point.

    Attributes:
        problem: The problem, with a plan.
        start: The point at the baseline.
        displacement: From there to the point at the input.
        before: The same path, in front of a leading linear layer that has been left out; None where none has.
    """

    problem: Problem
    start: Point
    displacement: list[Tensor]
    before: Segment | None = None

    @classmethod
    def of(
        cls,
        problem: Problem,
        baseline: Any,
        n_steps: int,
        chunk_size: int | None,
        *,
        sites: Sequence[Site] = (),
        share: bool = True,
    ) -> Segment:
        """The path from the baseline to the input, where so many points on it are best evaluated.

        Args:
            problem: The problem.
            baseline: The baseline.
            n_steps: How many points will be evaluated.
            chunk_size: Rows evaluated at once.
            sites: Further layers that will be looked at along the path.
            share: Whether what lies before the attributed layers may be shared by several points.
        """
        if n_steps > 1 or chunk_size is not None:
            problem = planned(problem, chunk_size, sites=sites, share=share)
        path = cls._between(problem, baseline)
        site = (
            leading_linear_layer(problem, sites)
            if n_steps >= FEWEST_STEPS and chunk_size != 1 and problem.plan.folds
            else None
        )
        if site is None:
            return path
        plan = replace(problem.plan, unread=True)
        behind = replace(problem, view=replace(problem.view, place=AtLayers((site,))))
        try:
            inner = cls._between(behind, baseline)
            inner = replace(inner, problem=replace(behind, plan=plan), before=path)
            return inner if inner._agrees() else path
        except Exception:
            # It does not run this way: the layer's weight is used, but not the layer itself; or the layer gives other
            # rows than examples, nodes of a graph say, which the model then looks for in vain.
            return path

    def _agrees(self) -> bool:
        """Whether the gradient of one example is the same with the leading layer left out."""
        assert self.before is not None
        rows = slice(0, 1)
        here, there = (path.at(rows) for path in (self, self.before))
        mine = here.pulled([leaf[0] for leaf in here.problem.gradients(here.points((0.5,)))[1]])
        (plain,) = there.problem.gradients(there.points((0.5,)))[1]
        size = plain.abs().amax()
        return settled((mine[0] - plain[0]).abs() <= 1e-3 * size)

    @classmethod
    def _between(cls, problem: Problem, baseline: Any) -> Segment:
        start, end = problem.endpoints(baseline)
        return cls(problem, start, [last - first for first, last in zip(start.leaves, end.leaves, strict=True)])

    @property
    def outer(self) -> Segment:
        """The path of the user's point."""
        return self.before or self

    def pulled(self, gradient: list[Tensor]) -> list[Tensor]:
        """A gradient on this path, brought back to the user's point."""
        return self.problem.pulled(gradient) if self.before else gradient

    def at(self, rows: Rows) -> Segment:
        """The same for some of the examples."""
        if isinstance(rows, slice) and rows == slice(None):
            return self
        start = self.start.like([leaf[rows] for leaf in self.start.leaves])
        return replace(
            self, problem=self.problem.at(rows), start=start, displacement=[d[rows] for d in self.displacement]
        )

    def points(self, nodes: Sequence[float]) -> Point:
        """Points `(K, *point)`, for nodes from 0 at the baseline to 1 at the input."""
        pairs = zip(self.start.leaves, self.displacement, strict=True)
        return self.start.like([_along(start, displacement, nodes) for start, displacement in pairs])

    def score_change(self) -> Tensor:
        """The change of the score `(B,)` from the baseline to the input."""
        low, high = self.problem.scores(self.points((0.0, 1.0)))
        return high - low

    def gradient_sums(
        self, nodes: Sequence[float], weights: Sequence[Sequence[float]], *, chunk_size: int | None, progress: Progress
    ) -> list[Tensor]:
        """Weighted sums `(L, *point)` of the score's gradient at these nodes, one for each of L sets of weights."""
        factors = self.factors(weights)

        def visit(rows: slice, chosen: slice) -> list[Tensor]:
            part = self.at(rows)
            _, gradients = part.problem.gradients(part.points(nodes[chosen]))
            return [weighted_sum(factors[:, chosen], leaf) for leaf in gradients]

        work = Work.of(self.problem)
        return joined(in_chunks(work, len(nodes), visit, added, chunk_size=chunk_size, progress=progress), dim=1)

    def weighted_sums(
        self,
        evaluate: Callable[[slice, slice], list[Tensor]],
        weights: Sequence[Sequence[float]],
        *,
        chunk_size: int | None,
        progress: Progress,
    ) -> list[Tensor]:
        """Weighted sums over the points of the path.

        Args:
            evaluate: `(examples, points)` gives what is summed, tensors `(K, examples, ...)`.
            weights: Weights `(L, K)`, one set for each sum.
            chunk_size: Rows evaluated at once.
            progress: Whether and how to report.

        Returns:
            Sums `(L, B, ...)`, in single precision at least.
        """
        factors = self.factors(weights)

        def visit(rows: slice, points: slice) -> list[Tensor]:
            return [weighted_sum(factors[:, points], leaf) for leaf in evaluate(rows, points)]

        work = Work.of(self.problem)
        return joined(in_chunks(work, factors.shape[1], visit, added, chunk_size=chunk_size, progress=progress), dim=1)

    def factors(self, weights: Sequence[Sequence[float]]) -> Tensor:
        """Weights as a tensor beside the points."""
        like = self.start.leaves[0]
        return like.new_tensor(weights, dtype=torch.promote_types(like.dtype, torch.float32))


def _along(start: Tensor, displacement: Tensor, nodes: Sequence[float]) -> Tensor:
    """Points `(K, *S)` on a line."""
    return start + start.new_tensor(nodes).reshape(-1, *[1] * displacement.dim()) * displacement
