"""Layers watched along a path: their activations, and the score's gradients there, at points of a path before them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from attrfunc.core.errors import ModelError
from attrfunc.core.loops.chunks import Work, appended, in_chunks, joined, weighted_sum
from attrfunc.core.loops.progress import Progress
from attrfunc.core.loops.quadrature import increments, nested, new_nodes
from attrfunc.core.loops.samples import unfolded
from attrfunc.core.model.engines import Tape, on_tape
from attrfunc.core.model.sites import Calls, Layers, Side, find_sites
from attrfunc.core.score.places import AtLayers
from attrfunc.core.score.point import Point
from attrfunc.core.score.problem import Problem
from attrfunc.core.trees import Rows
from attrfunc.gradient.paths.segment import Segment
from attrfunc.gradient.paths.tolerance import refine

__all__ = ["Watched", "flow"]

Pass = list[Tensor]
"""The activations of all layers at some points of the path, `(K, *activation)`, then the score's gradients there."""

Keep = Callable[[Tensor, list[Tensor], list[Tensor]], list[Tensor]]


class Watched:
    """One or several layers of a network whose point moves along a path.

    Args:
        problem: The problem whose point moves: at the input, or at a layer before these.
        baseline: Where the path starts.
        layer: The layers, by name or as modules.
        side: Their inputs or their outputs.
        call: Which call, or calls, of a layer that runs several times.
        n_steps: How many points will be evaluated.
        chunk_size: Rows evaluated at once.
        progress: Whether and how to report.

    Attributes:
        path: The path of the problem's point, where it is evaluated.
        place: The layers.
        start: The layers' activations at the start of the path.
        end: The layers' activations at its end.
    """

    def __init__(
        self,
        problem: Problem,
        baseline: Any,
        layer: Layers,
        side: Side,
        call: Calls,
        n_steps: int,
        *,
        chunk_size: int | None,
        progress: Progress,
    ) -> None:
        sites = find_sites(problem.view.model, layer, side, call, "layer")
        single = isinstance(layer, str | nn.Module) and (call is None or isinstance(call, int))
        self.place = AtLayers(sites, several=not single)
        self.path = Segment.of(problem, baseline, n_steps, chunk_size, sites=sites, share=False)
        self._options: dict[str, Any] = {"chunk_size": chunk_size, "progress": progress}
        (self.start, low), (self.end, high) = (self._observe(node) for node in (0.0, 1.0))
        self._score_change = high - low

    @property
    def separable(self) -> bool:
        """Whether examples, and points of a batch, can be told apart."""
        return self.path.problem.plan.folds

    def opened(self, problem: Problem, points: Point) -> Problem:
        """The layers' problem at points `(K, *point)` of the path, which are put behind each other in the batch."""
        inputs, edits = problem.view.place.put(
            problem.inputs.repeated(points.count), points.folded(), unread=problem.plan.unread
        )
        view = replace(problem.view, place=self.place)
        return replace(problem, view=view, inputs=inputs, edits=edits)

    def conductance(self, nodes: Sequence[float], weights: Sequence[float], *, smooth: bool) -> list[Tensor]:
        """What flows through each unit along the path, by a rule; for `smooth` see `increments`."""
        matrix = increments(nodes, weights, smooth=smooth)

        def finish(rows: slice, passes: list[Pass]) -> list[Tensor]:
            activations, gradients = _in_order(passes, nodes)
            return flow(gradients, self._changes(activations, rows, matrix))

        return joined(self._passes(self.path, nodes, finish), dim=0)

    def refined(self, keep: Keep, tolerance: float, max_steps: int) -> list[Tensor]:
        """An integral along the path, with as many points as each example needs for its conductance to be right.

        Args:
            keep: Makes the result of the rule's weights, the gradients and the activations' changes at all points.
            tolerance: The largest error.
            max_steps: The largest number of points.
        """

        def evaluate(rows: Tensor, level: int, nodes: Sequence[float]) -> list[Pass]:
            whole = lambda _, passes: [torch.cat(leaves) for leaves in zip(*passes, strict=True)]  # noqa: E731
            return [joined(self._passes(self.path.at(rows), nodes, whole), dim=1)]

        def at(rows: Tensor, level: int, passes: list[Pass]) -> tuple[list[Tensor], list[Tensor]]:
            nodes, weights = nested(level)
            evaluated = [node for k in range(level + 1) for node in new_nodes(k)]
            activations, gradients = _in_order(passes, evaluated)
            return gradients, self._changes(activations, rows, increments(nodes, weights, smooth=True))

        def estimate(rows: Tensor, level: int, passes: list[Pass]) -> tuple[list[Tensor], Tensor]:
            gradients, changes = at(rows, level, passes)
            units = flow(gradients, changes)
            before = flow(*at(rows, level - 1, passes[:-1])) if level else None
            weights = gradients[0].new_tensor(nested(level)[1])
            return keep(weights, gradients, changes), self._errors(units, before, self._score_change[rows])

        rows = self.path.problem.inputs.rows
        options: dict[str, Any] = {"tolerance": tolerance, "max_steps": max_steps, "separable": self.separable}
        return refine(rows, evaluate, estimate, appended, **options)

    def gradient_sum(self, nodes: Sequence[float], weights: Sequence[float]) -> list[Tensor]:
        """The weighted sum of the score's gradients at the layers, at these nodes."""

        def gradients(rows: slice, points: slice) -> list[Tensor]:
            return self._at(self.path.at(rows), nodes[points])[1]

        sums = self.path.weighted_sums(gradients, [weights], **self._options)
        return [total[0].to(leaf.dtype) for total, leaf in zip(sums, self.end.leaves, strict=True)]

    def _passes(self, path: Segment, nodes: Sequence[float], finish: Callable[[slice, list[Pass]], Any]) -> list[Any]:
        """What passes at all points are made of, for each block of examples."""

        def visit(rows: slice, points: slice) -> list[Pass]:
            activations, gradients = self._at(path.at(rows), nodes[points])
            return [[*activations, *gradients]]

        return in_chunks(Work.of(path.problem), len(nodes), visit, appended, finish, **self._options)

    def _at(self, path: Segment, nodes: Sequence[float]) -> tuple[list[Tensor], list[Tensor]]:
        """The activations at some points, and the score's gradients there."""
        point, _, gradients = self.opened(path.problem, path.points(nodes)).gradient()
        count = len(nodes)
        return [unfolded(leaf, count) for leaf in point.leaves], [unfolded(leaf, count) for leaf in gradients]

    def _changes(self, activations: list[Tensor], rows: Rows, matrix: Sequence[Sequence[float]]) -> list[Tensor]:
        """The change of each activation that belongs to each point."""
        changes = []
        for start, along, end in zip(self.start.leaves, activations, self.end.leaves, strict=True):
            values = torch.cat([start[rows][None], along, end[rows][None]])
            weights = values.new_tensor(matrix, dtype=torch.promote_types(values.dtype, torch.float32))
            changes.append(weighted_sum(weights, values))
        return changes

    def _errors(self, units: list[Tensor], before: list[Tensor] | None, score_change: Tensor) -> Tensor:
        """The error of each example: of its layer that is furthest from it.

        Where a layer is bypassed its gap cannot close; there, what doubling the points changed.
        """
        errors = []
        for places in (part.places for part in self.end.parts):
            gap = (sum(leaf.flatten(1).sum(1) for leaf in units[places]) - score_change).abs()
            if before is not None:
                pairs = zip(units[places], before[places], strict=True)
                moved = torch.stack([(now - then).abs().flatten(1).sum(1) for now, then in pairs]).sum(0)
                gap = torch.minimum(gap, moved)
            errors.append(gap)
        return torch.stack(errors).amax(0)

    def _observe(self, node: float) -> tuple[Point, Tensor]:
        """The activations and scores at one point; raises where the activations cannot change along the path."""
        points = self.path.points((node,))
        if torch.compiler.is_compiling():
            return self.opened(self.path.problem, points).observe()
        seen: list[Point] = []

        def run(leaves: list[Tensor], _: Tape) -> tuple[list[Tensor], Tensor]:
            point, scores = self.opened(self.path.problem, points.like(leaves)).observe()
            seen.append(point)
            moved.extend(leaf.requires_grad for leaf in point.leaves)
            return point.leaves, scores

        moved: list[bool] = []
        activations, scores = on_tape(run, points.leaves)
        if not any(moved):
            names = " and ".join(repr(site.name) for site in self.place.sites)
            raise ModelError(
                f"layer {names} does not depend on the point whose path is followed, so nothing flows through it. "
                "Choose a layer behind it."
            )
        return seen[0].like(activations), scores


def flow(gradients: list[Tensor], changes: list[Tensor]) -> list[Tensor]:
    """Gradients times changes, summed over the points."""
    pairs = zip(gradients, changes, strict=True)
    return [(slope.to(change.dtype) * change).sum(0).to(slope.dtype).contiguous() for slope, change in pairs]


def _in_order(passes: list[Pass], nodes: Sequence[float]) -> tuple[list[Tensor], list[Tensor]]:
    """Activations and gradients at all points, in the order of the path."""
    order = sorted(range(len(nodes)), key=nodes.__getitem__)
    leaves = [torch.cat(parts)[order] if len(parts) > 1 else parts[0] for parts in zip(*passes, strict=True)]
    half = len(leaves) // 2
    return leaves[:half], leaves[half:]
