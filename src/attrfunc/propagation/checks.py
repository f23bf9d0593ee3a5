"""What is not taken on trust: what a rule gives, and that an opened operation computes what torch does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, ModelError, describe
from attrfunc.core.model.engines import wrapped
from attrfunc.propagation.names import Key
from attrfunc.propagation.node import numbers, plain
from attrfunc.propagation.operation import Layout, Operation

__all__ = ["checked", "compare"]

_FIX = (
    "A rule is a function `operation -> (value, pull)`: pull maps the gradient at the value to a list of one tensor "
    "for each of operation.inputs, in their shapes; see attrfunc.propagation.rule_book."
)


def checked(rule: Callable[[Operation], Any], operation: Operation) -> Any:
    """What a rule gives for an operation.

    Raises:
        ArgumentError: If it cannot be right.
    """
    found = rule(operation)
    right = isinstance(found, tuple) and len(found) in (2, 4, 5) and callable(found[1])
    if not right or len(numbers(found[0])[0]) != 1:
        raise _bad(operation, f"{describe(found)} from the rule for", "a value with one tensor, and a function")
    shapes = [x.shape for x in operation.inputs]
    most = len(shapes) + sum(part is not None for part in operation.parts)
    value, pull, *apart = found
    return value, _checked_pull(operation, pull, shapes, most), *apart


def _checked_pull(operation: Operation, pull: Any, shapes: list[torch.Size], most: int) -> Any:
    def checked(gradient: Tensor) -> Sequence[Tensor]:
        found = pull(gradient)
        if isinstance(found, tuple | list) and len(shapes) <= len(found) <= most:
            for leaf, shape in zip(found, shapes, strict=False):
                if not isinstance(leaf, Tensor) or leaf.shape != shape:
                    break
            else:
                return found
        expected = ", ".join(str(tuple(shape)) for shape in shapes)
        raise _bad(
            operation, f"{describe(found)} from the pull of the rule for", f"a list of tensors of shape {expected}"
        )

    return checked


def _bad(operation: Operation, got: str, expected: str) -> ArgumentError:
    key = operation.key if isinstance(operation.key, str) else getattr(operation.key, "__name__", operation.key)
    return ArgumentError("rules", f"{got} {key!r}", expected, _FIX)


def compare(
    done: set[Any], key: Key, func: Callable[..., Any], layout: Layout, leaves: Sequence[Any], result: Any
) -> None:
    """Compare what an opened operation gave with what torch's own gives, once for each kind of call.

    Args:
        done: The kinds of calls that were compared.
        key: The operation.
        func: What torch runs, out of place.
        layout: How its arguments are laid out.
        leaves: The arguments.
        result: What was given.

    Raises:
        ModelError: If the two differ.
    """
    kind = (key, layout.names, tuple(_kind(leaf) for leaf in leaves))
    if kind in done or any(isinstance(leaf, Tensor) and wrapped(leaf) for leaf in leaves):
        return
    done.add(kind)
    args, kwargs = layout.fill(leaves)
    own = func(*args, **kwargs)
    if _same(own, result) or not _same(own, func(*args, **kwargs)):
        return  # as it should be; or what it gives is random
    raise ModelError(
        f"{key!r}, called with {describe((args[1:], kwargs))}, is interpreted as simpler operations that give another "
        "value than torch does, so its attributions would be wrong. Write it out in operations that have rules, or "
        f"give it a rule: rules={{{key!r}: rule}}."
    )


def _kind(leaf: Any) -> Any:
    return (leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else str(leaf)


def _same(one: Any, other: Any) -> bool:
    """Whether two results are equal but for rounding."""
    return all(map(_near, pytree.tree_leaves(one), pytree.tree_leaves(other)))


def _near(one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return True  # attention's weights need not be asked for
    if one.shape != other.shape:
        return False
    if not one.is_floating_point():
        return True
    # Rounding grows with the number of steps; a wrong formula differs in the first digits.
    tolerance = {torch.float64: 1e-7, torch.float32: 1e-3}.get(one.dtype, 0.03)
    one, other = (plain(leaf).double() for leaf in (one, other))
    finite = one.isfinite()
    infinite = [torch.where(finite, 0, leaf).nan_to_num(0.5) for leaf in (one, other)]
    one, other = torch.where(finite, one, 0), torch.where(finite, other, 0)
    size = one.abs().max() if one.numel() else 0
    return bool((infinite[0] == infinite[1]).all() & ((one - other).abs() <= tolerance * size).all())
