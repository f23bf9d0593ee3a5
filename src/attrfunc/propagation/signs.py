"""Rectifiers that a model writes out by the sign of a value: `x * (x > 0)`, `torch.where(x > 0, x, 0)` and their like.

A comparison with zero gives truth values that remember what they tell the sign of. Where they keep that very value, as
a factor, as the condition of a choice or in filling with zeros, the call is read as the ReLU that it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attrfunc.propagation.names import Key, in_place, words
from attrfunc.propagation.node import plain

__all__ = ["Signs", "is_zero"]

_SIGN = "_attrfunc_sign"
"""What truth values remember: the tensor, how much had been overwritten, and whether they mean that it is positive."""

_ABOVE, _BELOW = words("gt ge greater greater_equal"), words("lt le less less_equal")
_OPPOSITE = words("logical_not bitwise_not invert")
_CASTS = words("to type type_as float double half bfloat16 int long bool clone contiguous")
_PRODUCTS, _CHOICES, _FILLS = ["mul"], ["where"], words("masked_fill setitem")
_COMPARISONS, _KEEPING = frozenset([*_ABOVE, *_BELOW]), frozenset([*_OPPOSITE, *_CASTS])
_FORMS = frozenset([*_PRODUCTS, *_CHOICES, *_FILLS])

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class Signs:
    """What the truth values of one run tell the signs of."""

    def __init__(self) -> None:
        self._writes = 0

    def note(self, key: Key, args: tuple[Any, ...], result: Any, *, overwrites: bool) -> None:
        """Let truth values remember what they tell the sign of.

        Args:
            key: The operation.
            args: Its arguments.
            result: What it gave.
            overwrites: Whether it wrote into one of them: what was known before may not hold any more.
        """
        self._writes += overwrites
        if key in _COMPARISONS:
            (x, other), positive = args[:2], key in _ABOVE
            if is_zero(x):
                x, other, positive = other, x, not positive
            if isinstance(x, Tensor) and x.is_floating_point() and is_zero(other):
                setattr(result, _SIGN, (x, self._writes, positive))
        elif key in _KEEPING:
            sign = getattr(args[0], _SIGN, None)
            if sign is not None and result is not args[0]:
                setattr(result, _SIGN, (*sign[:2], sign[2] != (key in _OPPOSITE)))

    def read(self, key: Key, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """The call, or the rectifier that it writes out.

        Args:
            key: The operation.
            func: What is called.
            args: Its arguments.
            kwargs: Its arguments by name.
        """
        if key not in _FORMS:
            return func, args, kwargs
        values = (*args, *kwargs.values())
        found = None
        if key in _PRODUCTS and len(values) == 2:
            found = self._kept(*values) or self._kept(*reversed(values))
        elif key in _CHOICES and len(values) == 3:
            given = {**dict(zip(("condition", "input", "other"), args, strict=False)), **kwargs}
            truth, one, other = given["condition"], given["input"], given["other"]
            if hasattr(one, _SIGN):  # the method has the value in front
                truth, one = one, truth
            found = self._kept(one, truth, other) or self._kept(other, truth, one, opposite=True)
        elif key in _FILLS and len(values) == 3:
            found = self._kept(*values, opposite=True)  # by name in another order, no truth value stands there
        if found is None:
            return func, args, kwargs
        x, positive = found
        overwrites = in_place(func, kwargs)
        if positive:
            return (torch.relu_ if overwrites else torch.relu), (x,), {}
        return (torch.clamp_max_ if overwrites else torch.clamp_max), (x, 0), {}

    def _kept(self, x: Any, truth: Any, other: Any = 0, *, opposite: bool = False) -> tuple[Tensor, bool] | None:
        """The value and the sign that are kept of it, if truth values tell its sign and the rest is zero."""
        sign = getattr(truth, _SIGN, None)
        if sign is None or sign[0] is not x or sign[1] != self._writes or not is_zero(other):
            return None
        return x, sign[2] != opposite


def is_zero(value: Any) -> bool:
    """Whether a number, or each of a tensor's, is zero; a compiler cannot tell of a tensor."""
    if isinstance(value, Tensor):
        return not torch.compiler.is_compiling() and bool((plain(value) == 0).all())
    return isinstance(value, int | float) and value == 0
