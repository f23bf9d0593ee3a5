"""Ablation-CAM (Ramaswamy and Desai 2020): a class activation map without gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.loops.plan import planned
from attrfunc.core.loops.progress import Progress
from attrfunc.core.model.sites import Layers, Side
from attrfunc.core.score.baseline import activation_baseline
from attrfunc.core.score.method import method, open_problem
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model, View, as_view
from attrfunc.gradient.cam_layers import Reshape, at_layers, channels_first, require_callable
from attrfunc.perturbation.feature_groups import NumberedMask
from attrfunc.perturbation.game import Game
from attrfunc.perturbation.precision import wide
from attrfunc.perturbation.soft_masks import require_apart

__all__ = ["ablation_cam"]


@method
def ablation_cam(
    model: Model,
    x: Any,
    *,
    layer: Layers,
    target: Target = None,
    relu: bool = False,
    reshape: Reshape | None = None,
    side: Side = "output",
    call: int | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """The channels of a layer's activation, weighted by what the score loses without each of them.

    `sum over channels of weight * activation`, where the weight is `score - score with the channel set to zero`. The
    paper divides it by the score: one number for each example, which is left out, since it is near zero for some and
    turns the map over where it is negative.

    Args:
        model: A module, any callable, or a view of one by `af.bind` or `af.neuron`; no gradient is taken.
        x: The input, a tensor `(B, *S)` or a structure of them; integers, too.
        layer: The layer, as for `af.grad_cam`; its activation is `(B, C, *S)`. A list gives the list of their maps.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        relu: Cut off what is negative, as the paper does for display.
        reshape: Brings an activation that is not `(B, C, *S)` into this form; see `af.grad_cam`. What it drops stays as
            it is.
        side: The layer's `"output"` or `"input"`; see `af.layer`.
        call: Which call of a layer that runs several times; see `af.layer`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`. There is a row for each channel, in which
            only what follows the layer matters.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Maps `(B, 1, *S)` in units of the score times the activation, in the layer's resolution (see
        `af.viz.interpolate`); a tuple where the layer gives one. *Sensitivity*: a channel that the score does not
        depend on adds nothing.

    Raises:
        ArgumentError: If an argument cannot be right, or the activation is not `(B, C, *S)`.
        ModelError: If the layer does not run once, a score is not finite, or examples are not scored apart.

    Example:
        >>> head = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 5))
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU(), *head)
        >>> af.ablation_cam(model, torch.rand(2, 3, 17, 17), layer="1", target=4).shape
        torch.Size([2, 1, 8, 8])

    Reference:
        Ramaswamy, Desai: Ablation-CAM: Visual Explanations for Deep Convolutional Network via Gradient-free
        Localization, WACV 2020.
        https://doi.org/10.1109/WACV45572.2020.9093360
    """
    view = at_layers(as_view(model), layer, side, call)
    require_callable(reshape)

    def attribute(part: View) -> Any:
        problem = planned(open_problem(part, x, target, args, kwargs, differentiate=False), chunk_size)
        start, end = problem.endpoints(activation_baseline())
        require_apart(problem, end, "maps")
        place = f"the {side} of layer {end.parts[0].name!r}"
        activations = [channels_first(leaf, reshape, problem.inputs.rows, place) for leaf in end.leaves]
        ids, count = _channels(end.leaves, activations, reshape)
        game = Game(problem, start, end, NumberedMask(end.restored(ids), count), False)
        scores = wide(game.without_each(chunk_size=chunk_size, progress=progress))
        losses, maps, first = (scores[0] - scores[1:]).T, [], 0
        for activation in activations:
            weights = losses[:, first : first + activation.shape[1]].to(activation.dtype)
            first += activation.shape[1]
            heat = torch.einsum("bc,bc...->b...", weights, activation)[:, None]
            maps.append(heat.relu() if relu else heat)
        return end.restored(maps)

    maps = [attribute(part) for part in view.each()]
    return maps if view.place.several else maps[0]


def _channels(leaves: list[Tensor], activations: list[Tensor], reshape: Reshape | None) -> tuple[list[Tensor], int]:
    """The channel of each element of a layer's tensors, numbered through, and how many there are.

    What `reshape` drops has the last number: it is a group that has no map.
    """
    ids, count = [], 0
    for leaf, activation in zip(leaves, activations, strict=True):
        channels = activation.shape[1]
        numbers = torch.arange(1, channels + 1, dtype=torch.float64, device=leaf.device)
        numbers = numbers.view(1, -1, *[1] * (activation.dim() - 2))
        if reshape is not None:  # what moves numbers around has them moved back by its derivative
            blank = torch.zeros(leaf.shape, dtype=torch.float64, device=leaf.device)
            _, pull = torch.func.vjp(reshape, blank)  # type: ignore[misc]  # three values only with has_aux
            numbers = pull(numbers.expand(activation.shape))[0][:1]
        ids.append(torch.where(numbers > 0, numbers.long() - 1 + count, -1))
        count += channels
    return [torch.where(part < 0, count, part) for part in ids], count + 1
