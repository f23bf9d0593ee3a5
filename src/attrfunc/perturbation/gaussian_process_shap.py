"""Shapley values of a Gaussian process that is fitted to evaluated coalitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from attrfunc.core.errors import ArgumentError, positive
from attrfunc.core.loops.progress import Progress
from attrfunc.core.loops.samples import Draws
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.method import each_layer, method
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model
from attrfunc.perturbation.background import open_games
from attrfunc.perturbation.feature_groups import FeatureMask
from attrfunc.perturbation.gaussian_process import posterior_shapley
from attrfunc.perturbation.kernel_design import kernel_design
from attrfunc.perturbation.regression import efficient_fit

__all__ = ["gaussian_process_shap"]

# The system of each example has half as many equations.
MOST = 2**13


@method
@each_layer
def gaussian_process_shap(
    model: Model,
    x: Any,
    *,
    n_samples: int,
    baseline: Baseline = None,
    baselines: Any = None,
    generator: torch.Generator | None = None,
    target: Target = None,
    feature_mask: FeatureMask = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """Shapley values of a surrogate of the game, a Gaussian process that is fitted to some coalitions.

    `phi = Shapley values of E[v | v(S) for evaluated S]`, in closed form. The process expects interactions of few and
    relevant groups; see `attrfunc.perturbation.gaussian_process`. Each group alone and all without it are evaluated,
    further outer sizes as far as `n_samples` goes, and others that are drawn evenly, with their complements. On small
    networks errors are some 0.3 to 0.8 of kernel SHAP's, on votes and other rough games about the same, on games
    without any structure larger; with 2 n + 2 coalitions it is kernel SHAP. Games of interactions of pairs are exact,
    and all games if all 2^n coalitions are evaluated.

    Args:
        model: A module, any callable, or a view of one; no gradient is taken.
        x: The input, a tensor `(B, *S)` or a structure of them.
        n_samples: Number of coalitions, which the examples share: from 2 n + 2 to 8192, or all of them. Half as many
            equations are solved for each example.
        baseline: What replaces features; see `attrfunc.core.score.baseline`.
        baselines: A distribution of baselines instead; see `attrfunc.perturbation.background`.
        generator: The source of randomness; see `attrfunc.core.loops.samples`.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        feature_mask: The n groups; see `attrfunc.perturbation.feature_groups`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Attributions in units of the score, with the structure and shapes of `x` (or of the layer's activation; for a
        list of layers, a list). *Efficiency* by constraint; *symmetry*, *dummy* and *linearity* as they converge: who
        is relevant is read from the values, so they are not linear in the game. Gradients pass through them.

    Raises:
        ArgumentError: If an argument cannot be right, or the coalitions are too few or too many.
        ModelError: If a score is not finite, or examples are not scored apart.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(9, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
        >>> generator = torch.Generator().manual_seed(0)
        >>> af.gaussian_process_shap(model, torch.ones(5, 9), n_samples=90, target=1, generator=generator).shape
        torch.Size([5, 9])

    Reference:
        Rasmussen, Williams: Gaussian Processes for Machine Learning, 2006. Witter et al.: Regression-adjusted Monte
        Carlo Estimators for Shapley Values and Probabilistic Values, 2025 (Shapley values of surrogates).
        https://gaussianprocess.org/gpml/
        https://arxiv.org/abs/2506.11849
    """
    options: dict[str, Any] = {"target": target, "feature_mask": feature_mask, "args": args, "kwargs": kwargs}
    game = open_games(model, x, baseline=baseline, baselines=baselines, chunk_size=chunk_size, **options)
    _check(positive("n_samples", n_samples), game.players)
    drawn, weights = kernel_design(
        game.players, max(n_samples, 2 * game.players + 2), Draws(x, 0.0, generator), even=True
    )
    ends = torch.tensor([[False], [True]]).expand(-1, game.players)
    values = game.values(torch.cat([ends, drawn]), chunk_size=chunk_size, progress=progress)
    gains = values[1:] - values[:1]
    # Least squares are exact where everything is known, and where only the outer sizes are they share evenly what these
    # do not explain: a process has nothing to learn from.
    if len(drawn) in (2 * game.players, 2**game.players - 2):
        return game.spread(efficient_fit(drawn, weights, gains[1:], gains[0]))
    half, (one, other) = drawn[: len(drawn) // 2], gains[1:].chunk(2)
    return game.spread(posterior_shapley(half, one, other, gains[0]))


def _check(n_samples: int, players: int) -> None:
    least = min(2 * players + 2, 2**players)
    if n_samples < least:
        raise ArgumentError(
            "n_samples",
            str(n_samples),
            f"at least {least} coalitions for {players} groups of features: each alone, and all without it",
            "Raise n_samples, or make fewer groups; kernel_shap takes n + 2 for n groups.",
        )
    if MOST < n_samples < 2**players:
        raise ArgumentError(
            "n_samples",
            str(n_samples),
            f"at most {MOST} coalitions, or all: the time of a solution grows with their third power",
            "Use kernel_shap, whose time is linear in them.",
        )
