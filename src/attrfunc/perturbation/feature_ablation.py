"""Feature ablation (Zeiler and Fergus 2014)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrfunc.core.loops.progress import Progress
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.method import each_layer, method
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model
from attrfunc.perturbation.feature_groups import FeatureMask
from attrfunc.perturbation.game import open_game
from attrfunc.perturbation.precision import wide

__all__ = ["feature_ablation"]


@method
@each_layer
def feature_ablation(
    model: Model,
    x: Any,
    *,
    baseline: Baseline = None,
    target: Target = None,
    feature_mask: FeatureMask = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """What the score loses when one group of features is replaced by the baseline.

    `score(x) - score(x with the group replaced)`, given to every element of the group.

    Args:
        model: A module, any callable, or a view of one; no gradient is taken.
        x: The input, a tensor `(B, *S)` or a structure of them; integers, too.
        baseline: What replaces features; see `attrfunc.core.score.baseline`. At a layer, `activation_baseline()` is
            zeros.
        target: Which output is attributed; see `attrfunc.core.score.target`. `batch_score` makes one score of a
            whole batch.
        feature_mask: The groups; see `attrfunc.perturbation.feature_groups`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Attributions in units of the score, with the structure and shapes of `x` (or of the layer's activation; for a
        list of layers, a list). *Sensitivity*: a group that the score does not depend on gets zero, and one that alone
        differs from the baseline gets the whole change of the score.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If a score is not finite, or examples are not scored apart.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2))
        >>> x = torch.ones(5, 4)
        >>> af.feature_ablation(model, x, target=1, feature_mask=torch.tensor([[0, 0, 1, 1]])).shape
        torch.Size([5, 4])

    Reference:
        Zeiler, Fergus: Visualizing and Understanding Convolutional Networks, ECCV 2014.
        https://arxiv.org/abs/1311.2901
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
    scores = wide(game.without_each(chunk_size=chunk_size, progress=progress))
    return game.spread((scores[0] - scores[1:]).T)
