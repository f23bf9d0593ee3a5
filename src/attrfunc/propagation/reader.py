"""What reads every operation that a model runs: a mode that knows its key and its rule, and opens it if need be."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from attrfunc.core.model.engines import inside
from attrfunc.propagation.names import Key, in_place, key_of
from attrfunc.propagation.node import tracked
from attrfunc.propagation.operation import flat
from attrfunc.propagation.passive import COPIES, PASSIVE
from attrfunc.propagation.precision import in_single_precision
from attrfunc.propagation.rule_book import Opened, RuleBook
from attrfunc.propagation.signs import Signs

__all__ = ["Reader", "address", "overlap"]


class Reader(TorchFunctionMode):
    """Looks every operation up, and opens those that are interpreted as what they compute.

    Args:
        book: The rules.
        layers: The names of the layers that are running, where rules are given by layer.
        parameters: The identities of the model's parameters and buffers.

    Attributes:
        ran: The operations that ran in these layers, and whether on what depends on the point.
    """

    def __init__(self, book: RuleBook, layers: list[str], parameters: Set[int]) -> None:
        super().__init__()
        self._book, self._layers, self._parameters = book, layers, parameters
        self._signs = Signs() if book.signs else None
        self.ran: set[tuple[str, Key, bool]] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Hand an operation to its rule."""
        kwargs = kwargs or {}
        key = key_of(func, args, kwargs)
        if self._signs is not None:
            func, args, kwargs = self._signs.read(key, func, args, kwargs)
            key = key_of(func, args, kwargs)
        self._begin(key)
        overwrites = in_place(func, kwargs)
        if not args and (overwrites or key in COPIES):
            args, kwargs = _operand_first(kwargs)
        if overwrites:
            self._to_be_overwritten(args[0])
        if key in PASSIVE:
            result = self._passive(key, func, args, kwargs)
        else:
            if self._layers:
                on_point = any(map(tracked, flat(args, kwargs)[0]))
                self.ran.update((layer, key, on_point) for layer in self._layers)
            rule = self._book.find(key, self._layers, getattr(func, "_attrfunc_operation", None))
            if isinstance(rule, Opened):
                result = self._opened(key, rule, func, args, kwargs)
            else:
                result = self._ruled(key, rule, func, args, kwargs)
        if overwrites:
            self._overwritten(args[0])
        if self._signs is not None:
            self._signs.note(key, args, result, overwrites=overwrites)
        self._end(key)
        return result

    def _begin(self, key: Key) -> None:
        """An operation is called."""

    def _end(self, key: Key) -> None:
        """It has returned."""

    def _to_be_overwritten(self, target: Tensor) -> None:
        """A tensor is about to be overwritten."""

    def _overwritten(self, target: Tensor) -> None:
        """It has been."""

    def _passive(self, key: Key, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        return func(*args, **kwargs)

    _ruled: Callable[..., Any]

    def _opened(self, key: Key, rule: Opened, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        with self:
            result = in_single_precision(rule.function, args, kwargs)
            return args[0].copy_(result) if in_place(func, kwargs) else result

    def _several(self, leaves: Sequence[Any]) -> bool:
        """Whether more than one argument may depend on the point: parameters do not."""
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        return sum(id(leaf) not in self._parameters and not isinstance(leaf, nn.Parameter) for leaf in tensors) > 1


def _operand_first(kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call that names all of them, with the one that is copied or overwritten in its place."""
    name = next((name for name in ("input", "self", "tensor") if name in kwargs), None)
    if name is None:
        return (), kwargs
    return (kwargs[name],), {other: value for other, value in kwargs.items() if other != name}


def overlap(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors lie in the same memory."""
    if torch.compiler.is_compiling():
        return True
    return address(one) == address(other)


def address(tensor: Tensor) -> int:
    """Where in memory a tensor lies, below all levels."""
    deeper = inside(tensor)
    return tensor.untyped_storage().data_ptr() if deeper is tensor else address(deeper)
