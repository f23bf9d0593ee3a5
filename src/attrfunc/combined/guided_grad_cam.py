"""Guided Grad-CAM (Selvaraju et al. 2017): the details of guided backpropagation where Grad-CAM's map is warm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe, warn
from attrfunc.core.model.sites import Layers, Side
from attrfunc.core.score.method import method
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model
from attrfunc.gradient.grad_cam import grad_cam
from attrfunc.propagation.guided_backprop import guided_backprop
from attrfunc.propagation.rule_book import RuleBook, Rules
from attrfunc.viz.interpolate import interpolate

__all__ = ["guided_grad_cam"]


@method
def guided_grad_cam(
    model: Model,
    x: Any,
    *,
    layer: Layers,
    target: Target = None,
    interpolate_mode: str = "nearest",
    reshape: Callable[[Tensor], Tensor] | None = None,
    side: Side = "output",
    call: int | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    rules: RuleBook | Rules | None = None,
    strict: bool = True,
    chunk_size: int | None = None,
) -> Any:
    """Grad-CAM's map in the resolution of the input, times what guided backpropagation gives there.

    `guided_backprop(x) * interpolate(max(grad_cam(x), 0))`

    Args:
        model: A module, any callable, or a view of one by `af.bind` or `af.neuron`.
        x: The input, a tensor `(B, C, *S)` or a structure of them with equally many dimensions of positions as the map.
        layer: The layer of the map, as for `af.grad_cam`; a list gives the list of what each gives.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        interpolate_mode: How the map is resized, as for `af.viz.interpolate`.
        reshape: Brings an activation that is not `(B, C, *S)` into this form; see `af.grad_cam`.
        side: The layer's `"output"` or `"input"`; see `af.layer`.
        call: Which call of a layer that runs several times; see `af.layer`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        rules: Other rules for `af.guided_backprop`; see `attrfunc.propagation.rule_book`.
        strict: `False` gives an empty tensor, and a warning, for what the map does not fit of several inputs.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.

    Returns:
        A picture with the structure and shapes of `x`, for looking at: the product of a share of the score and a
        gradient has no unit of use, and adds up to nothing. *Sensitivity*: zeros where the score does not depend on the
        input. Under `torch.compile` it has no derivatives.

    Raises:
        ArgumentError: If an argument cannot be right, or the map does not fit the input.
        ModelError: If the layer does not run once, the score is not finite, or torch.func cannot trace the model.

    Example:
        >>> head = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 5))
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU(), *head)
        >>> af.guided_grad_cam(model, torch.rand(2, 3, 17, 17), layer="1", target=4).shape
        torch.Size([2, 3, 17, 17])

    Reference:
        Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra: Grad-CAM, ICCV 2017.
        https://arxiv.org/abs/1610.02391
    """
    options: dict[str, Any] = {"target": target, "args": args, "kwargs": kwargs, "chunk_size": chunk_size}
    heat = grad_cam(model, x, layer=layer, relu=True, reshape=reshape, side=side, call=call, **options)
    detail = guided_backprop(model, x, rules=rules, **options)

    several = len(pytree.tree_leaves(detail)) > 1

    def over(one: Any) -> Any:
        def at(leaf: Tensor) -> Tensor:
            if several and not strict and isinstance(one, Tensor) and not _fits(one, leaf):
                fit = f"the map {tuple(one.shape)} does not fit the input {tuple(leaf.shape)}"
                warn(f"{fit}, which gets an empty tensor.")
                return leaf.new_empty(0)
            return leaf * _resized(one, leaf, interpolate_mode)

        return pytree.tree_map(at, detail)

    return [over(one) for one in heat] if isinstance(heat, list) else over(heat)


def _fits(heat: Tensor, leaf: Tensor) -> bool:
    return leaf.dim() == heat.dim() >= 3


def _resized(heat: Any, leaf: Tensor, mode: str) -> Tensor:
    if not isinstance(heat, Tensor):
        raise ArgumentError("layer", f"a layer with {describe(heat)}", "one that gives one tensor", "Choose another.")
    if not _fits(heat, leaf):
        raise ArgumentError(
            "x",
            f"an input of shape {tuple(leaf.shape)} for a map of shape {tuple(heat.shape)}",
            f"inputs (B, C, *S) with {max(heat.dim() - 2, 1)} dimension(s) of positions, as the map has",
            "Give other inputs in args=, or multiply af.guided_backprop by af.grad_cam where they go together.",
        )
    try:
        return interpolate(heat, leaf.shape[2:], mode)
    except ArgumentError as error:
        argument = "interpolate_mode" if error.argument == "mode" else error.argument
        raise ArgumentError(argument, error.got, error.expected, error.fix) from error
