"""A value whose gradient is given: the one place where attributions part from derivatives.

A node holds at one level of torch.func only. To all levels below it (an outer grad, a jvp, a vmap) the value is what it
was computed to be, and the gradient that goes back through it is a function of plain tensors. So whatever is built on
nodes is differentiated correctly, to any order, by anyone outside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import _functorch
from torch._functorch.pyfunctorch import retrieve_current_functorch_interpreter
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd.function import _SingleLevelFunction

from attrfunc.core.trees import floats

__all__ = ["below", "compiled", "lowered", "replayed", "tracked", "with_pull"]

Pull = Callable[[Tensor], Sequence[Tensor]]


class _Node(_SingleLevelFunction):
    """What `torch.autograd.Function` is made of, one level at a time."""

    @staticmethod
    def forward(level: int, value: list[Tensor], pull: Pull, *inputs: Tensor) -> Tensor:
        # The value comes in a list: as an argument, its own tangents would count as this level's.
        return _functorch._wrap_for_grad(value[0], level)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        (ctx.level, _, ctx.pull), ctx.count = inputs[:3], len(inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        if _functorch.maybe_current_level() == ctx.level:
            # The backward pass runs inside the level, as that of a layer's gradient does.
            with lowered():
                found = ctx.pull(_functorch._unwrap_for_grad(gradient, ctx.level))
            found = [_functorch._wrap_for_grad(leaf, ctx.level) for leaf in found]
        else:
            found = ctx.pull(gradient)
        # A rule need not make use of a part that is told apart.
        return None, None, None, *found, *[None] * (ctx.count - 3 - len(found))


def lowered() -> Any:
    """Leave the current level of torch.func: what is computed inside is a constant to it."""
    return retrieve_current_functorch_interpreter().lower()


def tracked(value: Any) -> bool:
    """Whether the current level of torch.func differentiates through a value."""
    if not isinstance(value, Tensor) or not value.requires_grad:
        return False
    if torch.compiler.is_compiling():
        return not isinstance(value, nn.Parameter)
    return _functorch.maybe_get_level(value) == _functorch.maybe_current_level()


def below(value: Any) -> Any:
    """A tensor as the levels below the current one see it; anything else, and whatever a compiler traces, as it is."""
    if not isinstance(value, Tensor) or torch.compiler.is_compiling():
        return value
    return _functorch._unwrap_for_grad(value, _functorch.current_level())


def with_pull(result: Any, pull: Pull, inputs: Sequence[Tensor]) -> Any:
    """A result computed below the current level, with this gradient at it.

    Args:
        result: A tensor, or a structure with one floating-point tensor.
        pull: Maps the gradient at the tensor to one for each input, or for the first of them.
        inputs: The tensors of the current level that the gradients are for.
    """
    values, restore = floats(result)
    (value,) = values
    with enable_single_level_autograd_function():
        return restore(
            [
                _Node.apply(  # type: ignore[attr-defined]
                    _functorch.current_level(), [value], pull, *inputs
                )
            ]
        )


class _Compiled(torch.autograd.Function):
    """What a compiler traces; it holds at all levels, so that only its first derivative is right."""

    @staticmethod
    def forward(value: Tensor, pull: Pull, *inputs: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.pull = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return None, None, *ctx.pull(gradient)


def compiled(result: Any, pull: Pull, inputs: Sequence[Tensor]) -> Any:
    """A result with this gradient at it, for a compiler; `pull` need not be linear, and has no derivatives.

    Args:
        result: As above.
        pull: As above.
        inputs: As above.
    """
    values, restore = floats(result)
    return restore([_Compiled.apply(values[0], pull, *inputs)])  # type: ignore[no-untyped-call]


def replayed(result: Any, pull: Pull, inputs: Sequence[Tensor], constants: Sequence[Tensor]) -> Any:
    """The same in plain operations, for a compiler: the transpose of `pull`, applied to a change that is zero.

    Args:
        result: As above.
        pull: As above; linear.
        inputs: As above.
        constants: Their values below the current level.
    """
    values, restore = floats(result)
    (value,) = values
    used: list[Tensor] = []

    def pulled(gradient: Tensor) -> list[Tensor]:
        used[:] = pull(gradient)
        return list(used)

    transposed = torch.func.vjp(pulled, torch.zeros_like(value))[1]
    # Where a value is infinite (a mask's), the change would not be a number.
    pairs = zip(inputs[: len(used)], constants, strict=False)
    changes = [torch.where(old.isfinite(), new - old, 0) for new, old in pairs]
    return restore([value + transposed(changes)[0]])
