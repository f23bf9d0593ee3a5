"""Class activation maps from gradients: Grad-CAM (Selvaraju et al. 2017) and its relatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from attrfunc.core.errors import ArgumentError
from attrfunc.core.loops.examples import by_examples
from attrfunc.core.loops.progress import Progress
from attrfunc.core.model.engines import known
from attrfunc.core.model.sites import Layers, Side
from attrfunc.core.score.method import method, open_problem
from attrfunc.core.score.problem import Problem
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model, as_view
from attrfunc.gradient.cam_layers import Reshape, at_layers, channels_first, require_callable
from attrfunc.gradient.cam_weights import Weighting, checked_weights, weighting_function

__all__ = ["grad_cam"]


@method
def grad_cam(
    model: Model,
    x: Any,
    *,
    layer: Layers,
    target: Target = None,
    relu: bool = False,
    weighting: Weighting = "grad_cam",
    reshape: Reshape | None = None,
    sum_channels: bool = True,
    side: Side = "output",
    call: int | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """The channels of a layer's activation, weighted by their gradients and summed: where in it the score comes from.

    `sum over channels of weight * activation`, where the weight is the mean of the gradient over positions.

    Args:
        model: A module, any callable, or a view of one by `af.bind` or `af.neuron`.
        x: The input, a tensor `(B, *S)` or a structure of them.
        layer: The layer, as for `af.layer`, commonly the last convolution; its activation is `(B, C, *S)`. A list gives
            the list of their maps, from one forward and one backward pass.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        relu: Cut off what is negative, as the papers do for display.
        weighting: Another weight, by name or a callable; see `attrfunc.gradient.cam_weights`.
        reshape: Brings an activation that is not `(B, C, *S)` into this form, by rearranging and selecting alone; it
            is applied to the gradient too. For vision transformers see `af.viz.tokens_to_grid`; for channels that come
            last it is `lambda a: a.movedim(-1, 1)`.
        sum_channels: `False` gives the channels by themselves.
        side: The layer's `"output"` or `"input"`; see `af.layer`.
        call: Which call of a layer that runs several times; see `af.layer`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Maps `(B, 1, *S)`, or `(B, C, *S)` without `sum_channels`, in units of the score and of the layer's resolution
        (see `af.viz.interpolate`); a tuple where the layer gives one. *Completeness*: where global average pooling
        and an affine head stand behind the layer, a map sums to the score less the bias; with
        `weighting="hires_cam"` or `"xgrad_cam"` behind any affine head.

    Raises:
        ArgumentError: If an argument cannot be right, or the activation is not `(B, C, *S)`.
        ModelError: If the layer does not run once, the score is not finite, or torch.func cannot trace the model.

    Example:
        >>> conv, head = torch.nn.Conv2d(3, 8, 3), torch.nn.Linear(8, 5)
        >>> model = torch.nn.Sequential(conv, torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), head)
        >>> x = torch.rand(2, 3, 16, 16)
        >>> heat = af.grad_cam(model, x, layer="1", target=4)
        >>> heat.shape
        torch.Size([2, 1, 14, 14])
        >>> torch.allclose(heat.sum((1, 2, 3)), (model(x) - head.bias)[:, 4], atol=1e-6)
        True

    Reference:
        Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra: Grad-CAM, ICCV 2017.
        https://arxiv.org/abs/1610.02391
    """
    weigh = weighting_function(weighting)
    view = at_layers(as_view(model), layer, side, call)
    require_callable(reshape)

    def attribute(part: Problem, rows: slice) -> Any:
        point, _, gradient = part.gradient()
        maps = []
        for number, (values, slopes) in enumerate(zip(point.leaves, gradient, strict=True)):
            place = f"the {side} of layer {point.part_of(number).name!r}"
            activation = channels_first(values, reshape, part.inputs.rows, place)
            weights = checked_weights(weigh, activation, _kept(slopes, reshape, place))
            heat = weights * activation
            heat = heat.sum(1, keepdim=True) if sum_channels else heat
            maps.append(heat.relu() if relu else heat)
        return point.restored(maps)

    return by_examples(open_problem(view, x, target, args, kwargs), attribute, chunk_size, progress)


def _kept(slopes: Tensor, reshape: Reshape | None, place: str) -> Tensor:
    """The gradient as `(B, C, *S)`."""
    if reshape is None:
        return slopes
    kept = reshape(slopes)
    if known(kept.any()) is False and known(slopes.any()):
        raise ArgumentError(
            "layer",
            place,
            "a layer of which the score reads what `reshape` keeps: here it reads nothing but what that drops (the "
            "class token, say), and the map would be zero everywhere",
            "Choose a layer before tokens are mixed for the last time: the norm in front of the last attention.",
        )
    return kept
