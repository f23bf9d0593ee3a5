"""LIME (Ribeiro et al. 2016)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe, positive
from attrfunc.core.loops.progress import Progress
from attrfunc.core.loops.samples import Draws
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.method import each_layer, method
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model
from attrfunc.perturbation.coalitions import all_coalitions
from attrfunc.perturbation.feature_groups import FeatureMask
from attrfunc.perturbation.game import Game, open_game
from attrfunc.perturbation.linear_models import LinearModel, ridge
from attrfunc.perturbation.room import require_table
from attrfunc.perturbation.similarity import Similarity, exponential_kernel, weigh

__all__ = ["Sampling", "fitted", "lime"]

# Numbers that are drawn at once.
BLOCK = 2**22

Sampling = float | Callable[[int, int, torch.Generator | None], Tensor]


@method
@each_layer
def lime(
    model: Model,
    x: Any,
    *,
    baseline: Baseline = None,
    target: Target = None,
    feature_mask: FeatureMask = None,
    n_samples: int = 1000,
    similarity: Similarity | None = None,
    sampling: Sampling = 0.5,
    linear_model: LinearModel | None = None,
    generator: torch.Generator | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """The coefficients of a linear model of the score, fitted to random coalitions of groups near the input.

    With `ridge`: `argmin_c sum_z similarity(z) (score(z) - a - z . c)^2 + alpha |c|^2` over coalitions z, which say
    for each group whether it is present (1) or replaced by the baseline (0).

    Args:
        model: A module, any callable, or a view of one; no gradient is taken.
        x: The input, a tensor `(B, *S)` or a structure of them; integers, too.
        baseline: What replaces features; see `attrfunc.core.score.baseline`.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        feature_mask: The groups; see `attrfunc.perturbation.feature_groups`.
        n_samples: Number of coalitions, the same for all examples.
        similarity: How much each counts; see `attrfunc.perturbation.similarity`. `None` is `exponential_kernel()`.
        sampling: The probability that a group is present, or `(n_samples, n, generator) -> coalitions`, booleans
            `(K, n)`. With 1/2, all coalitions are taken once if they are no more than `n_samples`.
        linear_model: What is fitted; see `attrfunc.perturbation.linear_models`. `None` is `ridge(1.0)`.
        generator: The source of randomness; see `attrfunc.core.loops.samples`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Attributions in units of the score, with the structure and shapes of `x` (or of the layer's activation; for a
        list of layers, a list): each element has the coefficient of its group. *Linearity*: those of a sum of scores
        are the sum, with `ridge` and `least_squares`; the latter is exact where the score adds up over groups.

    Raises:
        ArgumentError: If an argument cannot be right, or least squares has no unique solution.
        ModelError: If a score is not finite, or examples are not scored apart.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2))
        >>> x = torch.ones(5, 4)
        >>> af.lime(model, x, target=1, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([5, 4])

    Reference:
        Ribeiro, Singh, Guestrin: "Why Should I Trust You?" Explaining the Predictions of Any Classifier, KDD 2016.
        https://arxiv.org/abs/1602.04938
    """
    game = open_game(
        model,
        x,
        baseline=baseline,
        target=target,
        feature_mask=feature_mask,
        args=args,
        kwargs=kwargs,
        chunk_size=chunk_size,
    )
    coalitions = _coalitions(game, n_samples, sampling, generator)
    return game.spread(fitted(game, coalitions, similarity, linear_model, chunk_size=chunk_size, progress=progress))


def fitted(
    game: Game,
    coalitions: Tensor,
    similarity: Similarity | None,
    linear_model: LinearModel | None,
    *,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Tensor:
    """The coefficients `(B, n)` of a linear model of the scores of coalitions; see `lime`."""
    weights = weigh(similarity or exponential_kernel(), coalitions, game)
    scores = game.values(coalitions, chunk_size=chunk_size, progress=progress)
    coefficients = (linear_model or ridge())(coalitions, scores, weights)
    if not isinstance(coefficients, Tensor) or coefficients.shape != (game.rows, game.players):
        raise ArgumentError(
            "linear_model",
            f"a callable that gives {describe(coefficients)}",
            f"coefficients of shape ({game.rows}, {game.players})",
            "Give one for each example and group.",
        )
    return coefficients


def _coalitions(game: Game, n_samples: int, sampling: Sampling, generator: torch.Generator | None) -> Tensor:
    count, players, device = positive("n_samples", n_samples), game.players, game.end[0].device
    require_table(count, players)
    draws = Draws(game.problem.inputs.x, 0.0, generator)
    if callable(sampling):
        drawn = sampling(count, players, generator)
        if isinstance(drawn, Tensor) and drawn.dtype == torch.bool and drawn.dim() == 2 and drawn.shape[1] == players:
            return drawn.to(device)
        raise ArgumentError(
            "sampling",
            f"a callable that gives {describe(drawn)}",
            f"booleans of shape (K, {players})",
            "Say for each coalition and group if it is present.",
        )
    if not isinstance(sampling, int | float) or not 0 < sampling < 1:
        raise ArgumentError(
            "sampling", describe(sampling), "a probability between 0 and 1, or a callable", "Pass sampling=0.5."
        )
    if sampling == 0.5 and 2**players <= count:
        return all_coalitions(players).to(device)
    most = max(1, BLOCK // max(players, 1))
    blocks = [min(most, count - done) for done in range(0, count, most)]
    return torch.cat([draws.shared(torch.rand, block, players) < sampling for block in blocks]).to(device)
