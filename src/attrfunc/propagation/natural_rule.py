"""Rules that several books share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.propagation.node import numbers
from attrfunc.propagation.operation import Operation

__all__ = ["gradient_rule", "pull_of", "transposed"]

Pull = Callable[[Tensor], Sequence[Tensor]]


def pull_of(operation: Operation, at: Sequence[Tensor]) -> tuple[Any, Pull]:
    """What an operation gives for these inputs, and its own gradient there."""
    if operation.key == "linear" and operation.places == (0,) and operation.layout.nested is None:
        value, weight = operation.value(at), operation.argument(1, "weight")
        if value.dtype == weight.dtype == at[0].dtype:  # which autocast makes different ones
            return value, lambda gradient: [gradient @ weight]  # at a third of the time

    def function(*inputs: Tensor) -> tuple[Tensor, Any]:
        result = operation.value(inputs)
        return numbers(result)[0][0], result

    _, pull, result = torch.func.vjp(function, *at, has_aux=True)  # type: ignore[misc]
    return result, pull


def gradient_rule(operation: Operation) -> tuple[Any, Pull]:
    """The operation's own gradient, as a rule."""
    return pull_of(operation, operation.inputs)


def transposed(pull: Pull, like: Tensor) -> Callable[[Sequence[Tensor]], Tensor]:
    """The linear map whose transpose is `pull`: from changes of the inputs to a change like `like`."""
    forward = torch.func.vjp(lambda gradient: list(pull(gradient)), torch.zeros_like(like))[1]
    return lambda changes: forward(list(changes))[0]
