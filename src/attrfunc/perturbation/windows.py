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
        spans: For each dimension of an example its length, the window's width and its step.
        device: Where masks are made.
    """

    spans: list[tuple[int, int, int]]
    device: torch.device

    @classmethod
    def over(cls, tensor: Tensor, window: Extent, stride: Extent | None) -> Windows:
        """The places in the examples of a tensor `(B, *S)`.

        Raises:
            ArgumentError: If the window or stride does not fit the tensor.
        """
        shape = tensor.shape[1:]
        widths = extents("window", window, shape)
        steps = [1] * len(shape) if stride is None else extents("stride", stride, shape, like=widths)
        return cls(list(zip(shape, widths, steps, strict=True)), tensor.device)

    @property
    def places(self) -> list[int]:
        """Number of places along each dimension."""
        return [math.ceil((length - width) / step) + 1 for length, width, step in self.spans]

    @property
    def count(self) -> int:
        """Number of places."""
        return math.prod(self.places)

    def masks(self, numbers: Sequence[int]) -> Tensor:
        """What the windows of these K numbers cover, booleans `(K, 1, *S)`; nothing if there is no such number."""
        known = [0 <= number < self.count for number in numbers]
        mask = torch.tensor(known, device=self.device).view(-1, *[1] * (len(self.spans) + 1))
        left = [number if there else 0 for number, there in zip(numbers, known, strict=True)]
        for dim in reversed(range(len(self.spans))):
            count = self.places[dim]
            rows = self._covered(dim, torch.tensor([number % count for number in left], device=self.device))
            left = [number // count for number in left]
            mask = mask & rows.view(len(rows), *[1] * (dim + 1), -1, *[1] * (len(self.spans) - dim - 1))
        return mask

    def averaged(self, values: Tensor) -> Tensor:
        """For each element the mean over the windows that cover it: `(R, count)` to `(R, *S)`."""
        values = values.unflatten(1, self.places) if self.spans else values[:, 0]
        # Windows are products of intervals, and so are their sums and counts: one dimension after the other.
        for dim, count in enumerate(self.places):
            cover = self._covered(dim, torch.arange(count, device=self.device))
            cover = cover.to(values.dtype)
            values = torch.tensordot(values, cover / cover.sum(0), dims=([1], [0]))
        return values

    def _covered(self, dim: int, places: Tensor) -> Tensor:
        """What the window covers of a dimension at places along it, booleans `(K, length)`."""
        length, width, step = self.spans[dim]
        starts = places.unsqueeze(1) * step
        elements = torch.arange(length, device=self.device)
        return (elements >= starts) & (elements < starts + width)


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
