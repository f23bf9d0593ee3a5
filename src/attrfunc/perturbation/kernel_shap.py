"""Kernel SHAP (Lundberg and Lee 2017)."""

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
from attrfunc.perturbation.feature_groups import FeatureMask
from attrfunc.perturbation.kernel_design import kernel_design
from attrfunc.perturbation.regression import efficient_fit
from attrfunc.perturbation.room import require_table

__all__ = ["kernel_shap"]


@method
@each_layer
def kernel_shap(
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
    """Shapley values as the solution of a weighted least squares problem over coalitions, some of which are drawn.

    The additive game phi that minimises `sum over S of (v(S) - sum of phi over S)^2 / (comb(n, s) s (n - s))`, among
    those that share the score's change. The outer sizes of coalitions are evaluated completely as far as `n_samples`
    goes, coalitions of the others are drawn with their complements; all 2^n of them give the exact values.

    Args:
        model: A module, any callable, or a view of one; no gradient is taken.
        x: The input, a tensor `(B, *S)` or a structure of them.
        n_samples: Number of coalitions, which the examples share: at least n + 2; from 2 n + 2 on they come with their
            complements. Ten times n and more make sense.
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
        list of layers, a list). *Efficiency* by constraint, *linearity*; *symmetry* and *dummy* as they converge. They
        are linear in the values of the game, and gradients pass through them.

    Raises:
        ArgumentError: If an argument cannot be right, or the coalitions are too few.
        ModelError: If a score is not finite, or examples are not scored apart.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(9, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
        >>> generator = torch.Generator().manual_seed(0)
        >>> af.kernel_shap(model, torch.ones(5, 9), n_samples=90, target=1, generator=generator).shape
        torch.Size([5, 9])

    Reference:
        Lundberg, Lee: A Unified Approach to Interpreting Model Predictions, NeurIPS 2017. Covert, Lee: Improving
        KernelSHAP, AISTATS 2021.
        https://arxiv.org/abs/1705.07874
    """
    options: dict[str, Any] = {"target": target, "feature_mask": feature_mask, "args": args, "kwargs": kwargs}
    game = open_games(model, x, baseline=baseline, baselines=baselines, chunk_size=chunk_size, **options)
    require_table(positive("n_samples", n_samples), game.players)
    drawn, weights = kernel_design(game.players, n_samples, Draws(x, 0.0, generator))
    ends = torch.tensor([[False], [True]]).expand(-1, game.players)
    values = game.values(torch.cat([ends, drawn]), chunk_size=chunk_size, progress=progress)
    gains = values[1:] - values[:1]
    return game.spread(efficient_fit(drawn, weights, gains[1:], gains[0]))
