"""Games whose absent groups are replaced by samples of a distribution of baselines.

This is where `baselines` is documented for the Shapley family.

baselines: A distribution of baselines, in the forms of `attrfunc.core.loops.samples`, in place of the one `baseline`.
    The value of a coalition is the mean score over all N of them, so each coalition takes N evaluations: pass some
    tens. (`shapley_sampling` draws one for each permutation instead, and takes no more evaluations than with one
    baseline.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.loops.progress import Progress, reporter
from attrfunc.core.loops.samples import distribution
from attrfunc.core.score.views import Model
from attrfunc.perturbation.game import Game, open_game
from attrfunc.perturbation.precision import wide

__all__ = ["MeanGame", "open_games", "require_one"]


class MeanGame:
    """The mean of several games of the same players.

    Args:
        games: The games.

    Attributes:
        players: Number of groups, n.
        rows: Number of scores of a coalition.
        dtype: That of the scores that were evaluated, in single precision at least.
    """

    def __init__(self, games: Sequence[Game]) -> None:
        self._games = games
        self.players, self.rows = games[0].players, games[0].rows
        self.dtype = self.score_dtype = torch.get_default_dtype()

    def values(self, coalitions: Tensor, *, chunk_size: int | None = None, progress: Progress = False) -> Tensor:
        """Mean scores `(K, rows)` of coalitions `(K, n)` in double precision; see `Game.values`."""
        if len(self._games) == 1:
            return self._wide(self._games[0].values(coalitions, chunk_size=chunk_size, progress=progress))
        report = reporter(progress, len(self._games))
        mean = torch.zeros((), dtype=torch.float64)
        for game in self._games:
            mean = mean + self._wide(game.values(coalitions, chunk_size=chunk_size)) / len(self._games)
            report(1)
        return mean

    def _wide(self, values: Tensor) -> Tensor:
        self.dtype, self.score_dtype = wide(values).dtype, values.dtype
        return values.double()

    def spread(self, per_group: Tensor) -> Any:
        """Give every element the number of its group; see `Game.spread`."""
        return self._games[0].spread(per_group.to(self.dtype))


def open_games(
    model: Model,
    x: Any,
    *,
    baseline: Any = None,
    baselines: Any = None,
    target: Any = None,
    feature_mask: Any = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    chunk_size: int | None = None,
) -> MeanGame:
    """Open a view on an input as a game, with one baseline or a distribution of them.

    Args:
        model: The view.
        x: The input.
        baseline: What replaces groups that are not present; see `attrfunc.core.score.baseline`.
        baselines: A distribution instead, in the forms of this module.
        target: The target.
        feature_mask: The groups; see `attrfunc.perturbation.feature_groups`.
        args: Further positional arguments of the model.
        kwargs: Keyword arguments of the model.
        chunk_size: Rows that will be evaluated at once.

    Raises:
        ArgumentError: If an argument cannot be right, or both kinds of baselines are given.
    """
    require_one(baseline, baselines)
    options: dict[str, Any] = {"target": target, "args": args, "kwargs": kwargs, "chunk_size": chunk_size}
    game = open_game(model, x, baseline=baseline, feature_mask=feature_mask, **options)
    if baselines is None:
        return MeanGame([game])
    samples, spec = distribution(baselines, x), pytree.tree_structure(x)
    rows = [pytree.tree_unflatten([leaf[k : k + 1] for leaf in samples], spec) for k in range(len(samples[0]))]
    return MeanGame([Game(game.problem, *game.problem.endpoints(row), feature_mask, alike=False) for row in rows])


def require_one(baseline: Any, baselines: Any) -> None:
    """Raise if a baseline and a distribution of baselines are given."""
    if baseline is not None and baselines is not None:
        raise ArgumentError(
            "baselines",
            f"{describe(baselines)} beside a baseline",
            "either one baseline or a distribution of them",
            "Drop one of the two.",
        )
