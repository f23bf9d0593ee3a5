"""Walks through the game in the order of permutations: what each player adds when they enter one by one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe, warn
from attrfunc.core.loops.progress import Progress, reporter
from attrfunc.core.loops.samples import Draws, Moments
from attrfunc.core.model.engines import worst
from attrfunc.perturbation.game import Game
from attrfunc.perturbation.permutations import drawn
from attrfunc.perturbation.precision import wide

__all__ = ["Walks", "mean_walk"]

# Numbers that are held at once for a block of permutations: their marginal contributions and their baselines.
BLOCK = 2**22
# Coalitions are listed as a table of so many bytes at most; others are made as they are evaluated.
TABLE = 2**26
# Standard errors of fewer draws say little.
FEWEST = 10


class Walks:
    """Walks from no player to all, in the order of permutations.

    Args:
        game: The game.
        draws: The source of randomness.
        baselines: Samples that baselines are drawn from, for each example and each permutation or pair; or None.
        n_samples: Number of permutations.
        design: How they are drawn.

    Attributes:
        together: How many permutations belong together in each independent draw.
        dtype: That of the scores that were evaluated, in single precision at least.
    """

    def __init__(self, game: Game, draws: Draws, baselines: list[Tensor] | None, n_samples: int, design: str) -> None:
        self.game, self._draws, self._baselines = game, draws, baselines
        self.n_samples, self.together = n_samples, 1 if design == "random" else 2
        self.dtype = torch.get_default_dtype()
        self._units = drawn(draws, game.players, n_samples, design)

    def blocks(self, most: int, chunk_size: int | None, progress: Progress) -> Iterator[list[Tensor]]:
        """Marginal contributions `(m, rows, n)` of m permutations that belong together, for several of these at a time.

        Args:
            most: How many to evaluate before anybody looks at them.
            chunk_size: Rows evaluated at once.
            progress: Whether and how to report permutations.
        """
        game = self.game
        held = 2 * game.rows * game.players + game.players**2 // 4
        held += sum(leaf.numel() for leaf in game.end) if self._baselines else 0
        most = min(most, max(1, BLOCK // max(held, 1)))
        report = reporter(progress, self.n_samples)
        while drawn_now := list(itertools.islice(self._drawn(), most)):
            units, baselines = [unit for unit, _ in drawn_now], [baseline for _, baseline in drawn_now]
            yield self._evaluate(units, baselines, chunk_size)
            report(sum(len(unit) for unit in units))

    def _drawn(self) -> Iterator[tuple[Tensor, Any]]:
        """Permutations that belong together, and their baseline."""
        for unit in self._units:
            yield unit, self._draws.one_of(self._baselines) if self._baselines else None

    def _evaluate(self, units: list[Tensor], baselines: list[Any], chunk_size: int | None) -> list[Tensor]:
        ranks, n = torch.cat(units), self.game.players
        # All end at the input. They start at the same place, unless each draw has a baseline of its own.
        draw = torch.tensor([number if self._baselines else 0 for number, unit in enumerate(units) for _ in unit])
        count = len(units) if self._baselines else 1
        draws = torch.cat([torch.tensor([0]), torch.arange(count), draw.repeat_interleave(n - 1)])
        walks = torch.cat([torch.zeros(1 + count, dtype=torch.long), torch.arange(len(ranks)).repeat_interleave(n - 1)])
        sizes = torch.cat([torch.tensor([n] + [0] * count), torch.arange(1, n).repeat(len(ranks))])
        starts = self._starts(baselines) if self._baselines else None

        def present(chosen: slice) -> list[Tensor]:
            inside = ranks[walks[chosen]] < sizes[chosen, None]
            return [inside.to(ids.device)[:, ids] for ids in self.game.ids]

        def replacing(chosen: slice) -> list[Tensor]:
            return [leaf[draws[chosen].to(leaf.device)] for leaf in starts or ()]

        if starts is None and len(walks) * n <= TABLE:
            values = self.game.values(ranks[walks] < sizes[:, None], chunk_size=chunk_size)
        else:
            own = replacing if starts else None
            values = self.game.evaluate(len(walks), present, starts=own, chunk_size=chunk_size)
        self.dtype = wide(values).dtype
        full, empty, between = values.double().split([1, count, len(ranks) * (n - 1)])
        path = [empty[draw, None], between.unflatten(0, (len(ranks), n - 1)), full.expand(len(ranks), 1, -1)]
        steps = torch.cat(path, 1).diff(dim=1)
        order = ranks.to(values.device)[:, :, None].expand(-1, -1, steps.shape[2])
        return list(steps.gather(1, order).transpose(1, 2).split([len(unit) for unit in units]))

    def _starts(self, baselines: list[Any]) -> list[Tensor]:
        """The points at some baselines `(count, *point)`."""
        points = [self.game.problem.endpoints(baseline)[0].leaves for baseline in baselines]
        return [torch.stack(leaves) for leaves in zip(*points, strict=True)]


def mean_walk(
    walks: Walks, *, tolerance: float | None, chunk_size: int | None, progress: Progress
) -> tuple[Tensor, Tensor | None]:
    """The mean of marginal contributions `(rows, n)`, and its standard errors if there are two draws to compare.

    Args:
        walks: The walks.
        tolerance: Stop where no standard error is above it. Draws are looked at one by one, so that it does not depend
            on the size of chunks where that is.
        chunk_size: Rows evaluated at once.
        progress: Whether and how to report.

    Raises:
        ArgumentError: If the tolerance cannot be right.
    """
    _check(tolerance)
    mean, draws, error = Moments(second=False), Moments(second=True), None
    for block in walks.blocks(FEWEST if tolerance is not None else walks.n_samples, chunk_size, progress):
        for units in [block] if tolerance is None else [[unit] for unit in block]:
            mean.take([torch.cat(units)])
            complete = [unit.mean(0) for unit in units if len(unit) == walks.together]
            if complete:
                draws.take([torch.stack(complete)])
            (error,) = draws.standard_errors() if draws.count > 1 else (None,)
            if error is None or tolerance is None or draws.count < FEWEST:
                continue
            if max(worst(error.amax(-1))) <= tolerance:
                return mean.mean[0], error
    if tolerance is not None:
        _warn(walks, error, tolerance)
    return mean.mean[0], error


def _check(tolerance: float | None) -> None:
    if tolerance is None:
        return
    if not isinstance(tolerance, Real) or not float(tolerance) > 0:
        raise ArgumentError(
            "tolerance", describe(tolerance), "a number above 0, in units of the score", "Pass tolerance=1e-2, say."
        )
    if torch.compiler.is_compiling():
        raise ArgumentError(
            "tolerance",
            describe(tolerance),
            "None under torch.compile, since the number of permutations depends on values",
            "Pass n_samples instead.",
        )


def _warn(walks: Walks, error: Tensor | None, tolerance: float) -> None:
    found = dict(enumerate(worst(error.amax(-1)))) if error is not None else {}
    above = [f"{number}: {value:.2g}" for number, value in found.items() if not value <= tolerance]
    more = f" and {len(above) - 10} more" if len(above) > 10 else ""
    warn(
        f"the tolerance {tolerance:g} is not reached with {walks.n_samples} "
        f"permutations; the largest standard errors by example are {{{', '.join(above[:10])}}}{more}. Raise n_samples "
        f"(to {FEWEST * walks.together} at least) or the tolerance."
    )
