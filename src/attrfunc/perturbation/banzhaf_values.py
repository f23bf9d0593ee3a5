"""Banzhaf values (Banzhaf 1965)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from attrfunc.core.errors import positive
from attrfunc.core.loops.progress import Progress
from attrfunc.core.loops.samples import Draws
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.method import each_layer, method
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model
from attrfunc.perturbation.background import open_games
from attrfunc.perturbation.coalitions import all_coalitions, require_few
from attrfunc.perturbation.feature_groups import FeatureMask
from attrfunc.perturbation.regression import additive_fit
from attrfunc.perturbation.room import require_table
from attrfunc.perturbation.semivalues import banzhaf_weight, semivalues

__all__ = ["banzhaf_values"]


@method
@each_layer
def banzhaf_values(
    model: Model,
    x: Any,
    *,
    baseline: Baseline = None,
    baselines: Any = None,
    n_samples: int | None = None,
    generator: torch.Generator | None = None,
    target: Target = None,
    feature_mask: FeatureMask = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """What each group of features adds to the score, on average over all coalitions of the other groups.

    `phi_i = sum over S without i of (v(S + i) - v(S)) / 2^(n - 1)`. These are the coefficients of the additive game
    that is nearest to v in the mean square over all coalitions; with `n_samples`, over coalitions drawn with their
    complements.

    Args:
        model: A module, any callable, or a view of one; no gradient is taken.
        x: The input, a tensor `(B, *S)` or a structure of them.
        baseline: What replaces features; see `attrfunc.core.score.baseline`.
        baselines: A distribution of baselines instead; see `attrfunc.perturbation.background`.
        n_samples: Number of coalitions that are drawn; `None` (or 2^n and more) evaluates all.
        generator: The source of randomness; see `attrfunc.core.loops.samples`.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        feature_mask: The n groups, at most 20 without `n_samples`; see `attrfunc.perturbation.feature_groups`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Attributions in units of the score, with the structure and shapes of `x` (or of the layer's activation; for a
        list of layers, a list). *Symmetry*, *dummy* and *linearity*, and in place of efficiency that two groups merged
        into one get what they got apart.

    Raises:
        ArgumentError: If an argument cannot be right, there are more than 20 groups, or too few samples.
        ModelError: If a score is not finite, or examples are not scored apart.

    Example:
        >>> x = torch.tensor([[1.0, 2.0, 3.0]])
        >>> af.banzhaf_values(lambda x: x.prod(1), x)
        tensor([[1.5000, 1.5000, 1.5000]])

    Reference:
        Hammer, Holzman: Approximations of Pseudo-Boolean Functions; Applications to Game Theory, ZOR 1992.
        https://doi.org/10.1007/BF01541028
    """
    options: dict[str, Any] = {"target": target, "feature_mask": feature_mask, "args": args, "kwargs": kwargs}
    game = open_games(model, x, baseline=baseline, baselines=baselines, chunk_size=chunk_size, **options)
    draws = Draws(x, 0.0, generator)
    if n_samples is None or positive("n_samples", n_samples) >= 2**game.players:
        require_few(game.players, "banzhaf_values with n_samples")
        values = game.values(all_coalitions(game.players), chunk_size=chunk_size, progress=progress)
        return game.spread(semivalues(values, banzhaf_weight))
    require_table(n_samples, game.players)
    drawn = draws.shared(torch.rand, (n_samples + 1) // 2, game.players) < 0.5
    coalitions = torch.stack([drawn, ~drawn], 1).flatten(0, 1)[:n_samples]
    values = game.values(coalitions, chunk_size=chunk_size, progress=progress)
    return game.spread(additive_fit(coalitions, values - values[:1]))
