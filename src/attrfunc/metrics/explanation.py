"""An explanation that is measured: attributions beside the view, the input and the groups that they speak of.

This is where `attributions` and the calling convention of this package are documented; every metric refers here.

A metric takes what it looks at, in this order, and everything else by keyword:

* `metric(model, x, attributions, *, target=..., ...)`, if it evaluates the model;
* `metric(attributions, ...)`, if it looks at the attributions alone;
* `metric(method, ...)`, if it has to explain again: a combinator, which gives a function `(model, x, **options)` that
    is called as the method is.

Each gives one number for each example, `(B,)`.

attributions: What the method gave for this model, view and input: the structure and shapes of `x`, or of the layer's
    activation. With a `feature_mask`, those of the elements of a group are added up. Perturbation methods give every
    element the number of its group, which would be added up as often: pass the mask to them, not to a metric that
    compares sums with changes of the score, or divide by the sizes of the groups. Orders are the same where groups are
    equally large.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, ModelError
from attrfunc.core.loops.chunks import Work, appended, in_chunks, joined
from attrfunc.core.loops.progress import Progress
from attrfunc.core.model.engines import require_finite, settled
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.point import Point
from attrfunc.core.score.problem import Problem
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model, as_view
from attrfunc.core.trees import floats
from attrfunc.perturbation.feature_groups import FeatureMask
from attrfunc.perturbation.game import Game, open_game
from attrfunc.perturbation.precision import wide

__all__ = ["Explanation", "fitting", "open_explanation", "scores_at"]

Points = Callable[[slice, slice], list[Tensor]]
"""Points `(K, *point)`, of some examples (first) and of some of the points."""


def open_explanation(
    model: Model,
    x: Any,
    attributions: Any,
    *,
    baseline: Baseline = None,
    target: Target = None,
    feature_mask: FeatureMask = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    chunk_size: int | None = None,
) -> Explanation:
    """Open a view on an input, with attributions of it.

    Args:
        model: The view.
        x: The input.
        attributions: In the form of this module.
        baseline: What replaces groups; see `attrfunc.core.score.baseline`.
        target: The target.
        feature_mask: The groups; see `attrfunc.perturbation.feature_groups`.
        args: Further positional arguments of the model.
        kwargs: Keyword arguments of the model.
        chunk_size: Rows that will be evaluated at once.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If examples are not scored apart, so that there is no number for each.
    """
    view = as_view(model)
    if view.place.several and not view.place.joint:
        fix = "Measure each layer by itself, af.layer(model, name), or make them one point: joint=True."
        raise ArgumentError("model", f"a view of {len(view.sites)} layers", "a view of one point", fix)
    options: dict[str, Any] = {"baseline": baseline, "target": target, "feature_mask": feature_mask}
    game = open_game(view, x, args=args, kwargs=kwargs, chunk_size=chunk_size, **options)
    if game.problem.whole:
        fix = "Measure a score of each example: an int, say."
        raise ArgumentError("target", "a batch_score", "a score for each example", fix)
    require_apart(game.problem, game.point)
    return Explanation(game, fitting(attributions, game.point, game.problem.inputs.rows))


def require_apart(problem: Problem, point: Point) -> None:
    """Raise where there is no number for each example."""
    rows = problem.inputs.rows
    if not problem.plan.apart or any(leaf.dim() == 0 or leaf.shape[0] != rows for leaf in point.leaves):
        raise ModelError(
            "the score of an example depends on the others of its batch, so there is no measure of each example. Pass "
            "one example (or graph) at a time, x[i : i + 1], or make the model treat them apart."
        )


def fitting(attributions: Any, point: Point, rows: int) -> list[Tensor]:
    """The tensors of attributions, which must have the point's shapes and hold numbers."""
    parts, _ = floats(attributions)
    shapes, expected = [tuple(part.shape) for part in parts], [tuple(leaf.shape) for leaf in point.leaves]
    if shapes != expected:
        fix = "Pass what the method returned for this model, view and input; widen a map by attributions.expand_as(x)."
        got = f"floating-point tensors of shapes {shapes}"
        raise ArgumentError("attributions", got, f"the shapes that are explained, {expected}", fix)
    parts = [wide(part) for part in parts]
    if not all(settled(part.isfinite()) for part in parts):
        fix = "Find out where the method divides by zero, or overflows."
        raise ArgumentError("attributions", "numbers that are NaN or infinite", "finite numbers", fix)
    return parts


class Explanation:
    """Attributions of a problem.

    Args:
        game: The view on its input, with the groups of features.
        parts: The attributions, in the shapes of the point's tensors.

    Attributes:
        problem: The problem.
        sums: The attributions of each group, `(B, n)`.
    """

    def __init__(self, game: Game, parts: list[Tensor]) -> None:
        self.game, self.problem, self._parts = game, game.problem, parts
        self.sums = game.group_sums(parts)

    @property
    def groups(self) -> int:
        """Number of groups, n."""
        return self.game.players

    def changes(
        self, coalitions: Tensor, *, chunk_size: int | None = None, progress: Progress = False
    ) -> tuple[Tensor, Tensor]:
        """What attributions promise of the removal of some groups, and what the score loses, both `(K, B)`.

        Args:
            coalitions: Which groups are removed, booleans `(K, n)`.
            chunk_size: Rows evaluated at once.
            progress: Whether and how to report.
        """
        coalitions = coalitions.to(self.sums.device)
        present = torch.cat([torch.ones_like(coalitions[:1]), ~coalitions])
        scores = wide(self.game.values(present, chunk_size=chunk_size, progress=progress))
        return coalitions.to(self.sums.dtype) @ self.sums.T, scores[0] - scores[1:]

    def scores(
        self, count: int, points: Points, *, chunk_size: int | None = None, progress: Progress = False
    ) -> Tensor:
        """Scores `(K, B)` of K points; see `scores_at`."""
        return scores_at(self.problem, self.game.point, count, points, chunk_size=chunk_size, progress=progress)


def scores_at(
    problem: Problem,
    point: Point,
    count: int,
    points: Points,
    *,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Tensor:
    """Scores `(K, B)` of K points, in single precision at least.

    Args:
        problem: The problem.
        point: A point of its structure.
        count: How many points.
        points: Makes them.
        chunk_size: Rows evaluated at once.
        progress: Whether and how to report.

    Raises:
        ModelError: If a score is not finite.
    """

    def visit(rows: slice, chosen: slice) -> list[Tensor]:
        scores = problem.at(rows).scores(point.like(points(rows, chosen)))
        require_finite(scores)
        return [scores]

    def finish(rows: slice, scores: list[Tensor]) -> list[Tensor]:
        return [torch.cat(scores)]

    work = Work.of(problem)
    (scores,) = joined(in_chunks(work, count, visit, appended, finish, chunk_size=chunk_size, progress=progress), dim=1)
    return wide(scores)
