"""Eigen-CAM (Muhammad and Yeasin 2020): what a layer's channels have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ModelError
from attrfunc.core.loops.examples import by_examples
from attrfunc.core.loops.progress import Progress
from attrfunc.core.model.engines import known
from attrfunc.core.model.sites import Layers, Side
from attrfunc.core.score.method import method, open_problem
from attrfunc.core.score.problem import Problem
from attrfunc.core.score.views import Model, as_view
from attrfunc.gradient.cam_layers import Reshape, at_layers, channels_first, require_callable
from attrfunc.perturbation.precision import wide

__all__ = ["eigen_cam"]


@method
def eigen_cam(
    model: Model,
    x: Any,
    *,
    layer: Layers,
    relu: bool = False,
    reshape: Reshape | None = None,
    side: Side = "output",
    call: int | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """A layer's activation projected on its first principal direction: where the layer sees most, whatever the class.

    `sum over channels of v * activation`, where v is the first right singular vector of the matrix of positions by
    channels, which is not centred, of each example. A singular vector has no sign; here the map's sum is not negative.
    The score has no part in it, so there is no target: it does not tell what speaks for a class.

    Args:
        model: A module, any callable, or a view of one by `af.bind`; no gradient is taken.
        x: The input, a tensor `(B, *S)` or a structure of them; integers, too.
        layer: The layer, as for `af.grad_cam`; its activation is `(B, C, *S)`. A list gives the list of their maps,
            from one forward pass.
        relu: Cut off what is negative.
        reshape: Brings an activation that is not `(B, C, *S)` into this form; see `af.grad_cam`.
        side: The layer's `"output"` or `"input"`; see `af.layer`.
        call: Which call of a layer that runs several times; see `af.layer`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Maps `(B, 1, *S)` in units of the activation, in the layer's resolution (see `af.viz.interpolate`); a tuple
        where the layer gives one. *Best approximation*: of all maps, times one vector of channels, it leaves the least
        of the activation out, in squares. It has no derivative where the two largest singular values are equal.

    Raises:
        ArgumentError: If an argument cannot be right, or the activation is not `(B, C, *S)`.
        ModelError: If the layer does not run once, or its activation is not finite.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU())
        >>> af.eigen_cam(model, torch.rand(2, 3, 17, 17), layer="1").shape
        torch.Size([2, 1, 8, 8])

    Reference:
        Muhammad, Yeasin: Eigen-CAM: Class Activation Map using Principal Components, IJCNN 2020.
        https://arxiv.org/abs/2008.00299
    """
    view = at_layers(as_view(model), layer, side, call)
    require_callable(reshape)

    def attribute(part: Problem, rows: slice) -> Any:
        point = part.view.place.read(part, stop=True)
        maps = []
        for number, values in enumerate(point.leaves):
            place = f"the {side} of layer {point.part_of(number).name!r}"
            heat = _projected(channels_first(values, reshape, part.inputs.rows, place))
            maps.append(heat.relu() if relu else heat)
        return point.restored(maps)

    score = None if view.output else _any_score
    problem = open_problem(view, x, score, args, kwargs, differentiate=False)
    return by_examples(problem, attribute, chunk_size, progress)


def _any_score(output: Any) -> Tensor:
    """A number for each example, which tells whether examples depend on each other."""
    leaf = next(leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor))
    return leaf.reshape(len(leaf), -1).sum(1)


def _projected(activation: Tensor) -> Tensor:
    """`(B, C, *S)` to maps `(B, 1, *S)`."""
    if not activation.numel():
        return activation.sum(1, keepdim=True)
    if known(activation.isfinite().all()) is False:
        raise ModelError(
            "the layer's activation is not finite, so it has no principal direction. Look for NaN in the input, or for "
            "overflow in the model."
        )
    matrix = wide(activation.flatten(2) if activation.dim() > 2 else activation[:, :, None])  # (B, C, positions)
    _, sizes, right = torch.linalg.svd(matrix, full_matrices=False)
    heat = sizes[:, :1] * right[:, 0]
    heat = torch.where(heat.sum(1, keepdim=True) < 0, -heat, heat)
    return heat.view(len(heat), 1, *activation.shape[2:]).to(activation.dtype)
