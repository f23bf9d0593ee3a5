"""The game: the score with some groups of features present, and the others replaced by the baseline.

All methods of this package evaluate it. A method is a design, which coalitions of groups to evaluate, and an
estimator, what to make of their values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.loops.chunks import Work, appended, in_chunks, joined
from attrfunc.core.loops.plan import planned
from attrfunc.core.loops.progress import Progress
from attrfunc.core.model.engines import require_finite
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.method import open_problem
from attrfunc.core.score.point import Point
from attrfunc.core.score.problem import Problem
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model
from attrfunc.perturbation.feature_groups import FeatureMask, Groups
from attrfunc.perturbation.linear_prefix import FEWEST_COALITIONS, FEWEST_ROWS, LinearPrefix
from attrfunc.perturbation.precision import wide

__all__ = ["Game", "limits", "open_game"]

Present = Callable[[slice], list[Tensor]]
"""Some coalitions, told apart by their numbers: for each tensor of the point what is present in them, booleans that
broadcast to `(K, *point)` and have as many dimensions."""

Points = Callable[[slice, slice], list[Tensor]]
"""Points `(K, *point)`, of some examples (first) and coalitions."""


class Game:
    """A view opened on an input, with groups of features as the players.

    Args:
        problem: The view on its input.
        start: The point where all groups are replaced.
        end: The point where all are present.
        feature_mask: The groups; see `attrfunc.perturbation.feature_groups`.
        alike: Whether groups must be alike in all examples.

    Attributes:
        ids: The group of each element, numbers from 0 to n - 1 that broadcast to the tensors of the point.
        examples_first: Whether dimension 0 of all tensors of the point is the example.
        players: Number of groups, n.
        rows: Number of scores of a coalition: one for each of B examples. It is 1 if the score is one for the whole
            batch, and where examples cannot be told apart in a layer's activation; then it is their sum.
    """

    def __init__(self, problem: Problem, start: Point, end: Point, feature_mask: FeatureMask, alike: bool) -> None:
        self.problem, self.point, self.start, self.end = problem, end, start.leaves, end.leaves
        batch, apart = problem.inputs.rows, problem.plan.apart
        examples = all(leaf.dim() > 0 and leaf.shape[0] == batch for leaf in self.end)
        self.examples_first = examples and (apart or problem.whole)
        self.rows = batch if apart else 1
        if feature_mask is None:
            groups = Groups.elements(self.end, alike=self.examples_first)
        else:
            alike = alike or (problem.whole and self.examples_first)
            groups = Groups.masked(feature_mask, self.end, end.restored, alike=alike)
            if examples and not self.examples_first:  # which depend on each other: their sum is what is explained
                groups = groups.of_each(batch)
        self.players, self.ids = groups.count, groups.ids
        if self.players == 0:
            got = ", ".join(str(tuple(leaf.shape)) for leaf in self.end)
            raise ArgumentError("x", f"no features: {got}", "at least one feature", "Leave examples without any out.")

    def values(self, coalitions: Tensor, *, chunk_size: int | None = None, progress: Progress = False) -> Tensor:
        """Scores of coalitions.

        Args:
            coalitions: Which groups are present, booleans `(K, n)`.
            chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
            progress: Whether and how to report.

        Returns:
            Scores `(K, rows)`, differentiable with respect to all that the score depends on.

        Raises:
            ArgumentError: If the coalitions have another shape or dtype.
            ModelError: If a score is not finite, or depends on the batch that it is evaluated in.
        """
        if coalitions.dtype != torch.bool or coalitions.dim() != 2 or coalitions.shape[1] != self.players:
            raise ArgumentError(
                "coalitions",
                describe(coalitions),
                f"booleans of shape (K, {self.players})",
                "Say for each group if it is present.",
            )

        def present(chosen: slice) -> list[Tensor]:
            return [coalitions[chosen].to(ids.device)[:, ids] for ids in self.ids]

        options: dict[str, Any] = {"chunk_size": chunk_size, "progress": progress}
        prefix = self._prefix(len(coalitions))
        if prefix is None:
            return self.evaluate(len(coalitions), present, **options)
        points: Points = lambda rows, chosen: prefix.coalitions(coalitions[chosen], rows)  # noqa: E731
        return self._scores(prefix.problem, prefix.point, len(coalitions), points, **options)

    def without_each(self, *, chunk_size: int | None = None, progress: Progress = False) -> Tensor:
        """Scores `(n + 1, rows)`: with all groups, then without each; no matrix of groups is built."""

        def present(chosen: slice) -> list[Tensor]:
            missing = [torch.arange(chosen.start - 1, chosen.stop - 1, device=ids.device) for ids in self.ids]
            return [ids != one.view(-1, *[1] * ids.dim()) for one, ids in zip(missing, self.ids, strict=True)]

        options: dict[str, Any] = {"chunk_size": chunk_size, "progress": progress}
        prefix = self._prefix(self.players + 1)
        if prefix is None:
            return self.evaluate(self.players + 1, present, **options)
        points: Points = lambda rows, chosen: prefix.without_each(chosen, rows)  # noqa: E731
        return self._scores(prefix.problem, prefix.point, self.players + 1, points, **options)

    def nested(
        self, places: Tensor, counts: Sequence[int], *, chunk_size: int | None = None, progress: Progress = False
    ) -> Tensor:
        """Scores `(K, rows)` where of each example the first of so many groups are present, in an order of its own.

        Args:
            places: The place of each group in the order of its example, from 0 on, `(rows, n)`.
            counts: How many groups are present, for each of K coalitions.
            chunk_size: Rows evaluated at once.
            progress: Whether and how to report.
        """
        options: dict[str, Any] = {"chunk_size": chunk_size, "progress": progress}
        prefix = self._prefix(len(counts))
        if prefix is not None:
            return self._scores(prefix.problem, prefix.point, len(counts), prefix.nested(places, counts), **options)
        elements = self.at_elements(places)

        def points(rows: slice, chosen: slice) -> list[Tensor]:
            masks = [place[rows] < limits(counts[chosen], place) for place in elements]
            ends = zip(masks, self.end, self.start, strict=True)
            return [torch.where(mask, end[rows], start[rows]) for mask, end, start in ends]

        return self._scores(self.problem, self.point, len(counts), points, **options)

    def at_elements(self, per_group: Tensor) -> list[Tensor]:
        """Numbers `(rows, n)` of groups at each element: tensors with the shapes of the point's."""
        found = []
        for ids, leaf in zip(self.ids, self.end, strict=True):
            flat = ids.reshape(ids.shape[0], ids.shape[1:].numel()).expand(len(leaf), -1)
            found.append(per_group.gather(1, flat).view(len(leaf), *ids.shape[1:]).expand(leaf.shape))
        return found

    def evaluate(
        self,
        count: int,
        present: Present,
        *,
        starts: Callable[[slice], list[Tensor]] | None = None,
        chunk_size: int | None = None,
        progress: Progress = False,
    ) -> Tensor:
        """Scores `(K, rows)` of K coalitions of elements; see `values`.

        Args:
            count: Number of coalitions, K.
            present: What is present in some of them.
            starts: Points `(K, *point)` that replace what is not, if each of some coalitions has its own.
            chunk_size: Rows evaluated at once.
            progress: Whether and how to report.
        """

        def points(rows: slice, chosen: slice) -> list[Tensor]:
            masks = [mask if mask.shape[1] == 1 else mask[:, rows] for mask in present(chosen)]
            replacing = [leaf[:, rows] for leaf in starts(chosen)] if starts else [leaf[rows] for leaf in self.start]
            ends = zip(masks, self.end, replacing, strict=True)
            return [torch.where(mask, end[rows], start) for mask, end, start in ends]

        return self._scores(self.problem, self.point, count, points, chunk_size=chunk_size, progress=progress)

    def _prefix(self, count: int) -> LinearPrefix | None:
        """The leading linear layer that need not run for each of so many coalitions, if there is one."""
        if not self.problem.plan.folds or count < FEWEST_COALITIONS or count * self.rows < FEWEST_ROWS:
            return None
        return LinearPrefix.find(self.problem, self.start, self.end, self.ids, self.players)

    def _scores(
        self, problem: Problem, point: Point, count: int, points: Points, *, chunk_size: int | None, progress: Progress
    ) -> Tensor:
        """Scores `(K, rows)` of K points of a problem, in the structure of one."""

        def visit(rows: slice, chosen: slice) -> list[Tensor]:
            scores = problem.at(rows).scores(point.like(points(rows, chosen)))
            require_finite(scores)
            return [scores]

        def finish(rows: slice, scores: list[Tensor]) -> list[Tensor]:
            return [torch.cat(scores) if len(scores) > 1 else scores[0]]

        work = Work.of(problem)
        blocks = in_chunks(work, count, visit, appended, finish, chunk_size=chunk_size, progress=progress)
        (scores,) = joined(blocks, dim=1)
        return scores if self.problem.plan.apart else wide(scores).sum(1, keepdim=True)

    def points(self, coalitions: Tensor) -> list[Tensor]:
        """The point in coalitions `(K, n)`: tensors `(K, *point)`."""
        masks = [coalitions.to(ids.device)[:, ids] for ids in self.ids]
        ends = zip(masks, self.end, self.start, strict=True)
        return [torch.where(mask, end, start) for mask, end, start in ends]

    def group_sums(self, parts: Sequence[Tensor]) -> Tensor:
        """Sums `(rows, n)` over the elements of each group of tensors with the shapes of the point's."""
        sums = torch.zeros(self.rows, self.players, dtype=parts[0].dtype, device=parts[0].device)
        for ids, part in zip(self.ids, parts, strict=True):
            shape = (self.rows, part.numel() // max(self.rows, 1))
            sums = sums.scatter_add(1, ids.expand(part.shape).reshape(shape), part.reshape(shape))
        return sums

    def spread(self, per_group: Tensor) -> Any:
        """Give every element the number of its group.

        Args:
            per_group: Numbers `(..., rows, n)`.

        Returns:
            The structure of what is attributed; its tensors have the shapes and dtypes of the point's, with leading
            dimensions in front. Where there is one score for the whole batch, dimension 0 of the point becomes 1.
        """
        return self.point.restored([self._spread(per_group, *pair) for pair in zip(self.ids, self.end, strict=True)])

    def _spread(self, per_group: Tensor, ids: Tensor, leaf: Tensor) -> Tensor:
        if not self.examples_first:
            given = per_group[..., 0, :][..., ids]
            shape: Sequence[int] = leaf.shape
        elif ids.shape[0] == 1:
            given = per_group[..., ids[0]]
            shape = (self.rows, *leaf.shape[1:])
        else:
            flat = ids.flatten(1).expand(*per_group.shape[:-1], -1)
            given = per_group.gather(-1, flat).unflatten(-1, ids.shape[1:])
            shape = leaf.shape
        return self.typed(given.expand(*per_group.shape[:-2], *shape), leaf)

    def typed(self, attribution: Tensor, leaf: Tensor) -> Tensor:
        """An attribution in the dtype of what is attributed; integers get the dtype of the score."""
        return attribution.to(leaf.dtype) if leaf.is_floating_point() else attribution


def limits(counts: Sequence[int], like: Tensor) -> Tensor:
    """Numbers as a tensor with a dimension for them in front of those of another."""
    return torch.tensor(list(counts), device=like.device).view(-1, *[1] * like.dim())


def open_game(
    model: Model,
    x: Any,
    *,
    baseline: Baseline = None,
    target: Target = None,
    feature_mask: FeatureMask = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    alike: bool = False,
    chunk_size: int | None = None,
) -> Game:
    """Open a view on an input as a game.

    Args:
        model: The view.
        x: The input; integers, too.
        baseline: What replaces groups that are not present; see `attrfunc.core.score.baseline`.
        target: The target, in any of its forms; see `attrfunc.core.score.target`.
        feature_mask: The groups; see `attrfunc.perturbation.feature_groups`.
        args: Further positional arguments of the model.
        kwargs: Keyword arguments of the model.
        alike: Whether groups must be alike in all examples.
        chunk_size: Rows that will be evaluated at once.

    Returns:
        The game.

    Raises:
        ArgumentError: If an argument cannot be right.
    """
    problem = planned(open_problem(model, x, target, args, kwargs, differentiate=False), chunk_size)
    start, end = problem.endpoints(baseline)
    return Game(problem, start, end, feature_mask, alike)
