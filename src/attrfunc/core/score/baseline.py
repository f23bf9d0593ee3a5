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

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Complex, Integral, Number, Real
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.model.engines import settled
from attrfunc.core.trees import require_dense

__all__ = ["ActivationBaseline", "Baseline", "activation_baseline", "fitted", "one_for_all", "resolve_baseline"]


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
        if baseline is None:
            raise ArgumentError(
                "baseline",
                "a callable that returns None",
                "one that returns a baseline",
                "Let it return a number, or a tensor that broadcasts to the input.",
            )
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
    value = fitted("baseline", value, x)
    if not isinstance(value, Tensor):
        return torch.full_like(x, value)
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


def fitted(name: str, value: Any, x: Tensor) -> Any:
    """What replaces numbers of `x`, in its dtype: a cast may round, but not wrap, cut off or drop a part.

    Args:
        name: The argument's name.
        value: A number or a tensor.
        x: The input.

    Returns:
        A number of Python's, or a tensor on the device of `x`.

    Raises:
        ArgumentError: If the dtype of `x` does not hold it, or it is no ordinary tensor.
    """
    if isinstance(value, Tensor):
        require_dense(value, name)
        lost = _is_lost(value, x.dtype)
    else:
        value = _number(value)
        lost = not _holds(value, x.dtype)
    if lost:
        whole = not (x.is_floating_point() or x.is_complex())
        raise ArgumentError(
            name,
            describe(value),
            f"{'integers' if whole else 'real numbers'}{_range(x.dtype)}, like the input of dtype {x.dtype}",
            "Pass for example a padding id. If the inputs are quantities and the model takes them as floating-point "
            "numbers, pass x.float()."
            if whole
            else "Pass numbers of the input's own dtype.",
        )
    if isinstance(value, Tensor):
        return value.to(x.device, x.dtype)
    return float(value) if x.is_floating_point() else value  # an integer may be too large for torch


def _number(value: Any) -> int | float | complex:
    """A number of Python's: torch takes no fraction, and not all of numpy's."""
    if isinstance(value, Integral):
        return int(value)
    return complex(value) if isinstance(value, Complex) and not isinstance(value, Real) else float(value)


def _bounds(dtype: torch.dtype) -> tuple[float, float]:
    if dtype == torch.bool:
        return 0, 1
    info = torch.finfo(dtype) if dtype.is_floating_point else torch.iinfo(dtype)
    return info.min, info.max


def _range(dtype: torch.dtype) -> str:
    low, high = _bounds(dtype) if not dtype.is_complex else (-math.inf, math.inf)
    return f" from {low:g} to {high:g}" if dtype.is_floating_point else f" from {low} to {high}"


def _holds(value: complex, dtype: torch.dtype) -> bool:
    if dtype.is_complex:
        return True
    if isinstance(value, complex):
        return False
    low, high = _bounds(dtype)
    if dtype.is_floating_point:
        return low <= value <= high or value != value or abs(value) == math.inf
    return low <= value <= high and value == int(value)


def _is_lost(value: Tensor, dtype: torch.dtype) -> bool:
    """Whether a cast loses more of a tensor than digits; what a compiler traces is not known to."""
    if value.dtype == dtype or dtype.is_complex:
        return False
    if value.is_complex() or (value.is_floating_point() and not dtype.is_floating_point):
        return True
    if value.dtype == torch.bool or torch.compiler.is_compiling():
        return False
    cast = value.to(dtype)
    kept = cast.isfinite() | ~value.isfinite() if dtype.is_floating_point else cast.to(value.dtype) == value
    return not settled(kept)
