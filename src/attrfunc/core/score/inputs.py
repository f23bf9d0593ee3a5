"""The inputs of a call: everything that has one entry per example.

This is where `args` and `kwargs` are documented; every method refers here.

args, kwargs: The model's further arguments, by place and by name. Tensors with the batch dimension first follow the
    examples; tensors without one, and any other object, are passed on as they are. Which tensors are batched is decided
    once, from the whole batch. A tensor whose first dimension equals the batch size by chance is taken to have a batch
    dimension; where that matters it is noticed, and the examples are then evaluated together. Objects that the model
    writes into, a KV cache say, are copied for each evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.score.target import Index
from attrfunc.core.trees import Rows, batch_size, has_rows, leaves_of, repeat_rows

__all__ = ["Inputs"]


@dataclass(frozen=True)
class Inputs:
    """What the model is called with, and the target: repeated and split together.

    Attributes:
        x: The input as the user gave it. A tuple is spread over the model's positional arguments, anything else is one
            argument.
        args: Further positional arguments.
        kwargs: Keyword arguments.
        target: The canonical target.
        rows: Number of examples.
        batched: Which of the leaves of these three have the examples first.
    """

    x: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    target: Index
    rows: int
    batched: tuple[bool, ...]

    @classmethod
    def of(cls, x: Any, args: Sequence[Any], kwargs: Mapping[str, Any] | None, target: Index) -> Inputs:
        """The inputs of a call."""
        rows, args, kwargs = batch_size(x), tuple(args), dict(kwargs or {})
        leaves = [leaf for part in (args, kwargs) for leaf in leaves_of(part)] + pytree.tree_leaves(target)
        return cls(x, args, kwargs, target, rows, tuple(has_rows(leaf, rows) for leaf in leaves))

    def positional(self, *, channels_last: bool = False) -> tuple[Any, ...]:
        """The positional arguments that hold the input: copied, since forward may write into them."""
        if channels_last:
            return (self.x.clone(memory_format=torch.channels_last),)
        x = self.x.clone() if isinstance(self.x, Tensor) else pytree.tree_map(torch.clone, self.x)
        return x if isinstance(x, tuple) else (x,)

    def moved(self, x: Any) -> Inputs:
        """The same with another input."""
        return Inputs(x, self.args, self.kwargs, self.target, self.rows, self.batched)

    def aimed(self, target: Index) -> Inputs:
        """The same with another target."""
        return Inputs.of(self.x, self.args, self.kwargs, target)

    def repeated(self, times: int, *, read: bool = True) -> Inputs:
        """The batch, `times` times behind itself; of an `x` that nothing reads, nothing is copied."""
        if times == 1:
            return self
        again = lambda leaf: leaf[:1].expand(times * len(leaf), *leaf.shape[1:])  # noqa: E731
        whole = self if read else replace(self, x=())
        found = whole._changed(lambda t: repeat_rows(t, times), self.rows * times)
        return found if read else replace(found, x=pytree.tree_map(again, self.x))

    def at(self, rows: Rows) -> Inputs:
        """Some of the examples."""
        count = len(range(self.rows)[rows]) if isinstance(rows, slice) else len(rows)
        return self._changed(lambda t: t[rows.to(t.device) if isinstance(rows, Tensor) else rows], count)

    def blank(self) -> Inputs:
        """The same, with the first example in place of all: for runs in which nothing reads `x`. Takes no memory."""
        return replace(self, x=pytree.tree_map(lambda leaf: leaf[:1].expand(leaf.shape), self.x))

    def _changed(self, change: Callable[[Tensor], Tensor], rows: int) -> Inputs:
        leaves, spec = pytree.tree_flatten((self.args, self.kwargs, self.target))
        changed = [change(leaf) if batched else leaf for leaf, batched in zip(leaves, self.batched, strict=True)]
        args, kwargs, target = pytree.tree_unflatten(changed, spec)
        return replace(self, x=pytree.tree_map(change, self.x), args=args, kwargs=kwargs, target=target, rows=rows)
