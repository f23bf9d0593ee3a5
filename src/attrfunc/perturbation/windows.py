"""Windows that slide over a tensor.

This is where `window` and `stride` are documented; every function refers here.

window: The extent of a window: one number for each of the last dimensions of an example; along dimensions before these
    it is as long as the example, so that `(16, 16)` takes all channels of an image `(B, C, H, W)`. A plain number is
    the extent along every dimension. For an input that is a structure, the same structure of these, or a number.
stride: How far it moves from place to place, one number or as many as `window` has; `None` is 1. Where the last step
    would leave the tensor the window is cut off, so that every element is covered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.trees import Restore, at_places

__all__ = ["Extent", "Windows", "extents", "per_tensor"]

Extent = int | Sequence[Any] | dict[Any, Any]


@dataclass(frozen=True)
class Windows:
    """All places of a window in an example.

    Attributes:
        covers: For each dimension of an example, what the window covers at each place along it, booleans
            `(places, length)`.
    """

    covers: list[Tensor]

    @classmethod
    def over(cls, tensor: Tensor, window: Extent, stride: Extent | None) -> Windows:
        """The places in the examples of a tensor `(B, *S)`.

        Raises:
            ArgumentError: If the window or stride does not fit the tensor.
        """
        shape = tensor.shape[1:]
        widths = extents("window", window, shape)
        steps = [1] * len(shape) if stride is None else extents("stride", stride, shape, like=widths)
        covers = []
        for length, width, step in zip(shape, widths, steps, strict=True):
            starts = torch.arange(math.ceil((length - width) / step) + 1, device=tensor.device)[:, None] * step
            places = torch.arange(length, device=tensor.device)
            covers.append((places >= starts) & (places < starts + width))
        return cls(covers)

    @property
    def count(self) -> int:
        """Number of places."""
        return math.prod([len(cover) for cover in self.covers])

    def masks(self, numbers: Tensor) -> Tensor:
        """What the windows of these numbers `(K,)` cover, booleans `(K, 1, *S)`; nothing if there is no such number."""
        known = (numbers >= 0) & (numbers < self.count)
        mask = known.view(-1, *[1] * (len(self.covers) + 1))
        left = numbers.clamp(0, self.count - 1)
        for dim in reversed(range(len(self.covers))):
            cover = self.covers[dim]
            rows = cover[left % len(cover)]
            left = left // len(cover)
            mask = mask & rows.view(-1, *[1] * (dim + 1), cover.shape[1], *[1] * (len(self.covers) - dim - 1))
        return mask

    def averaged(self, values: Tensor) -> Tensor:
        """For each element the mean over the windows that cover it: `(R, count)` to `(R, *S)`."""
        values = values.unflatten(1, [len(cover) for cover in self.covers]) if self.covers else values[:, 0]
        # Windows are products of intervals, and so are their sums and counts: one dimension after the other.
        for cover in self.covers:
            values = torch.tensordot(values, (cover / cover.sum(0)).to(values.dtype), dims=([1], [0]))
        return values


def extents(name: str, given: Any, shape: Sequence[int], like: Sequence[int] | None = None) -> list[int]:
    """A window or stride as one number for each dimension of an example.

    Args:
        name: The argument's name.
        given: What the user gave.
        shape: Shape of an example.
        like: The windows that a stride belongs to.

    Raises:
        ArgumentError: If it does not fit.
    """
    single = isinstance(given, int) and not isinstance(given, bool)
    values = [given] * len(shape) if single else given
    whole = isinstance(values, Sequence) and all(isinstance(value, int) for value in values)
    if not whole or len(values) > len(shape):
        raise ArgumentError(
            name,
            describe(given),
            f"whole numbers for the last of the {len(shape)} dimensions of an example of shape {tuple(shape)}",
            f"Pass for example {name}={(3,) * max(1, min(2, len(shape)))}.",
        )
    if any(value < 1 for value in values):
        raise ArgumentError(name, describe(given), "numbers of at least 1", "Nothing is covered, or nothing moves.")
    filled = [*([1] * len(shape) if like is not None else shape)[: len(shape) - len(values)], *values]
    if like is None and any(width > length for width, length in zip(filled, shape, strict=True)):
        raise ArgumentError(
            name, describe(given), f"a window inside the example of shape {tuple(shape)}", "Make it smaller."
        )
    parts = zip(filled, like or filled, shape, strict=True)
    if any(step > width and width < length for step, width, length in parts):
        raise ArgumentError(
            name, describe(given), f"no steps longer than the window {tuple(like or ())}", "Elements would be left out."
        )
    return filled


def per_tensor(name: str, given: Any, tensors: Sequence[Tensor], restore: Restore) -> list[Any]:
    """One window or stride for each of some tensors; see `attrfunc.core.trees.at_places`."""
    if given is None or isinstance(given, int):
        return [given for _ in tensors]
    if len(tensors) == 1 and isinstance(given, tuple | list) and all(isinstance(value, int) for value in given):
        return [given]
    return at_places(name, given, restore, tensors)
