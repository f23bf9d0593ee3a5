"""The recorder: runs a model as it is, and keeps what rules compare with."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ModelError
from attrfunc.propagation.names import Key, in_place, out_of_place, shown
from attrfunc.propagation.node import DerivativeError, below
from attrfunc.propagation.operation import flat
from attrfunc.propagation.reader import Reader, overlap
from attrfunc.propagation.rule_book import Linear, Rule, RuleBook, natural
from attrfunc.propagation.watch import DERIVATIVES

__all__ = ["Record", "Recorder", "counterpart"]

Record = list[tuple[Key, list[Any]]]
"""The operations that have rules, in the order of a run: what they are, and their arguments, flat."""


class Recorder(Reader):
    """Runs a model as it is, and keeps the arguments of all operations that have rules.

    Attributes:
        record: What was kept.
        dtypes: The types of the numbers that were computed with.
    """

    def __init__(self, book: RuleBook, layers: list[str], parameters: Set[int]) -> None:
        super().__init__(book, layers, parameters)
        self.record: Record = []
        self.dtypes: set[torch.dtype] = set()

    def _passive(self, key: Key, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        if in_place(func, kwargs):
            self._rescue(args[0])
        return func(*args, **kwargs)

    def _ruled(self, key: Key, rule: Rule | None, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        if rule is not None and rule is not natural:
            leaves, _ = flat(args, out_of_place(func, kwargs)[1])
            self.dtypes.update(leaf.dtype for leaf in leaves if isinstance(leaf, Tensor))
            needed = not isinstance(rule, Linear) or self._several(leaves)
            self.record.append((key, [below(leaf) for leaf in leaves] if needed else []))
        if in_place(func, kwargs):
            self._rescue(args[0])
        try:
            return func(*args, **kwargs)
        except RuntimeError as error:
            if key in DERIVATIVES:  # for which nothing is recorded here
                raise DerivativeError from error
            raise

    def _rescue(self, target: Tensor) -> None:
        """Copy what was kept and is about to be overwritten."""
        for _, leaves in self.record:
            for i, leaf in enumerate(leaves):
                if isinstance(leaf, Tensor) and overlap(leaf, target):
                    leaves[i] = leaf.clone()


def counterpart(record: Record, number: int, key: Key, leaves: list[Any]) -> list[Any]:
    """The arguments of the same call in another run.

    Args:
        record: The other run.
        number: How many calls were before.
        key: What is called.
        leaves: The arguments here.

    Raises:
        ModelError: If the other run called something else.
    """
    there, kept = record[number] if number < len(record) else (None, [])
    kept = [_as_many(then, now) for then, now in zip(kept, leaves, strict=False)]
    if there != key or [_shape(leaf) for leaf in kept] != [_shape(leaf) for leaf in leaves[: len(kept)]]:
        raise ModelError(
            f"the model does not run the same operations at the baseline as at the input (operation {number}, "
            f"{shown(key)}): what it runs depends on values. Choose a baseline that takes the same way."
        )
    return kept


def _as_many(then: Any, now: Any) -> Any:
    """What one row gave at the baseline, for all rows."""
    one = isinstance(then, Tensor) and isinstance(now, Tensor) and then.dim() == now.dim() > 0 and then.shape[0] == 1
    return below(then.expand(now.shape[0], *then.shape[1:])) if one else then


def _shape(leaf: Any) -> Any:
    return leaf.shape if isinstance(leaf, Tensor) else None
