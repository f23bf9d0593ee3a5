"""Points: the tensors that are attributed, flat, with the structure that the user sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.trees import Restore, floats, joined_trees

__all__ = ["Part", "Point"]


@dataclass(frozen=True)
class Part:
    """The tensors of a point that belong to one place.

    Attributes:
        places: Where they stand among the point's.
        restore: Gives them the structure of what is there.
        whole: Whether nothing else stands in that structure.
        name: The layer; empty for the input.
    """

    places: slice
    restore: Restore
    whole: bool
    name: str = ""


@dataclass(frozen=True)
class Point:
    """A point, or several of them, stacked in a dimension in front.

    Attributes:
        leaves: Its tensors.
        parts: Which of them stand where.
        several: Whether the user sees a list with an entry for each part.
    """

    leaves: list[Tensor]
    parts: tuple[Part, ...]
    several: bool = False

    @classmethod
    def of_input(cls, x: Any) -> Point:
        """An input as a point."""
        if isinstance(x, Tensor):
            return cls([x], _ALONE)
        leaves, spec = pytree.tree_flatten(x)
        return cls(leaves, (Part(slice(0, len(leaves)), lambda new: pytree.tree_unflatten(new, spec), True),))

    @classmethod
    def of_layers(cls, values: Sequence[Any], names: Sequence[str], several: bool) -> Point:
        """What stands at some layers as a point: its floating-point tensors."""
        leaves: list[Tensor] = []
        parts = []
        for value, name in zip(values, names, strict=True):
            found, restore = floats(value)
            whole = len(found) == sum(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(value))
            parts.append(Part(slice(len(leaves), len(leaves) + len(found)), restore, whole, name))
            leaves += found
        return cls(leaves, tuple(parts), several)

    @classmethod
    def joined(cls, points: Sequence[Point]) -> Point:
        """The points of several examples, behind each other."""
        values = [list(part) for part in zip(*(point.values(point.leaves) for point in points), strict=True)]
        names = [part.name for part in points[0].parts]
        return cls.of_layers([joined_trees(part) for part in values], names, points[0].several)

    def like(self, leaves: Sequence[Tensor]) -> Point:
        """Other tensors in the same structure."""
        return Point(list(leaves), self.parts, self.several)

    def restored(self, leaves: Sequence[Any] | None = None) -> Any:
        """The point, or other tensors, in the structure that the user sees."""
        values = self.values(self.leaves if leaves is None else leaves)
        return values if self.several else values[0]

    def values(self, leaves: Sequence[Any]) -> list[Any]:
        """What tensors of a point make at each place."""
        return [part.restore(list(leaves[part.places])) for part in self.parts]

    def part_of(self, number: int) -> Part:
        """The part that a tensor belongs to."""
        return next(part for part in self.parts if number < part.places.stop)

    @staticmethod
    def stacked(points: Sequence[Point]) -> Point:
        """Several points as one, `(K, *point)`."""
        leaves = [torch.stack(leaves) for leaves in zip(*(point.leaves for point in points), strict=True)]
        return points[0].like(leaves)

    @property
    def count(self) -> int:
        """How many points are stacked."""
        return self.leaves[0].shape[0]

    def one(self, number: int) -> Point:
        """One of several points."""
        if self.count == 1:
            return self.like([leaf.squeeze(0) for leaf in self.leaves])  # whose gradient copies nothing
        return self.like([leaf[number] for leaf in self.leaves])

    def folded(self) -> Point:
        """Several points behind each other in the batch: `(K, B, *S)` to `(K * B, *S)`."""
        return self.like([leaf.flatten(0, 1) if leaf.shape[0] > 1 else leaf.squeeze(0) for leaf in self.leaves])


_ALONE = (Part(slice(0, 1), lambda new: new[0], True),)  # a tensor that is the whole input
