"""Score-CAM (Wang et al. 2020): a class activation map without gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError
from attrfunc.core.loops.plan import planned
from attrfunc.core.loops.progress import Progress
from attrfunc.core.model.sites import Layers, Side
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.method import method, open_problem
from attrfunc.core.score.point import Point
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model, as_view
from attrfunc.gradient.cam_layers import Reshape, at_layers, channels_first, require_callable
from attrfunc.perturbation.precision import wide
from attrfunc.perturbation.soft_masks import masked_scores, require_apart
from attrfunc.viz.interpolate import interpolate

__all__ = ["score_cam"]

SMOOTH = {1: "linear", 2: "bilinear", 3: "trilinear"}


@method
def score_cam(
    model: Model,
    x: Any,
    *,
    layer: Layers,
    baseline: Baseline = None,
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
    """The channels of a layer's activation, weighted by the score of what each of them lets through.

    `sum over channels of weight * activation`, where the weights are the softmax, over the channels, of the scores of
    `baseline + mask * (x - baseline)`. The mask of a channel is its activation in the resolution of the input, shifted
    and scaled to [0, 1]. The score of the baseline, which the paper subtracts, cancels in the softmax.

    Args:
        model: A module, any callable, or a view of one by `af.bind` or `af.neuron`; no gradient is taken.
        x: The input, a tensor `(B, C, *S)` or a structure of them with as many dimensions as the activation.
        layer: The layer, as for `af.grad_cam`; its activation is `(B, C, *S)`. A list gives the list of their maps.
        baseline: What is seen where a mask is 0; see `attrfunc.core.score.baseline`.
        target: Which output is attributed; see `attrfunc.core.score.target`. A softmax of logits that differ by much
            chooses one channel: take probabilities, `target=lambda output: output.softmax(1)[:, 3]`, for more.
        relu: Cut off what is negative, as the paper does for display.
        reshape: Brings an activation that is not `(B, C, *S)` into this form; see `af.grad_cam`.
        side: The layer's `"output"` or `"input"`; see `af.layer`.
        call: Which call of a layer that runs several times; see `af.layer`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`. There is a row for each channel.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Maps `(B, 1, *S)` in units of the activation, of which they are a mean: no sum of theirs is a score. In the
        layer's resolution (see `af.viz.interpolate`); a tuple where the layer gives one. *Symmetry* of channels:
        those whose masks have equal scores weigh alike; it satisfies no axiom of features.

    Raises:
        ArgumentError: If an argument cannot be right, or the activation does not fit the input.
        ModelError: If the layer does not run once, a score is not finite, or examples are not scored apart.

    Example:
        >>> head = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 5))
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU(), *head)
        >>> af.score_cam(model, torch.rand(2, 3, 17, 17), layer="1", target=4).shape
        torch.Size([2, 1, 8, 8])

    Reference:
        Wang, Wang, Du, Yang, Zhang, Ding, Mardziel, Hu: Score-CAM: Score-Weighted Visual Explanations for Convolutional
        Neural Networks, CVPR Workshops 2020.
        https://arxiv.org/abs/1910.01279
    """
    view = at_layers(as_view(model), layer, side, call)
    require_callable(reshape)
    opened = open_problem(model, x, target, args, kwargs, differentiate=False)
    problem = planned(opened, chunk_size, sites=view.sites)
    start, end = problem.endpoints(baseline)
    require_apart(problem, end, "maps")
    # The layer is looked at in the model as it is: folded convolutions give what follows their batch norms.
    point = replace(problem, view=replace(view, differentiated=False), twin=problem.twin.folded(())).point()
    maps = []
    for number, values in enumerate(point.leaves):
        place = f"the {side} of layer {point.part_of(number).name!r}"
        activation = channels_first(values, reshape, problem.inputs.rows, place)
        _require_fit(end, activation)

        def masks(rows: slice, chosen: slice, activation: Tensor = activation) -> list[Tensor]:
            channels = activation[rows, chosen]
            return [_as_masks(channels, leaf) for leaf in end.leaves]

        count = activation.shape[1]
        scores = masked_scores(problem, start, end, count, masks, chunk_size=chunk_size, progress=progress)
        weights = wide(scores).softmax(0).T.to(activation.dtype)
        heat = torch.einsum("bc,bc...->b...", weights, activation)[:, None]
        maps.append(heat.relu() if relu else heat)
    return point.restored(maps)


def _as_masks(channels: Tensor, leaf: Tensor) -> Tensor:
    """Channels `(B, K, *S)` as masks `(K, B, 1, *positions)`; one that is constant lets nothing through.

    Args:
        channels: The channels.
        leaf: The input, whose positions the masks get.
    """
    size = leaf.shape[2:]
    resized = interpolate(channels, size, SMOOTH[len(size)]) if channels.shape[2:] != size else channels
    dims = tuple(range(2, resized.dim()))
    low, high = resized.amin(dims, keepdim=True), resized.amax(dims, keepdim=True)
    span = high - low
    return ((resized - low) / span.masked_fill(span == 0, 1)).movedim(1, 0)[:, :, None]


def _require_fit(end: Point, activation: Tensor) -> None:
    for leaf in end.leaves:
        if leaf.dim() != activation.dim() or not 3 <= leaf.dim() <= 5 or not leaf.is_floating_point():
            raise ArgumentError(
                "x",
                f"an input of shape {tuple(leaf.shape)} and dtype {leaf.dtype} for an activation of shape "
                f"{tuple(activation.shape)}",
                "floating-point inputs (B, C, *S) with 1 to 3 dimensions of positions, as many as the activation has",
                "Give other inputs in args=, or choose another layer.",
            )
