"""Feature groups: which elements of a point are present or replaced together.

This is where `feature_mask` is documented; every method refers here.

feature_mask: A tensor of group numbers, integers from 0 on, that broadcasts to the input: `(1, *S)` groups alike in all
    examples, `(B, *S)` groups of each example's own, and a dimension of size 1 makes one group of all that lies along
    it (the channels of a pixel, say). For an input that is a structure, the same structure of these; a number that
    stands in several tensors is one group. Numbers may be left out. `None` makes a group of every element. At a layer
    the mask is one of the activation. `grid_mask` and `superpixels` make masks. `number_groups` counts the groups of a
    mask beforehand, which saves time in loops, and which `torch.compile` needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.model.engines import known
from attrfunc.core.trees import Restore, at_places, require_dense

__all__ = ["FeatureMask", "Groups", "NumberedMask", "number_groups", "per_group"]


@dataclass(frozen=True)
class NumberedMask:
    """A mask whose groups are numbered from 0 to `count - 1`; made by `number_groups`."""

    ids: Any
    count: int


FeatureMask = None | Tensor | tuple[Any, ...] | list[Any] | dict[Any, Any] | NumberedMask


def number_groups(feature_mask: Any) -> NumberedMask:
    """Count the groups of a mask and number them consecutively.

    Args:
        feature_mask: A mask, as this module documents it.

    Returns:
        What `feature_mask` takes in place of the mask; `count` is the number of groups.

    Raises:
        ArgumentError: If it holds anything but integers from 0 on.

    Example:
        >>> af.masks.number_groups(torch.tensor([[7, 7, 2]]))
        NumberedMask(ids=tensor([[1, 1, 0]]), count=2)
    """
    try:
        return _numbered(feature_mask)
    except ArgumentError as error:
        raise error.within("number_groups")  # noqa: B904  # the same error, now with its name


def per_group(attributions: Any, feature_mask: Any = None) -> Tensor:
    """One number for each group, from attributions that repeat it at each of the group's elements.

    Args:
        attributions: Attributions `(B, *S)`, or a structure of them.
        feature_mask: The mask that they were made with, as this module documents it; `None` makes a group of every
            element.

    Returns:
        Numbers `(B, n)`, where n is the largest number of a group plus 1. A number that no group has, or none of this
        example, has 0. Of a group whose elements differ it is one of them.

    Raises:
        ArgumentError: If the mask does not fit, or holds anything but integers from 0 on.

    Example:
        >>> af.masks.per_group(torch.tensor([[5.0, 5.0, 7.0]]), torch.tensor([[0, 0, 3]]))
        tensor([[5., 0., 0., 7.]])
    """
    leaves, spec = pytree.tree_flatten(attributions)
    rows = [leaf.reshape(len(leaf), leaf.shape[1:].numel()) for leaf in leaves]
    found = torch.cat(rows, 1)
    if feature_mask is None:
        return found
    try:
        mask = feature_mask.ids if isinstance(feature_mask, NumberedMask) else feature_mask
        _numbered(mask)  # which refuses what is none
        masks = [mask] if len(leaves) == 1 and isinstance(mask, Tensor) else spec.flatten_up_to(mask)
        aligned = [_aligned(part, leaf, False).expand_as(leaf) for part, leaf in zip(masks, leaves, strict=True)]
    except ArgumentError as error:
        raise error.within("per_group")  # noqa: B904  # the same error, now with its name
    except ValueError:
        got, expected = describe(feature_mask), f"the structure of the attributions, {spec}"
        fix = "Pass the mask that they were made with."
        raise ArgumentError("feature_mask", got, expected, fix).within("per_group") from None
    shaped = [part.reshape(like.shape).to(found.device, torch.long) for part, like in zip(aligned, rows, strict=True)]
    count = max(int(part.max()) for part in masks if part.numel()) + 1
    return found.new_zeros(len(found), count).scatter(1, torch.cat(shaped, 1), found)


def _numbered(mask: Any) -> NumberedMask:
    masks, spec = pytree.tree_flatten(mask)
    for part in masks:
        _require_integers(part)
    if not sum(part.numel() for part in masks):
        raise ArgumentError(
            "feature_mask", describe(mask), "group numbers", "Give each element the number of its group."
        )
    device = masks[0].device
    flat = torch.cat([part.flatten().to(device, torch.long) for part in masks])
    numbers, places = torch.unique(flat, return_inverse=True)
    if numbers[0] < 0:
        raise ArgumentError(
            "feature_mask",
            f"the group number {int(numbers[0])}",
            "numbers from 0 on",
            "Give what is to be left alone a group of its own.",
        )
    parts = zip(places.split([part.numel() for part in masks]), masks, strict=True)
    return NumberedMask(pytree.tree_unflatten([part.view_as(like) for part, like in parts], spec), len(numbers))


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
    def masked(cls, mask: Any, point: Sequence[Tensor], restore: Restore, *, alike: bool) -> Groups:
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
        numbered = mask if isinstance(mask, NumberedMask) else _numbered(mask)
        single = len(point) == 1 and isinstance(numbered.ids, Tensor)
        masks = [numbered.ids] if single else at_places("feature_mask", numbered.ids, restore, point)
        for part in masks:
            _require_integers(part)
        return cls([_aligned(part, leaf, alike) for part, leaf in zip(masks, point, strict=True)], numbered.count)

    def of_each(self, rows: int) -> Groups:
        """The same groups, of each of so many examples by itself."""
        numbers = [torch.arange(rows, device=ids.device).view(-1, *[1] * (ids.dim() - 1)) for ids in self.ids]
        own = [ids + self.count * number for ids, number in zip(self.ids, numbers, strict=True)]
        return Groups(own, self.count * rows)


def _require_integers(mask: Any) -> None:
    if isinstance(mask, Tensor):
        require_dense(mask, "feature_mask")
    if isinstance(mask, Tensor) and not (mask.is_floating_point() or mask.is_complex() or mask.dtype == torch.bool):
        return
    fix = "Pass torch.tensor([[0, 0, 1]]), say."
    if isinstance(mask, Tensor):
        # Numbers between 0 and 1, a mask to multiply with, would all be one group.
        whole = mask.dtype == torch.bool or known((mask == mask.real.round()).all()) is True
        fix = (
            "mask.long()" if whole else "torch.unique(mask, return_inverse=True)[1], which makes a group of each value"
        )
        fix = f"Convert it: {fix}."
    raise ArgumentError("feature_mask", describe(mask), "a tensor of integers, numbers of groups", fix)


def _aligned(mask: Tensor, leaf: Tensor, alike: bool) -> Tensor:
    """A mask with as many dimensions as its tensor, and on its device."""
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
    mask = mask.view(*[1] * (leaf.dim() - mask.dim()), *mask.shape).to(leaf.device)
    if alike and mask.dim() and mask.shape[0] > 1:
        raise ArgumentError(
            "feature_mask",
            f"groups of each example's own, {describe(mask)}",
            "groups that are alike in all examples (1, *S)",
            "Pass one mask for all.",
        )
    return mask
