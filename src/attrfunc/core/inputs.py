"""The inputs of a call: everything that has one entry per example."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.target import Index
from attrfunc.core.trees import Rows, map_rows, repeat_rows

__all__ = ["Inputs"]


@dataclass(frozen=True)
class Inputs:
    """What the model is called with, and the target: repeated and split together.

    `args` and `kwargs` are documented here; every method refers to them. They hold the model's further arguments:
    tensors with the batch dimension first follow the examples, tensors without one and any other object are passed on
    as they are. (A tensor whose first dimension equals the batch size by chance is taken to have a batch dimension;
    bind it with `functools.partial` where it has none.)

    Attributes:
        x: The input as the user gave it. A tuple is spread over the model's positional arguments, anything else is one
            argument.
        args: Further positional arguments.
        kwargs: Keyword arguments.
        target: The canonical target.
        rows: Number of examples.
    """

    x: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    target: Index
    rows: int

    def repeated(self, times: int) -> Inputs:
        """The batch, `times` times behind itself."""
        return self if times == 1 else self._changed(lambda t: repeat_rows(t, times), self.rows * times)

    def at(self, rows: Rows) -> Inputs:
        """Some of the examples."""
        count = len(range(self.rows)[rows]) if isinstance(rows, slice) else len(rows)
        return self._changed(lambda t: t[rows], count)

    def fresh(self) -> Inputs:
        """The same, with `x` copied: a model that starts with an in-place operation must not write into the user's."""
        return replace(self, x=pytree.tree_map(lambda leaf: leaf.clone(), self.x))

    def blank(self) -> Inputs:
        """The same, with the first example in place of all: for runs in which nothing reads `x`. Takes no memory."""
        return replace(self, x=pytree.tree_map(lambda leaf: leaf[:1].expand(leaf.shape), self.x))

    def positional(self) -> tuple[Any, ...]:
        """The model's positional arguments."""
        return (*(self.x if isinstance(self.x, tuple) else (self.x,)), *self.args)

    def _changed(self, change: Callable[[Tensor], Tensor], rows: int) -> Inputs:
        x, args, kwargs, target = map_rows(change, (self.x, self.args, self.kwargs, self.target), self.rows)
        return Inputs(x, args, kwargs, target, rows)
