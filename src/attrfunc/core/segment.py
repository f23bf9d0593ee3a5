"""The straight path from the baseline to the input, and the gradient averaged along it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from attrfunc.core.affine_prefix import leading_linear_layer
from attrfunc.core.errors import ModelError
from attrfunc.core.evaluate import integrate
from attrfunc.core.layer_problem import LayerProblem
from attrfunc.core.problem import Problem
from attrfunc.core.progress import Progress
from attrfunc.core.sites import Site

__all__ = ["Segment"]

# An affine prefix takes a few runs of the network to be found and left out: fewer points than this do not pay for it.
FEWEST_STEPS = 16


class Segment:
    """The straight path of a problem's point.

    Args:
        problem: The problem.
        baseline: Where the path starts; it ends at the input.
        n_steps: How many points will be evaluated.

    Attributes:
        way: From the point at the baseline to the point at the input.
    """

    def __init__(self, problem: Problem, baseline: Any, n_steps: int) -> None:
        self._problem = problem
        self._back: Callable[[list[Tensor]], list[Tensor]] = lambda gradient: gradient
        self._start, end = problem.ends(baseline)
        self._way = self.way = _difference(end, self._start)
        site = leading_linear_layer(problem) if n_steps >= FEWEST_STEPS else None
        if site is not None:
            self._move_behind(site, baseline)

    def _move_behind(self, site: Site, baseline: Any) -> None:
        problem = self._problem
        behind = LayerProblem(replace(problem.view, sites=(site,)), problem.inputs, problem.twin)
        try:
            start, end = behind.ends(baseline)
        except ModelError:
            return  # its weight is used, but the module does not run
        if behind.shares_prefix:
            self._problem, self._back = behind, behind.pull_to_input
            self._start, self._way = start, _difference(end, start)

    def average_gradient(
        self, nodes: Sequence[float], weights: Sequence[float], *, chunk_size: int | None, progress: Progress
    ) -> list[Tensor]:
        """The score's gradient with respect to the point, averaged along the path.

        Args:
            nodes: Where to evaluate it, from 0 at the baseline to 1 at the input.
            weights: One weight for each node.
            chunk_size: Rows evaluated at once; see `attrfunc.core.evaluate`.
            progress: Whether and how to report.
        """

        def line(points: slice, rows: slice, shift: list[Tensor]) -> list[Tensor]:
            at = nodes[points]
            parts = zip(self._start, self._way, shift, strict=True)
            return [_along(start[rows] + by, way[rows], at) for start, way, by in parts]

        total = integrate(self._problem, line, weights, self._start, chunk_size=chunk_size, progress=progress)
        return self._back(total)


def _along(start: Tensor, way: Tensor, nodes: Sequence[float]) -> Tensor:
    """Points `(K, *S)` on a line."""
    return start + start.new_tensor(nodes).reshape(-1, *[1] * way.dim()) * way


def _difference(end: list[Tensor], start: list[Tensor]) -> list[Tensor]:
    return [last - first for first, last in zip(start, end, strict=True)]
