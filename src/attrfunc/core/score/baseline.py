"""Baselines: the input that stands for "nothing there".

This is where `baseline` is documented; every method refers here.

baseline: One of
    * `None`: zeros.
    * a number: that value everywhere.
    * a tensor that broadcasts to the input: one for all examples, or one for each.
    * for an input that is a structure, the same structure of these.
    * a callable `x -> baseline`.

A layer view takes the baseline of the *input*; the layer's baseline is its activation there. `activation_baseline`
gives one of the activation itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Number
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.model.engines import known
from attrfunc.core.trees import require_dense

__all__ = ["ActivationBaseline", "Baseline", "activation_baseline", "as_input", "one_for_all", "resolve_baseline"]


@dataclass(frozen=True)
class ActivationBaseline:
    """A baseline of a layer's activation; made by `activation_baseline`."""

    value: Any


Baseline = (
    None | float | Tensor | tuple[Any, ...] | list[Any] | dict[Any, Any] | Callable[[Any], Any] | ActivationBaseline
)


def activation_baseline(value: Any = None) -> ActivationBaseline:
    """A baseline for a layer view that is given at the layer, not at the input: zeros, to switch units off.

    Args:
        value: In any of the forms of this module, for the activation: a callable maps the activation to its baseline.

    Returns:
        What `baseline` takes for a layer view.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> view, x = af.layer(model, "1"), torch.ones(5, 3)
        >>> weights = model[2].weight[1]
        >>> torch.allclose(
        ...     af.ig(view, x, baseline=af.activation_baseline(), target=1), weights * af.activation(view, x)
        ... )
        True
    """
    return ActivationBaseline(value)


def resolve_baseline(baseline: Any, x: Any) -> Any:
    """The baseline as a structure of tensors with the shapes and dtypes of `x`.

    Args:
        baseline: In any of the forms of this module.
        x: The input.

    Returns:
        A structure like `x`.

    Raises:
        ArgumentError: If the structure differs, or a tensor does not broadcast to its input.
    """
    if callable(baseline):
        baseline = baseline(x)
    leaves, spec = pytree.tree_flatten(x)
    if baseline is None or isinstance(baseline, Number):
        values = [baseline] * len(leaves)
    else:
        values, given = pytree.tree_flatten(baseline)
        if given != spec:
            raise ArgumentError(
                "baseline",
                f"{describe(baseline)} for {len(leaves)} input tensor(s)",
                "None, a number, or the structure of the input",
                "Give one baseline for each input tensor, nested as the inputs are.",
            )
    return pytree.tree_unflatten([_expand(value, leaf) for value, leaf in zip(values, leaves, strict=True)], spec)


def one_for_all(baseline: Any, x: Any) -> bool:
    """Whether a baseline is the same for all examples, as far as can be told."""
    if callable(baseline) or not all(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(x)):
        return False
    values = pytree.tree_leaves(baseline)
    dims = [leaf.dim() for leaf in pytree.tree_leaves(x)]
    tensors = zip(values, dims, strict=False)
    return all(not isinstance(value, Tensor) or value.dim() < dim or value.shape[0] == 1 for value, dim in tensors)


def _expand(value: Any, x: Tensor) -> Tensor:
    if value is None:
        return torch.zeros_like(x)
    if not isinstance(value, Tensor | Number):
        raise ArgumentError(
            "baseline", describe(value), "None, a number or a tensor", "Convert it with torch.as_tensor."
        )
    if not isinstance(value, Tensor):
        if x.is_floating_point() and not isinstance(value, complex):
            return torch.full_like(x, value)  # type: ignore[arg-type]
        value = torch.tensor(int(value) if isinstance(value, float) and value.is_integer() else value)
    value = as_input(value, x, "baseline")
    try:
        broadcast = torch.broadcast_shapes(value.shape, x.shape) == x.shape
    except RuntimeError:
        broadcast = False
    if not broadcast:
        raise ArgumentError(
            "baseline",
            describe(value),
            f"a shape that broadcasts to the input's {tuple(x.shape)}",
            "Pass one baseline for all examples (1, *S) or one for each (B, *S).",
        )
    return value.expand(x.shape)


def as_input(value: Tensor, x: Tensor, name: str) -> Tensor:
    """Numbers that stand for the input's, in its dtype, if that holds them, and on its device.

    Args:
        value: A tensor.
        x: The input.
        name: The argument's name.
    """
    require_dense(value, name)
    fix = "Pass numbers of that dtype, a padding id for example." if not x.is_floating_point() else "Pass real numbers."
    wrong = ArgumentError(name, describe(value), f"numbers that the input's dtype {x.dtype} holds", fix)
    fraction = value.is_floating_point() and not (x.is_floating_point() or x.is_complex())
    if fraction or (value.is_complex() and not x.is_complex()):
        raise wrong
    cast = value.to(x.device, x.dtype)
    if not cast.is_floating_point() and known((cast == value.to(x.device)).all()) is False:
        raise wrong
    return cast
