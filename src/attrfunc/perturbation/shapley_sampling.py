"""Shapley values from sampled permutations (Castro et al. 2009)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from attrfunc.core.errors import ArgumentError, positive
from attrfunc.core.loops.progress import Progress
from attrfunc.core.loops.samples import Draws, distribution
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.method import each_layer, method
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model
from attrfunc.perturbation.background import require_one
from attrfunc.perturbation.feature_groups import FeatureMask
from attrfunc.perturbation.game import open_game
from attrfunc.perturbation.walks import Walks, mean_walk

__all__ = ["shapley_sampling", "shapley_sampling_error"]


@method
@each_layer
def shapley_sampling(
    model: Model,
    x: Any,
    *,
    baseline: Baseline = None,
    baselines: Any = None,
    n_samples: int = 25,
    design: str = "antithetic",
    tolerance: float | None = None,
    generator: torch.Generator | None = None,
    target: Target = None,
    feature_mask: FeatureMask = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """What each group of features adds to the score, on average over sampled orders in which the groups enter.

    `phi_i = mean over permutations of v(groups up to i) - v(groups before i)`, where v(S) is the score with the groups
    in S present and the others replaced. A permutation takes n - 1 evaluations beside the two ends.

    Args:
        model: A module, any callable, or a view of one; no gradient is taken.
        x: The input, a tensor `(B, *S)` or a structure of them.
        baseline: What replaces features; see `attrfunc.core.score.baseline`.
        baselines: A distribution instead, from which each permutation (or pair) and example draws one; in the forms of
            `attrfunc.core.loops.samples`. Attributions then explain the score's change from its mean.
        n_samples: Number of permutations, which the examples share.
        design: How they are drawn, `"antithetic"`, `"orthogonal"` or `"random"`; see
            `attrfunc.perturbation.permutations`.
        tolerance: Stop where no standard error is above this, in units of the score, from the tenth draw on (a pair is
            one); `n_samples` is the most then, with a warning if it is not enough. `torch.compile` does not take it.
        generator: The source of randomness; see `attrfunc.core.loops.samples`.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        feature_mask: The n groups; see `attrfunc.perturbation.feature_groups`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report permutations; see `attrfunc.core.loops.chunks`.

    Returns:
        Attributions in units of the score, with the structure and shapes of `x` (or of the layer's activation; for a
        list of layers, a list). *Efficiency* for any number of permutations; *dummy*, *linearity*; *symmetry* as they
        converge. `shapley_sampling_error` gives their standard errors.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If a score is not finite, or examples are not scored apart.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(9, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
        >>> generator = torch.Generator().manual_seed(0)
        >>> af.shapley_sampling(model, torch.ones(5, 9), n_samples=20, target=1, generator=generator).shape
        torch.Size([5, 9])

    Reference:
        Castro, Gomez, Tejada: Polynomial Calculation of the Shapley Value Based on Sampling, Computers & OR 2009.
        Mitchell, Cooper, Frank, Holmes: Sampling Permutations for Shapley Value Estimation, JMLR 2022.
        https://doi.org/10.1016/j.cor.2008.04.004
        https://arxiv.org/abs/2104.12199
    """
    score: dict[str, Any] = {"target": target, "feature_mask": feature_mask, "args": args, "kwargs": kwargs}
    score["chunk_size"] = chunk_size
    walks = _walks(model, x, baseline, baselines, (n_samples, design, generator), **score)
    mean, _ = mean_walk(walks, tolerance=tolerance, chunk_size=chunk_size, progress=progress)
    return walks.game.spread(mean.to(walks.dtype))


@method
@each_layer
def shapley_sampling_error(
    model: Model,
    x: Any,
    *,
    baseline: Baseline = None,
    baselines: Any = None,
    n_samples: int = 25,
    design: str = "antithetic",
    tolerance: float | None = None,
    generator: torch.Generator | None = None,
    target: Target = None,
    feature_mask: FeatureMask = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """The standard errors of what `shapley_sampling` returns for the same arguments and state of the generator.

    Args:
        model: The model or view.
        x: The input.
        baseline: What replaces features.
        baselines: A distribution of baselines instead.
        n_samples: Number of permutations.
        design: How they are drawn.
        tolerance: Where to stop.
        generator: The source of randomness, in the state that `shapley_sampling` was given it in.
        target: The target.
        feature_mask: The groups.
        args: Further positional arguments of the model.
        kwargs: Keyword arguments of the model.
        chunk_size: Rows evaluated at once.
        progress: Whether and how to report.

    Returns:
        Standard errors in units of the score, with the structure and shapes of `x`: the standard deviation among
        permutations, or pairs of them, over the square root of their number. A last one without its pair is left out.

    Raises:
        ArgumentError: If an argument cannot be right, or there are not two permutations, or pairs, to compare.

    Example:
        >>> x, generator = torch.ones(1, 3), torch.Generator().manual_seed(0)
        >>> error = af.shapley_sampling_error(lambda x: x[:, 0] * x[:, 1] + x[:, 2], x, generator=generator)
        >>> error.max() < 1e-6  # pairs of reverses are exact for what two groups do together
        tensor(True)
    """
    score: dict[str, Any] = {"target": target, "feature_mask": feature_mask, "args": args, "kwargs": kwargs}
    score["chunk_size"] = chunk_size
    walks = _walks(model, x, baseline, baselines, (n_samples, design, generator), **score)
    _, error = mean_walk(walks, tolerance=tolerance, chunk_size=chunk_size, progress=progress)
    if error is None:
        least = 2 * walks.together
        raise ArgumentError("n_samples", str(n_samples), f"at least {least} to compare", f"Pass n_samples={least}.")
    return walks.game.spread(error.to(walks.dtype))


def _walks(
    model: Model,
    x: Any,
    baseline: Baseline,
    baselines: Any,
    draws: tuple[int, str, torch.Generator | None],
    **score: Any,
) -> Walks:
    require_one(baseline, baselines)
    n_samples, design, generator = draws
    game = open_game(model, x, baseline=baseline, **score)
    samples = None if baselines is None else distribution(baselines, x)
    return Walks(game, Draws(x, 0.0, generator), samples, positive("n_samples", n_samples), design)
