"""The interpreter: sees every operation of a model, and gives those that depend on the point the gradient of a rule."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence, Set
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ModelError
from attrfunc.core.transforms import inside
from attrfunc.propagation.names import Key, in_place, key_of, out_of_place
from attrfunc.propagation.node import below, compiled, lowered, replayed, tracked, with_pull
from attrfunc.propagation.operation import Operation, UnknownOperationError
from attrfunc.propagation.passive import COPIES, PASSIVE
from attrfunc.propagation.rule_book import Linear, Nonlinear, Opened, Rule, RuleBook, natural
from attrfunc.propagation.trail import Call, Trail

__all__ = ["Interpreter", "Record", "Recorder", "shown"]


PART = "_attrfunc_part"
"""The attribute of a tensor that holds a summand of it, and the summand's value below the current level."""

Record = list[tuple[Key, list[Any], Call | None]]
"""The operations that have rules, in the order of a run: what they are, their arguments, flat, and what is next."""


class _Reader(TorchFunctionMode):
    """Looks every operation up, and opens those that are interpreted as what they compute."""

    def __init__(self, book: RuleBook, layers: list[str], parameters: Set[int]) -> None:
        super().__init__()
        self._book, self._layers, self._parameters = book, layers, parameters
        self._trail = Trail()

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        key = key_of(func, args, kwargs)
        if in_place(func, kwargs):
            self._overwritten(args[0])
        if key in PASSIVE:
            result = self._passive(func, args, kwargs)
            if key in COPIES:
                self._trail.copied(args[0], result)
            return result
        rule = self._book.find(key, self._layers, getattr(func, "_attrfunc_operation", None))
        if isinstance(rule, Opened):
            with self:
                result = rule.function(*args, **kwargs)
                return args[0].copy_(result) if in_place(func, kwargs) else result
        self._trail.begin(key, rule, args, kwargs)
        return self._trail.end(self._ruled(key, rule, func, args, kwargs))

    def _overwritten(self, target: Tensor) -> None:
        """A tensor is about to be overwritten."""

    def _passive(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        return func(*args, **kwargs)

    _ruled: Callable[..., Any]

    def _several(self, leaves: Sequence[Any]) -> bool:
        """Whether more than one argument may depend on the point: parameters do not."""
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        return sum(id(leaf) not in self._parameters and not isinstance(leaf, nn.Parameter) for leaf in tensors) > 1


class Recorder(_Reader):
    """Runs a model as it is, and keeps the arguments of all operations that have rules.

    Attributes:
        record: What was kept.
    """

    def __init__(self, book: RuleBook, layers: list[str], parameters: Set[int]) -> None:
        super().__init__(book, layers, parameters)
        self.record: Record = []

    def _passive(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        if in_place(func, kwargs):
            self._rescue(args[0])
        return func(*args, **kwargs)

    def _ruled(self, key: Key, rule: Rule | None, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        if rule is not None and rule is not natural:
            leaves = pytree.tree_leaves((args, out_of_place(func, kwargs)[1]))
            needed = not isinstance(rule, Linear) or self._several(leaves)
            self.record.append((key, [below(leaf) for leaf in leaves] if needed else [], self._trail.call))
        if in_place(func, kwargs):
            self._rescue(args[0])
        return func(*args, **kwargs)

    def _rescue(self, target: Tensor) -> None:
        """Copy what was kept and is about to be overwritten."""
        for _, leaves, _ in self.record:
            for i, leaf in enumerate(leaves):
                if isinstance(leaf, Tensor) and _overlap(leaf, target):
                    leaves[i] = leaf.clone()


class Interpreter(_Reader):
    """Gives the operations that depend on the point the gradients of their rules.

    Args:
        book: The rules.
        layers: The names of the layers that are running, where rules are given by layer.
        parameters: The identities of the model's parameters and buffers.
        at_baseline: The same run at the baseline.
        at_point: The same run at the point, for a compiler, which cannot be asked what lies below a level.
    """

    def __init__(
        self,
        book: RuleBook,
        layers: list[str],
        parameters: Set[int],
        at_baseline: Record | None = None,
        at_point: Record | None = None,
    ) -> None:
        super().__init__(book, layers, parameters)
        self._at_baseline, self._at_point = at_baseline, at_point
        self._count = self._number = 0
        self._held: dict[int, list[tuple[weakref.ref[Operation], int]]] = {}  # by where in memory inputs lie

    def _overwritten(self, target: Tensor) -> None:
        """Rules may read the inputs of their operations later: keep them as they were."""
        if torch.compiler.is_compiling():
            return
        for reference, place in self._held.pop(_address(target), ()):
            operation = reference()
            if operation is not None:
                with lowered():
                    operation.leaves[place] = operation.leaves[place].clone()

    def _ruled(self, key: Key, rule: Rule | None, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        if rule is natural:
            kept = self._book.parts is not None and key in self._book.parts
            return self._passive(func, args, kwargs) if kept else self._changed(func(*args, **kwargs))
        leaves, spec = pytree.tree_flatten((args, kwargs))
        recorded = self._next(key, leaves) if rule is not None else (None, None)
        places = tuple(i for i, leaf in enumerate(leaves) if tracked(leaf))
        alone = isinstance(rule, Linear) and not self._several(leaves)
        if not places or alone:
            return func(*args, **kwargs)
        if rule is None:
            result = func(*args, **kwargs)
            if not any(tracked(leaf) for leaf in pytree.tree_leaves(result)):
                return result
            raise UnknownOperationError(key)
        self._number += 1
        result = self._applied(key, rule, func, leaves, spec, places, recorded)
        return self._changed(leaves[0].copy_(result)) if in_place(func, kwargs) else result

    def _applied(
        self,
        key: Key,
        rule: Rule,
        func: Callable[..., Any],
        leaves: list[Any],
        spec: Any,
        places: tuple[int, ...],
        recorded: tuple[list[Any] | None, list[Any] | None],
    ) -> Any:
        baseline, point = recorded
        lower = lowered if point is None else nullcontext
        constants = [below(leaf) for leaf in leaves] if point is None else point
        args, kwargs = pytree.tree_unflatten(constants, spec)
        if in_place(func, kwargs):
            func, kwargs = out_of_place(func, kwargs)
            constants, spec = pytree.tree_flatten((args, kwargs))
            with lower():
                constants[0] = constants[0].clone()  # the rule may keep it
        operation = Operation(
            key, func, constants, spec, places, baseline, None, self._number - 1, tuple(self._layers), self._trail.call
        )
        if point is None:
            for place in places:
                self._held.setdefault(_address(constants[place]), []).append((weakref.ref(operation), place))
        inputs = [leaves[place] for place in places]
        apply = rule.rule if isinstance(rule, Linear | Nonlinear) else rule
        assert callable(apply)
        part = getattr(inputs[0], PART, None)
        if part is not None:
            inputs.append(part[0])
            operation = replace(operation, part=part[1])
        with lower():
            value, pull, *apart = apply(operation)
        own = operation.inputs if operation.part is None else [*operation.inputs, operation.part]
        replay = compiled if isinstance(rule, Nonlinear) else partial(replayed, constants=own)
        put = with_pull if point is None else replay
        result = put(value, pull, inputs)
        if apart:
            part_value, part_pull = apart
            setattr(result, PART, (put(part_value, part_pull, inputs), below(part_value)))
        return result

    def _passive(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        """Keep a part apart."""
        result = func(*args, **kwargs)
        parts = [getattr(arg, PART, None) for arg in args] if self._book.parts is not None else []
        if any(part is not None for part in parts) and isinstance(result, Tensor):
            known = all(part is not None or not tracked(arg) for part, arg in zip(parts, args, strict=True))
            if not known or in_place(func, kwargs):
                return self._changed(result)
            pairs = [(arg, arg) if part is None else part for part, arg in zip(parts, args, strict=True)]
            part, constant = (func(*own, **kwargs) for own in zip(*pairs, strict=True))
            setattr(result, PART, (part, below(constant)))
        return result

    def _changed(self, result: Any) -> Any:
        """Forget the part of a tensor that may have been overwritten."""
        if self._book.parts is not None and hasattr(result, PART):
            delattr(result, PART)
        return result

    def _next(self, key: Key, leaves: list[Any]) -> tuple[list[Any] | None, list[Any] | None]:
        """The arguments of the same call at the baseline, and at the point."""
        number, self._count = self._count, self._count + 1
        found: list[list[Any] | None] = []
        for record in (self._at_baseline, self._at_point):
            if record is None:
                found.append(None)
                continue
            there, kept, call = record[number] if number < len(record) else (None, [], None)
            kept = [_as_many(then, now) for then, now in zip(kept, leaves, strict=bool(kept))]
            if there != key or [_shape(leaf) for leaf in kept] != [_shape(leaf) for leaf in leaves[: len(kept)]]:
                raise ModelError(
                    f"the model does not run the same operations at the baseline as at the input (operation {number}, "
                    f"{shown(key)}): what it runs depends on values. Choose a baseline that takes the same way."
                )
            found.append(kept)
            if record is self._at_point:
                self._trail.call = call
            if record is self._at_baseline:
                record[number] = (key, [], None)  # what has been compared need not be kept
        return found[0], found[1]


def _as_many(then: Any, now: Any) -> Any:
    """What one row gave at the baseline, for all rows."""
    one = isinstance(then, Tensor) and isinstance(now, Tensor) and then.dim() == now.dim() > 0 and then.shape[0] == 1
    return below(then.expand(now.shape[0], *then.shape[1:])) if one else then


def _shape(leaf: Any) -> Any:
    return leaf.shape if isinstance(leaf, Tensor) else None


def _overlap(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors lie in the same memory."""
    if torch.compiler.is_compiling():
        return True
    return _address(one) == _address(other)


def _address(tensor: Tensor) -> int:
    return _deepest(tensor).untyped_storage().data_ptr()


def _deepest(tensor: Tensor) -> Tensor:
    deeper = inside(tensor)
    return tensor if deeper is tensor else _deepest(deeper)


def shown(key: Key) -> str:
    """What a key is called in messages."""
    return repr(key if isinstance(key, str) else getattr(key, "__name__", str(key)))
