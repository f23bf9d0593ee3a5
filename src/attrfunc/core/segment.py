"""The straight path from the baseline to the input, and the gradient averaged along it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.affine_prefix import leading_linear_layer
from attrfunc.core.errors import ModelError
from attrfunc.core.evaluate import weighted_sums
from attrfunc.core.layer_problem import LayerProblem
from attrfunc.core.problem import Problem
from attrfunc.core.progress import Progress
from attrfunc.core.transforms import pullback, require_finite
from attrfunc.core.trees import Rows

__all__ = ["Back", "Segment", "unchanged"]

# An affine prefix takes a few runs of the network to be found and left out: fewer points than this do not pay for it.
FEWEST_STEPS = 16

Back = Callable[[list[Tensor]], list[Tensor]]


@dataclass(frozen=True)
class Segment:
    """The straight path of a problem's point.

    Attributes:
        problem: The problem.
        start: The point at the baseline.
        way: From there to the point at the input.
    """

    problem: Problem
    start: list[Tensor]
    way: list[Tensor]

    @classmethod
    def of(cls, problem: Problem, baseline: Any, *, measure: bool = True) -> Segment:
        """The path from the baseline to the input; for `measure` see `Problem.ends`."""
        start, end = problem.ends(baseline, measure=measure)
        return cls(problem, start, [last - first for first, last in zip(start, end, strict=True)])

    @property
    def separable(self) -> bool:
        """Whether the examples can be evaluated apart."""
        return self.problem.separable(self.start)

    def at(self, rows: Rows) -> Segment:
        """The same for some of the examples."""
        return Segment(self.problem.at(rows), [leaf[rows] for leaf in self.start], [leaf[rows] for leaf in self.way])

    def points(self, nodes: Sequence[float], rows: Rows = slice(None)) -> list[Tensor]:
        """Points `(K, *point)`, for nodes from 0 at the baseline to 1 at the input."""
        return [_along(start[rows], way[rows], nodes) for start, way in zip(self.start, self.way, strict=True)]

    def score_change(self) -> Tensor:
        """The change of the score `(B,)` from the baseline to the input."""
        low, high = self.problem.scores(self.points((0.0, 1.0)))
        return high - low

    def gradient_sums(
        self, nodes: Sequence[float], weights: Sequence[Sequence[float]], *, chunk_size: int | None, progress: Progress
    ) -> list[Tensor]:
        """Weighted sums `(L, *point)` of the score's gradient at these nodes, one for each of L sets of weights."""

        def gradients(part: Problem, rows: slice, chosen: slice) -> list[Tensor]:
            # The model may overwrite what it is given.
            score = lambda at: part.scores([leaf.clone() for leaf in at]).sum()  # noqa: E731
            value, gradient = pullback(score, self.points(nodes[chosen], rows))
            require_finite(value)
            return gradient

        return self.weighted_sums(gradients, weights, self.separable, chunk_size=chunk_size, progress=progress)

    def weighted_sums(
        self,
        evaluate: Callable[[Problem, slice, slice], list[Tensor]],
        weights: Sequence[Sequence[float]],
        separable: bool,
        *,
        chunk_size: int | None,
        progress: Progress,
    ) -> list[Tensor]:
        """Weighted sums along the path; see `attrfunc.core.evaluate.weighted_sums`."""
        like = self.start[0]
        factors = like.new_tensor(weights, dtype=torch.promote_types(like.dtype, torch.float32))
        options: dict[str, Any] = {"separable": separable, "chunk_size": chunk_size, "progress": progress}
        return weighted_sums(self.problem, evaluate, factors, **options)

    def behind_affine_prefix(self, baseline: Any, n_steps: int) -> tuple[Segment, Back]:
        """The path where a leading linear layer puts it, and what brings gradients there back to this path's point.

        Args:
            baseline: The baseline.
            n_steps: How many points will be evaluated.
        """
        problem = self.problem
        site = leading_linear_layer(problem) if n_steps >= FEWEST_STEPS else None
        if site is None:
            return self, unchanged
        behind = LayerProblem(replace(problem.view, sites=(site,)), problem.inputs, problem.twin)
        try:
            path = Segment.of(behind, baseline, measure=False)
        except ModelError:
            return self, unchanged  # its weight is used, but the module does not run
        behind.unread = True
        return path, behind.pull_to_input


def _along(start: Tensor, way: Tensor, nodes: Sequence[float]) -> Tensor:
    """Points `(K, *S)` on a line."""
    return start + start.new_tensor(nodes).reshape(-1, *[1] * way.dim()) * way


def unchanged(gradient: list[Tensor]) -> list[Tensor]:
    """Brings a gradient back from where it is."""
    return gradient
