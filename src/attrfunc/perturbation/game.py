"""The game: the score with some groups of features present, and the others replaced by the baseline.

All methods of this package evaluate it. A method is a design, which coalitions of groups to evaluate, and an
estimator, what to make of their values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.baseline import Baseline
from attrfunc.core.errors import ArgumentError, ModelError, describe
from attrfunc.core.evaluate import appended, joined, walk
from attrfunc.core.method import open_problem
from attrfunc.core.problem import Problem
from attrfunc.core.progress import Progress
from attrfunc.core.stateless import unsettled
from attrfunc.core.target import Target
from attrfunc.core.transforms import known, require_finite
from attrfunc.core.views import Model
from attrfunc.perturbation.feature_groups import FeatureMask, Groups
from attrfunc.perturbation.linear_prefix import FEWEST_COALITIONS, FEWEST_ROWS, LinearPrefix

__all__ = ["Game", "open_game"]

Present = Callable[[slice], list[Tensor]]
"""Some coalitions, told apart by their numbers: for each tensor of the point what is present in them, booleans that
broadcast to `(K, *point)` and have as many dimensions."""

Points = Callable[[slice, slice], list[Tensor]]
"""Points `(K, *point)`, of some examples (first) and coalitions."""

# One row more is not noticed among so many; it tells whether examples are scored apart.
ROWS_TO_CHECK = 8


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

    def __init__(
        self, problem: Problem, start: list[Tensor], end: list[Tensor], feature_mask: FeatureMask, alike: bool
    ) -> None:
        self.problem, self.start, self.end = problem, start, end
        batch = problem.inputs.rows
        self._separable = problem.separable(end)
        self.examples_first = all(leaf.dim() > 0 and leaf.shape[0] == batch for leaf in end)
        self.rows = batch if self._separable else 1
        if feature_mask is None:
            groups = Groups.elements(end, alike=self.examples_first)
        else:
            alike = alike or (problem.whole and self.examples_first)
            groups = Groups.masked(feature_mask, end, problem.restore, alike=alike)
        self.players, self.ids = groups.count, groups.ids

    def values(self, coalitions: Tensor, *, chunk_size: int | None = None, progress: Progress = False) -> Tensor:
        """Scores of coalitions.

        Args:
            coalitions: Which groups are present, booleans `(K, n)`.
            chunk_size: Rows evaluated at once; see `attrfunc.core.evaluate`.
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
        return self._scores(prefix.problem, len(coalitions), points, **options)

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
        return self._scores(prefix.problem, self.players + 1, points, **options)

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

        return self._scores(self.problem, count, points, chunk_size=chunk_size, progress=progress)

    def _prefix(self, count: int) -> LinearPrefix | None:
        """The leading linear layer that need not run for each of so many coalitions, if there is one."""
        if not self._separable or count < FEWEST_COALITIONS or count * self.rows < FEWEST_ROWS:
            return None
        return LinearPrefix.find(self.problem, self.start, self.end, self.ids, self.players)

    def _scores(
        self, problem: Problem, count: int, points: Points, *, chunk_size: int | None, progress: Progress
    ) -> Tensor:
        """Scores `(K, rows)` of K points of a problem."""

        def visit(part: Problem, rows: slice, chosen: slice) -> list[Tensor]:
            scores = part.scores(points(rows, chosen))
            require_finite(scores.sum())
            return [scores]

        def finish(rows: slice, scores: list[Tensor]) -> list[Tensor]:
            return [torch.cat(scores) if len(scores) > 1 else scores[0]]

        options: dict[str, Any] = {"chunk_size": chunk_size, "progress": progress}
        blocks = walk(problem, count, visit, appended, finish, separable=self._separable, **options)
        (scores,) = joined(blocks, dim=1)
        if not self._separable:
            return scores.sum(1, keepdim=True)
        last = slice(self.rows - 1, self.rows)
        self.require_independent(scores, problem.at(last), points(last, slice(count - 1, count)))
        return scores

    def require_independent(self, scores: Tensor, part: Problem, point: list[Tensor]) -> None:
        """Raise if the last example, alone at the last point, scores otherwise than it did among others.

        Args:
            scores: Scores `(K, rows)` of some points.
            part: The problem of the last example.
            point: The last of these for the last example, tensors `(1, 1, *S)`.

        Raises:
            ModelError: If they differ by more than rounding.
        """
        if self.problem.whole or scores.numel() < ROWS_TO_CHECK or torch.compiler.is_compiling():
            return
        if any(unsettled(module) for module in part.twin.modules):
            return  # of that the caller was warned
        alone = part.scores(point)[0, 0]
        allowed = 10 * torch.finfo(scores.dtype).eps ** 0.5 * scores.detach().abs().max()
        if known((alone - scores[-1, -1]).abs() > allowed):
            raise ModelError(
                f"the score of an example depends on the batch that it is evaluated in: it is {float(alone):.6g} alone "
                f"and {float(scores[-1, -1]):.6g} among others. Many perturbations are evaluated as one larger batch, "
                "so examples must be independent; a score of the whole batch is a target of its own: af.batch_score."
            )

    def points(self, coalitions: Tensor) -> list[Tensor]:
        """The point in coalitions `(K, n)`: tensors `(K, *point)`."""
        masks = [coalitions.to(ids.device)[:, ids] for ids in self.ids]
        ends = zip(masks, self.end, self.start, strict=True)
        return [torch.where(mask, end, start) for mask, end, start in ends]

    def group_sums(self, parts: Sequence[Tensor]) -> Tensor:
        """Sums `(rows, n)` over the elements of each group of tensors with the shapes of the point's."""
        sums = torch.zeros(self.rows, self.players, dtype=parts[0].dtype, device=parts[0].device)
        for ids, part in zip(self.ids, parts, strict=True):
            groups = ids.expand(part.shape).reshape(self.rows, -1)
            sums = sums.scatter_add(1, groups, part.reshape(self.rows, -1))
        return sums

    def spread(self, per_group: Tensor) -> Any:
        """Give every element the number of its group.

        Args:
            per_group: Numbers `(..., rows, n)`.

        Returns:
            The structure of what is attributed; its tensors have the shapes and dtypes of the point's, with leading
            dimensions in front. Where there is one score for the whole batch, dimension 0 of the point becomes 1.
        """
        return self.problem.restore([self._spread(per_group, *pair) for pair in zip(self.ids, self.end, strict=True)])

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
) -> Game:
    """Open a view on an input as a game.

    Args:
        model: The view.
        x: The input; integers, too.
        baseline: What replaces groups that are not present; see `attrfunc.core.baseline`.
        target: The target, in any of its forms; see `attrfunc.core.target`.
        feature_mask: The groups; see `attrfunc.perturbation.feature_groups`.
        args: Further positional arguments of the model.
        kwargs: Keyword arguments of the model.
        alike: Whether groups must be alike in all examples.

    Returns:
        The game.

    Raises:
        ArgumentError: If an argument cannot be right.
    """
    problem = open_problem(model, x, target, args, kwargs, differentiate=False)
    start, end = problem.ends(baseline)
    return Game(problem, start, end, feature_mask, alike)
