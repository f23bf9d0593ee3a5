"""A value whose gradient is given: the one place where attributions part from derivatives.

A node holds at one level of torch.func only. To all levels below it (an outer grad, a jvp, a vmap) the value is what it
was computed to be, and the gradient that goes back through it is a function of plain tensors. So whatever is built on
nodes is differentiated correctly, to any order, by anyone outside.

This is the only file that knows of levels. Where no transform of torch.func is active, plain autograd is the level, and
nothing lies below it but constants.
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
from torch.utils import _pytree as pytree

from attrfunc.core.model.engines import level

__all__ = [
    "DerivativeError",
    "below",
    "compiled",
    "level",
    "lowered",
    "numbers",
    "plain",
    "reaches",
    "replayed",
    "tracked",
    "with_pull",
]

Pull = Callable[[Tensor], Sequence[Tensor]]


class DerivativeError(Exception):
    """A model takes a derivative, while it runs, of what rules have changed: it would be that of the rules."""


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

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        raise DerivativeError  # whoever differentiates from outside does so at other levels


class _PlainNode(torch.autograd.Function):
    """The same where plain autograd is the level."""

    @staticmethod
    def forward(ctx: Any, value: list[Tensor], pull: Pull, *inputs: Tensor) -> Tensor:
        ctx.pull, ctx.count = pull, len(inputs)
        # A view would not bear it to be overwritten.
        return value[0].clone() if value[0]._is_view() else value[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        found = ctx.pull(gradient)
        return None, None, *found, *[None] * (ctx.count - len(found))

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        raise DerivativeError


def lowered() -> Any:
    """Leave the current level of torch.func: what is computed inside is a constant to it."""
    return retrieve_current_functorch_interpreter().lower() if level() else torch.no_grad()


def tracked(value: Any) -> bool:
    """Whether the current level of torch.func differentiates through a value."""
    if not isinstance(value, Tensor) or not value.requires_grad or isinstance(value, nn.Parameter):
        return False  # a parameter may be made while the model runs
    current = level()
    if current == 0:
        return True
    found: bool = _functorch.maybe_get_level(value) == current
    return found


def reaches(value: Any, own: int) -> bool:
    """Whether a level differentiates through a value that inner transforms have wrapped."""
    while isinstance(value, Tensor) and _functorch.is_functorch_wrapped_tensor(value):
        if _functorch.maybe_get_level(value) == own:
            return value.requires_grad
        value = _functorch.get_unwrapped(value)
    return own == 0 and isinstance(value, Tensor) and value.requires_grad


def below(value: Any) -> Any:
    """A tensor as the levels below the current one see it; anything else, and whatever a compiler traces, as it is."""
    if not isinstance(value, Tensor) or torch.compiler.is_compiling():
        return value
    current = level()
    return _functorch._unwrap_for_grad(value, current) if current else value.detach()


def plain(value: Tensor) -> Tensor:
    """The numbers of a tensor, whatever has wrapped it; nothing may be mapped."""
    while _functorch.is_functorch_wrapped_tensor(value):
        value = _functorch.get_unwrapped(value)
    return value.detach()


def numbers(value: Any) -> tuple[list[Tensor], Callable[[list[Tensor]], Any]]:
    """The real and complex tensors of a structure, and a function that puts others in their place.

    Args:
        value: What an operation gives.
    """
    if isinstance(value, Tensor):
        return [value], lambda new: new[0]
    leaves, spec = pytree.tree_flatten(value)
    places = [
        i
        for i, leaf in enumerate(leaves)
        if isinstance(leaf, Tensor) and (leaf.is_floating_point() or leaf.is_complex())
    ]

    def restore(new: list[Tensor]) -> Any:
        filled = list(leaves)
        for place, leaf in zip(places, new, strict=True):
            filled[place] = leaf
        return pytree.tree_unflatten(filled, spec)

    return [leaves[i] for i in places], restore


def with_pull(result: Any, pull: Pull, inputs: Sequence[Tensor]) -> Any:
    """A result computed below the current level, with this gradient at it.

    Args:
        result: A tensor, or a structure with one floating-point tensor.
        pull: Maps the gradient at the tensor to one for each input, or for the first of them.
        inputs: The tensors of the current level that the gradients are for.
    """
    (value,), restore = numbers(result)
    current = level()
    if not current:
        return restore([_PlainNode.apply([value], pull, *inputs)])  # type: ignore[no-untyped-call]
    with enable_single_level_autograd_function():
        return restore([_Node.apply(current, [value], pull, *inputs)])  # type: ignore[attr-defined]


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
    values, restore = numbers(result)
    return restore([_Compiled.apply(values[0], pull, *inputs)])  # type: ignore[no-untyped-call]


def replayed(result: Any, pull: Pull, inputs: Sequence[Tensor], constants: Sequence[Tensor]) -> Any:
    """The same in plain operations, for a compiler: the transpose of `pull`, applied to a change that is zero.

    Args:
        result: As above.
        pull: As above; linear.
        inputs: As above.
        constants: Their values below the current level.
    """
    (value,), restore = numbers(result)
    used: list[Tensor] = []

    def pulled(gradient: Tensor) -> list[Tensor]:
        used[:] = pull(gradient)
        return list(used)

    transposed = torch.func.vjp(pulled, torch.zeros_like(value))[1]
    # Where a value is infinite (a mask's), the change would not be a number.
    pairs = zip(inputs[: len(used)], constants, strict=False)
    changes = [torch.where(old.isfinite(), new - old, 0) for new, old in pairs]
    return restore([value + transposed(changes)[0]])
