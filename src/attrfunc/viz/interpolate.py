"""Maps of a layer's resolution in the resolution of the input."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe

__all__ = ["interpolate"]

# Which numbers of positional dimensions each mode knows.
_MODES = {
    "nearest": (1, 2, 3),
    "nearest-exact": (1, 2, 3),
    "area": (1, 2, 3),
    "linear": (1,),
    "bilinear": (2,),
    "bicubic": (2,),
    "trilinear": (3,),
}


def interpolate(attributions: Any, size: int | Sequence[int], mode: str = "nearest") -> Any:
    """Resize maps `(B, C, *S)` to other positions, those of an image say.

    Args:
        attributions: A tensor, or a structure of them (as a list of layers gives), with 1 to 3 dimensions of positions.
        size: The new `*S`; a number serves for every dimension.
        mode: As in `torch.nn.functional.interpolate`; `"bilinear"` is smooth.

    Returns:
        Maps `(B, C, *size)` with the structure of `attributions`. Values are kept, not their sum: a map that was
        resized is for looking at, and no longer complete.

    Raises:
        ArgumentError: If the maps, the size and the mode do not go together.

    Example:
        >>> heat = torch.rand(2, 1, 7, 7)
        >>> af.viz.interpolate(heat, (224, 224), mode="bilinear").shape
        torch.Size([2, 1, 224, 224])
    """
    return pytree.tree_map(lambda leaf: _resized(leaf, size, mode), attributions)


def _resized(attributions: Any, size: Any, mode: str) -> Tensor:
    if not isinstance(attributions, Tensor) or not 3 <= attributions.dim() <= 5 or not attributions.is_floating_point():
        raise _error(
            "attributions",
            describe(attributions),
            "floating-point maps (B, C, *S), of 1 to 3 dimensions behind the channels",
            "Give maps without channels one: maps[:, None].",
        )
    if 0 in attributions.shape[1:]:
        expected = "at least one channel and position"
        raise _error("attributions", describe(attributions), expected, "An empty map has no values.")
    dimensions = attributions.dim() - 2
    if not isinstance(mode, str) or mode not in _MODES or dimensions not in _MODES[mode]:
        fitting = ", ".join(repr(name) for name, known in _MODES.items() if dimensions in known)
        raise _error(
            "mode",
            f"{mode!r} for {describe(attributions)}",
            f"one of {fitting}",
            f"These are the modes for {dimensions} dimension(s) of positions.",
        )
    return F.interpolate(attributions, _positions(size, dimensions), mode=mode)


def _positions(size: Any, dimensions: int) -> list[int]:
    try:
        several = isinstance(size, Sequence)
        sizes = [operator.index(part) for part in size] if several else [operator.index(size)] * dimensions
    except TypeError:
        sizes = []
    if len(sizes) != dimensions or min(sizes) < 1:
        raise _error(
            "size",
            describe(size),
            f"a positive whole number, or {dimensions} of them, as the maps have that many dimensions of positions",
            "Pass the positions of the input: x.shape[2:].",
        )
    return sizes


def _error(argument: str, got: str, expected: str, fix: str) -> ArgumentError:
    return ArgumentError(argument, got, expected, fix).within("interpolate")
