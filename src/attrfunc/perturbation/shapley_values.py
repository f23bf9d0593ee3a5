"""Shapley values, exactly (Shapley 1953)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrfunc.core.loops.progress import Progress
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.method import each_layer, method
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model
from attrfunc.perturbation.background import open_games
from attrfunc.perturbation.coalitions import all_coalitions, require_few
from attrfunc.perturbation.feature_groups import FeatureMask
from attrfunc.perturbation.semivalues import semivalues, shapley_weight

__all__ = ["shapley_values"]


@method
@each_layer
def shapley_values(
    model: Model,
    x: Any,
    *,
    baseline: Baseline = None,
    baselines: Any = None,
    target: Target = None,
    feature_mask: FeatureMask = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """What each group of features adds to the score, on average over all orders in which the groups may enter.

    `phi_i = sum over S without i of (v(S + i) - v(S)) / (n comb(n - 1, |S|))`, where v(S) is the score with the groups
    in S present and the others replaced. Each of the 2^n coalitions is evaluated once.

    Args:
        model: A module, any callable, or a view of one; no gradient is taken.
        x: The input, a tensor `(B, *S)` or a structure of them.
        baseline: What replaces features; see `attrfunc.core.score.baseline`.
        baselines: A distribution of baselines instead; see `attrfunc.perturbation.background`.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        feature_mask: The n groups, at most 20; see `attrfunc.perturbation.feature_groups`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Attributions in units of the score, with the structure and shapes of `x` (or of the layer's activation; for a
        list of layers, a list); every element has the value of its group. *Efficiency* (over groups they sum to the
        score's change from the baseline), *symmetry*, *dummy* and *linearity*, and no other value has all four.

    Raises:
        ArgumentError: If an argument cannot be right, or there are more than 20 groups.
        ModelError: If a score is not finite, or examples are not scored apart.

    Example:
        >>> x = torch.tensor([[1.0, 2.0, 3.0]])
        >>> af.shapley_values(lambda x: x[:, 0] * x[:, 1] + x[:, 2], x)
        tensor([[1., 1., 3.]])

    Reference:
        Shapley: A Value for n-Person Games, Contributions to the Theory of Games II, 1953.
        https://doi.org/10.1515/9781400881970-018
    """
    options: dict[str, Any] = {"target": target, "feature_mask": feature_mask, "args": args, "kwargs": kwargs}
    game = open_games(model, x, baseline=baseline, baselines=baselines, chunk_size=chunk_size, **options)
    require_few(game.players, "shapley_sampling or kernel_shap")
    values = game.values(all_coalitions(game.players), chunk_size=chunk_size, progress=progress)
    return game.spread(semivalues(values, shapley_weight))
