"""Feature groups: which elements of a point are present or replaced together.

This is where `feature_mask` is documented; every method refers here.

feature_mask: A tensor of group numbers, integers from 0 on, that broadcasts to the input: `(1, *S)` groups alike in all
    examples, `(B, *S)` groups of each example's own, and a dimension of size 1 makes one group of all that lies along
    it (the channels of a pixel, say). For an input that is a structure, the same structure of these; a number that
    stands in several tensors is one group. Numbers may be left out. `None` makes a group of every element. At a layer
    the mask is one of the activation. `grid_mask` and `superpixels` make masks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe

__all__ = ["FeatureMask", "Groups"]

FeatureMask = None | Tensor | tuple[Any, ...] | list[Any] | dict[Any, Any]


@dataclass(frozen=True)
class Groups:
    """The groups of a point.

    Attributes:
        ids: For each tensor of the point, numbers from 0 to `count - 1` that broadcast to it and have as many
            dimensions.
        count: Number of groups, n.
    """

    ids: list[Tensor]
    count: int

    @classmethod
    def elements(cls, point: Sequence[Tensor], *, alike: bool) -> Groups:
        """A group for every element, or, if groups are to be alike in all examples, for every element of an example."""
        ids, start = [], 0
        for leaf in point:
            shape = torch.Size((1, *leaf.shape[1:])) if alike else leaf.shape
            ids.append(torch.arange(start, start + shape.numel(), device=leaf.device).view(shape))
            start += shape.numel()
        return cls(ids, start)

    @classmethod
    def masked(cls, mask: Any, point: Sequence[Tensor], restore: Callable[[list[Any]], Any], *, alike: bool) -> Groups:
        """The groups that a mask makes.

        Args:
            mask: The mask, as this module documents it.
            point: The point's tensors.
            restore: Gives them the structure that the mask has to have.
            alike: Whether groups must be alike in all examples: dimension 0 of the mask is then 1.

        Returns:
            The groups.

        Raises:
            ArgumentError: If the mask does not fit the point, or holds anything but integers from 0 on.
        """
        masks = _leaves(mask, point, restore)
        ids = [_aligned(part, leaf, alike) for part, leaf in zip(masks, point, strict=True)]
        numbers, places = torch.unique(torch.cat([part.flatten() for part in ids]), return_inverse=True)
        if numbers[0] < 0:
            raise ArgumentError(
                "feature_mask",
                f"the group number {int(numbers[0])}",
                "numbers from 0 on",
                "Give what is to be left alone a group of its own.",
            )
        parts = places.split([part.numel() for part in ids])
        return cls([part.view_as(like) for part, like in zip(parts, ids, strict=True)], len(numbers))


def _leaves(mask: Any, point: Sequence[Tensor], restore: Callable[[list[Any]], Any]) -> list[Any]:
    """The mask's tensors, one for each of the point's; where there is one of these, a tensor will do."""
    if len(point) == 1 and isinstance(mask, Tensor):
        return [mask]
    leaves, given = pytree.tree_flatten(mask)
    if given != pytree.tree_structure(restore(list(point))):
        raise ArgumentError(
            "feature_mask",
            describe(mask),
            f"the structure of what is attributed, {describe(restore(list(point)))}",
            "Give one mask for each tensor, nested as the tensors are.",
        )
    return leaves


def _aligned(mask: Any, leaf: Tensor, alike: bool) -> Tensor:
    """A mask with as many dimensions as its tensor, and on its device."""
    integers = isinstance(mask, Tensor) and not (
        mask.is_floating_point() or mask.is_complex() or mask.dtype == torch.bool
    )
    if not integers:
        raise ArgumentError(
            "feature_mask",
            describe(mask),
            "a tensor of integers, the numbers of the groups",
            "Convert it: mask.long().",
        )
    try:
        fits = torch.broadcast_shapes(mask.shape, leaf.shape) == leaf.shape
    except RuntimeError:
        fits = False
    if not fits:
        raise ArgumentError(
            "feature_mask",
            describe(mask),
            f"a shape that broadcasts to {tuple(leaf.shape)}",
            "Pass one mask for all examples (1, *S) or one for each (B, *S).",
        )
    mask = mask.view(*[1] * (leaf.dim() - mask.dim()), *mask.shape).to(leaf.device, torch.long)
    if alike and mask.dim() and mask.shape[0] > 1:
        raise ArgumentError(
            "feature_mask",
            f"groups of each example's own, {describe(mask)}",
            "groups that are alike in all examples (1, *S), since there is one attribution for the whole batch",
            "Pass one mask for all.",
        )
    return mask
