"""A loss or a measure of each example, as a user gives it, checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.score.target import BatchScore
from attrfunc.influence.batches import rows_of

__all__ = ["Loss", "Values", "losses", "measured"]

Loss = Callable[[Any, Any], Tensor]
"""`loss(model, batch) -> (B,)`, without reduction; the labels are in the batch."""


@dataclass(frozen=True)
class Values:
    """A loss or a measure of each example, checked.

    Attributes:
        function: `(model, batch) -> (B,)`; of a whole batch, one number.
        name: The argument that gave it.
        of: The argument that gives its batches.
        sign: What it is multiplied with.
        whole: Whether it is one number for the whole batch.
    """

    function: Callable[[Any, Any], Any]
    name: str
    of: str
    sign: int = 1
    whole: bool = False

    def __call__(self, model: Any, batch: Any) -> Tensor:
        """A number for each example, `(B,)`, or `(1,)` for the whole batch."""
        rows, found = rows_of(batch, self.of), self.function(model, batch)
        if self.whole and isinstance(found, Tensor) and found.numel() == 1:
            rows, found = 1, found.reshape(1)
        fix = "Let it give one number for each example: reduction='none', and a mean where an example has several."
        if isinstance(found, Tensor) and found.shape == (rows, 1):
            found = found.squeeze(1)
        if not isinstance(found, Tensor) or found.shape != (rows,):
            got = f"a {self.name} that is {describe(found)} for {rows} example(s)"
            raise ArgumentError(self.name, got, f"a tensor of shape ({rows},)", fix)
        if not found.is_floating_point():
            raise ArgumentError(self.name, f"a {self.name} of dtype {found.dtype}", "floating-point numbers", fix)
        return found if self.sign == 1 else -found


def losses(loss: Loss, of: str = "data") -> Values:
    """A loss of each example.

    Args:
        loss: `loss(model, batch) -> (B,)`.
        of: The argument that gives its batches.

    Raises:
        ArgumentError: If it is not callable, or, when it runs, if it does not give one number for each example.
    """
    return _checked(loss, "loss", of)


def measured(measure: Any, loss: Loss, of: str = "x") -> Values:
    """What is explained of the queries: the higher, the better.

    Args:
        measure: `measure(model, batch) -> (Q,)`, or a `batch_score` of such a function for one number of the whole
            batch; `None` takes minus the loss.
        loss: The loss.
        of: The argument that gives its batches.
    """
    if measure is None:
        return replace(_checked(loss, "loss", of), sign=-1)
    if isinstance(measure, BatchScore):
        return replace(_checked(measure.function, "measure", of), whole=True)
    return _checked(measure, "measure", of)


def _checked(function: Any, name: str, of: str) -> Values:
    if isinstance(function, nn.modules.loss._Loss) or not callable(function):
        fix = f"Pass lambda model, batch: cross_entropy(model(batch[0]), batch[1], reduction='none') as the {name}."
        raise ArgumentError(name, describe(function), "a function (model, batch) -> (B,)", fix)
    return Values(function, name, of)
