"""Functions that a mode sees as one operation, as it sees those of torch."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.overrides import _pop_mode_temporarily

__all__ = ["at_trace_time", "operation", "scored", "shifted"]

F = TypeVar("F", bound=Callable[..., Any])

_NUMBERS = itertools.count()


def operation(function: F) -> F:
    """Make a function of the user's visible to rule books, as an operation of its own.

    Args:
        function: A function of tensors. It is interpreted as one operation where a rule book has a rule for it, else
            its body is.

    Returns:
        The same function.

    Example:
        >>> swish = af.operation(lambda x: x * torch.sigmoid(x))
        >>> swish(torch.zeros(2))
        tensor([0., 0.])
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        # What `handle_torch_function` does for a mode; a compiler follows it in these terms only.
        if torch._C._is_torch_function_mode_enabled():
            with _pop_mode_temporarily() as mode:
                return mode.__torch_function__(call, (), args, kwargs)
        return function(*args, **kwargs)

    call._attrfunc_operation = function  # type: ignore[attr-defined]
    # A compiler cannot look functions up in a dictionary.
    call._attrfunc_key = f"{function.__qualname__}#{next(_NUMBERS)}"  # type: ignore[attr-defined]
    return cast(F, call)


def at_trace_time(function: F) -> F:
    """Let a compiler call a function that it need not trace, and keep what it gives.

    What `torch.compiler.assume_constant_result` does, which imports the compiler: three seconds.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@operation
def scored(scores: Tensor) -> Tensor:
    """The scores, as they leave a problem: where what is sent back through a model starts."""
    return scores


@operation
def shifted(activation: Tensor, shift: Tensor) -> Tensor:
    """`activation + shift`, where the library adds zeros for the sake of their gradient."""
    return activation + shift
