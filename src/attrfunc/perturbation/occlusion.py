"""Occlusion (Zeiler and Fergus 2014)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from attrfunc.core.errors import ModelError
from attrfunc.core.loops.progress import Progress
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.method import each_layer, method
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model
from attrfunc.perturbation.game import open_game
from attrfunc.perturbation.precision import wide
from attrfunc.perturbation.windows import Extent, Windows, per_tensor

__all__ = ["occlusion"]


@method
@each_layer
def occlusion(
    model: Model,
    x: Any,
    *,
    window: Extent,
    stride: Extent | None = None,
    baseline: Baseline = None,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """What the score loses when a window is replaced by the baseline, as the window slides over the input.

    The mean of `score(x) - score(x with the window replaced)` over the windows that cover an element.

    Args:
        model: A module, any callable, or a view of one; no gradient is taken.
        x: The input, a tensor `(B, *S)` or a structure of them; one window at a time is replaced, in one tensor.
        window: The window's extent; see `attrfunc.perturbation.windows`.
        stride: How far it moves from place to place.
        baseline: What replaces features; see `attrfunc.core.score.baseline`.
        target: Which output is attributed; see `attrfunc.core.score.target`. `batch_score` makes one score of a
            whole batch.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Attributions in units of the score, with the structure and shapes of `x` (or of the layer's activation; for a
        list of layers, a list). *Sensitivity*: an element gets zero if the score depends on no window that covers it.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If a score is not finite, or examples are not scored apart.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2))
        >>> images = torch.randn(5, 3, 8, 8)
        >>> af.occlusion(model, images, target=1, window=(4, 4), stride=2).shape
        torch.Size([5, 3, 8, 8])

    Reference:
        Zeiler, Fergus: Visualizing and Understanding Convolutional Networks, ECCV 2014.
        https://arxiv.org/abs/1311.2901
    """
    game = open_game(model, x, baseline=baseline, target=target, args=args, kwargs=kwargs, chunk_size=chunk_size)
    if not game.examples_first:
        raise ModelError(
            "windows slide over examples, but these are not apart: their scores depend on each other, or the "
            "layer's activation does not have them in dimension 0. Choose another layer, or feature_ablation with a "
            "feature_mask."
        )
    given = [per_tensor(*pair, game.end, game.point.restored) for pair in (("window", window), ("stride", stride))]
    windows = [Windows.over(*extent) for extent in zip(game.end, *given, strict=True)]
    counts = [part.count for part in windows]
    starts = [sum(counts[:number]) for number in range(len(counts))]

    def present(chosen: slice) -> list[Tensor]:
        # Number 0 is the input as it is.
        numbers = range(chosen.start - 1, chosen.stop - 1)
        pairs = zip(windows, starts, strict=True)
        return [~part.masks([number - start for number in numbers]) for part, start in pairs]

    scores = wide(game.evaluate(1 + sum(counts), present, chunk_size=chunk_size, progress=progress))
    losses = (scores[0] - scores[1:]).T.split(counts, dim=1)
    averages = [part.averaged(loss) for part, loss in zip(windows, losses, strict=True)]
    return game.point.restored([game.typed(*pair) for pair in zip(averages, game.end, strict=True)])
