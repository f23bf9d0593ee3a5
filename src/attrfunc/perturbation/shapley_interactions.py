"""Shapley interactions: what groups of features do together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe, positive
from attrfunc.core.loops.progress import Progress
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.method import each_layer, method
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model
from attrfunc.perturbation.background import open_games
from attrfunc.perturbation.coalitions import all_coalitions, require_few
from attrfunc.perturbation.feature_groups import FeatureMask
from attrfunc.perturbation.interaction_indices import INDICES, interactions
from attrfunc.perturbation.room import require_room

__all__ = ["shapley_interactions"]


@method
@each_layer
def shapley_interactions(
    model: Model,
    x: Any,
    *,
    order: int = 2,
    index: str = "k-SII",
    baseline: Baseline = None,
    baselines: Any = None,
    target: Target = None,
    feature_mask: FeatureMask = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> tuple[Tensor, ...]:
    """What sets of up to `order` groups of features add to the score together, beyond what their parts add.

    All indices come from one evaluation of the 2^n coalitions:

    * `"k-SII"`: Shapley interactions, shared with the smaller sets so that they are efficient.
    * `"SII"`: the mean interaction of a set in the presence of others; those of single groups are Shapley values.
    * `"STII"` (Shapley-Taylor): sets below the order get what they do alone, the largest share all the rest.
    * `"FSII"`: the polynomial of this degree that is nearest to the game in the sense of kernel SHAP.
    * `"BII"`: as SII, with the weights of Banzhaf values.

    Args:
        model: A module, any callable, or a view of one; no gradient is taken.
        x: The input, a tensor `(B, *S)` or a structure of them.
        order: The largest number of groups in a set, k.
        index: The index.
        baseline: What replaces features; see `attrfunc.core.score.baseline`.
        baselines: A distribution of baselines instead; see `attrfunc.perturbation.background`.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        feature_mask: The n groups, at most 20; see `attrfunc.perturbation.feature_groups`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        A tuple of `(B, n)`, `(B, n, n)`, ... up to k dimensions of groups, in units of the score: symmetric, zero where
        a group repeats. Groups are numbered as `owen_values` does. *Efficiency* of k-SII, STII and FSII: over sets,
        each counted once, they sum to the score's change; *symmetry*, *dummy*, *linearity*.

    Raises:
        ArgumentError: If an argument cannot be right, or there are more than 20 groups.
        ModelError: If a score is not finite, or examples are not scored apart.

    Example:
        >>> single, pairs = af.shapley_interactions(lambda x: x[:, 0] * x[:, 1] + x[:, 2], torch.ones(1, 3))
        >>> single, pairs[0, 0]
        (tensor([[0., 0., 1.]]), tensor([0., 1., 0.]))

    Reference:
        Bord, von Luxburg: From Shapley Values to Generalized Additive Models and back, AISTATS 2023. Sundararajan,
        Dhamdhere, Agarwal: The Shapley Taylor Interaction Index, ICML 2020. Tsai, Yeh, Ravikumar: Faith-Shap: The
        Faithful Shapley Interaction Index, JMLR 2023.
        https://arxiv.org/abs/2209.04012
        https://arxiv.org/abs/1902.05622
        https://arxiv.org/abs/2203.00870
    """
    if index not in INDICES:
        raise ArgumentError("index", describe(index), f"one of {', '.join(INDICES)}", "k-SII is the default.")
    options: dict[str, Any] = {"target": target, "feature_mask": feature_mask, "args": args, "kwargs": kwargs}
    game = open_games(model, x, baseline=baseline, baselines=baselines, chunk_size=chunk_size, **options)
    if positive("order", order) > game.players:
        raise ArgumentError("order", str(order), f"at most the {game.players} groups of features", "Lower it.")
    require_few(game.players, "feature masks that join some of them: interactions are computed exactly only")
    _require_room(order, game.players, game.rows)
    values = game.values(all_coalitions(game.players), chunk_size=chunk_size, progress=progress)
    return tuple(found.to(game.score_dtype) for found in interactions(values, index, order))


def _require_room(order: int, players: int, rows: int) -> None:
    """Refuse tensors of interactions that no memory holds: they take some ten numbers for each of their own."""
    require_room(
        "order",
        f"{order}: a tensor of {players}^{order} interactions for each of {rows} example(s)",
        10 * rows * players**order,
        "Lower it, attribute fewer examples at a time, or make fewer groups with feature_mask.",
    )
