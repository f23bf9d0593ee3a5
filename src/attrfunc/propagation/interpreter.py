"""The interpreter: sees every operation of a model, and gives those that depend on the point the gradient of a rule."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence, Set
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ModelError
from attrfunc.core.model.visible import scored, shifted
from attrfunc.propagation.account import Account
from attrfunc.propagation.affine import Folded, FoldedLayer, folded
from attrfunc.propagation.checks import checked, compare
from attrfunc.propagation.complex_terms import in_real_terms
from attrfunc.propagation.contributions import identity
from attrfunc.propagation.names import Key, in_place, named_key, out_of_place
from attrfunc.propagation.node import DerivativeError, below, compiled, lowered, numbers, replayed, tracked, with_pull
from attrfunc.propagation.operation import Layout, Operation, UnknownOperationError, flat
from attrfunc.propagation.passive import COPIES, LIKENED, READING
from attrfunc.propagation.reader import Reader, address, overlap
from attrfunc.propagation.recorder import Record, counterpart
from attrfunc.propagation.rule_book import Linear, Nonlinear, Opened, Rule, RuleBook, natural
from attrfunc.propagation.trail import Constants, Trail
from attrfunc.propagation.watch import DERIVATIVES, Watch

__all__ = ["Interpreter"]

PART = "_attrfunc_part"
"""The attribute of a tensor that holds a summand of it, and the summand's value below the current level."""

_SCORE, _TAP = named_key(scored), named_key(shifted)


class Interpreter(Reader):
    """Gives the operations that depend on the point the gradients of their rules.

    Args:
        book: The rules.
        layers: The names of the layers that are running, where rules are given by layer.
        parameters: The identities of the model's parameters and buffers.
        at_baseline: The same run at the baseline.
        at_point: The same run at the point, for a compiler, which cannot be asked what lies below a level.
        account: Keeps account of relevance.
        inside: Whether the point is a layer's: operations before it depend on the input, but not on the point.
    """

    def __init__(
        self,
        book: RuleBook,
        layers: list[str],
        parameters: Set[int],
        at_baseline: Record | None = None,
        at_point: Record | None = None,
        account: Account | None = None,
        inside: bool = False,
    ) -> None:
        super().__init__(book, layers, parameters)
        self._at_baseline, self._at_point, self._account = at_baseline, at_point, account
        self._trail, self._constants = Trail(), Constants(parameters) if inside else None
        self._count = 0
        self._held: dict[int, list[tuple[weakref.ref[Operation], int]]] = {}  # by where in memory inputs lie
        self._compared: set[Any] = set()
        self._watch: Watch | None = None

    def __enter__(self) -> Any:
        """Begin to watch; an opened operation enters again."""
        if self._watch is None and not torch.compiler.is_compiling():
            self._watch = Watch()
        return super().__enter__()  # type: ignore[no-untyped-call]

    def _begin(self, key: Key) -> None:
        if self._watch is not None:
            self._watch.begin(key)

    def _end(self, key: Key) -> None:
        if self._watch is not None:
            self._watch.end(key)

    def _overwritten(self, target: Tensor) -> None:
        self._trail.forget(lambda result: overlap(result, target))

    def _to_be_overwritten(self, target: Tensor) -> None:
        """Rules may read the inputs of their operations later: keep them as they were."""
        if torch.compiler.is_compiling():
            return
        for reference, place in self._held.pop(address(target), ()):
            operation = reference()
            if operation is not None:
                with lowered():
                    operation.leaves[place] = operation.leaves[place].clone()

    def _opened(self, key: Key, rule: Opened, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        if key == _SCORE and self._watch is not None:
            self._watch.finish(args[0])
        if self._watch is None or hasattr(func, "_attrfunc_operation"):
            return super()._opened(key, rule, func, args, kwargs)
        own, kept = out_of_place(func, kwargs)
        leaves, layout = flat(args, kept)
        constants = [below(leaf) for leaf in leaves]
        if in_place(func, kwargs):
            with lowered():
                constants[0] = constants[0].clone()
        result = super()._opened(key, rule, func, args, kwargs)
        with lowered():
            compare(self._compared, key, own, layout, constants, result)
        return result

    def _ruled(self, key: Key, rule: Rule | None, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        if key == _SCORE and self._watch is not None:
            self._watch.finish(args[0])
        if rule is natural:
            return self._changed(func(*args, **kwargs))
        leaves, layout = flat(args, kwargs)
        if self._watch is not None:
            self._watch.require_own_level(key, leaves)
        recorded = self._next(key, leaves) if rule is not None else (None, None)
        places = tuple(i for i, leaf in enumerate(leaves) if tracked(leaf))
        if not places or (isinstance(rule, Linear) and not self._several(leaves)):
            result = self._seen(leaves, func(*args, **kwargs))
            self._ran_before(key, func, leaves, layout, result)
            return result
        if rule is None:
            result = func(*args, **kwargs)
            if not any(tracked(leaf) for leaf in flat((result,), {})[0]):
                return self._seen(leaves, result)
            several = len(numbers(result)[0]) > 1
            raise DerivativeError if key in DERIVATIVES else UnknownOperationError(key, several=several)
        result = self._seen(leaves, self._applied(key, rule, func, leaves, layout, places, recorded))
        return self._written(leaves[0], result) if in_place(func, kwargs) else result

    def _ran_before(self, key: Key, func: Callable[..., Any], leaves: list[Any], layout: Layout, result: Any) -> None:
        """An operation has run that does not depend on the point; a layer's may depend on the input."""
        if self._constants is None:
            return
        # To a compiler tensors have no identity.
        if not torch.compiler.is_compiling() and self._constants.all_constant(leaves):
            self._constants.add(result)
        else:
            self._trail.add(Operation(key, func, leaves, layout, ()), None, (), result)

    def _written(self, target: Tensor, result: Tensor) -> Tensor:
        """Put a result where the model wants it, with the part that is told apart."""
        written = self._changed(target.copy_(result))
        part = getattr(result, PART, None) if self._book.parts else None
        if part is not None:
            setattr(written, PART, part)
        return written

    def _applied(
        self,
        key: Key,
        rule: Rule,
        func: Callable[..., Any],
        leaves: list[Any],
        layout: Layout,
        places: tuple[int, ...],
        recorded: tuple[list[Any] | None, list[Any] | None],
    ) -> Any:
        baseline, point = recorded
        lower = lowered if point is None else nullcontext
        constants = [below(leaf) for leaf in leaves] if point is None else point
        args, kwargs = layout.fill(constants)
        if in_place(func, kwargs):
            func, kwargs = out_of_place(func, kwargs)
            constants, layout = flat(args, kwargs)
            with lower():
                constants[0] = constants[0].clone()  # the rule may keep it
        inputs = [leaves[place] for place in places]
        own = [getattr(leaf, PART, None) for leaf in inputs] if self._book.parts else []
        parts = tuple(None if part is None else part[1] for part in own)
        made = self._trail.made(inputs)
        earlier, layers = self._trail.earlier, tuple(self._layers)
        operation = Operation(key, func, constants, layout, places, baseline, parts, layers, earlier, made)
        if point is None:
            for place in places:
                self._held.setdefault(address(constants[place]), []).append((weakref.ref(operation), place))
        cut = self._account is not None and self._account.reads_cut(leaves)
        return self._node(operation, rule, inputs, [part[0] for part in own if part is not None], lower, cut)

    def _node(
        self,
        operation: Operation,
        rule: Any,
        inputs: list[Tensor],
        parts: list[Tensor],
        lower: Callable[[], Any],
        cut: bool,
    ) -> Any:
        """The operation's result, with the gradient of its rule."""
        apply = rule.rule if isinstance(rule, Linear | Nonlinear) else rule

        def put(value: Any, pull: Any, targets: Sequence[Tensor], constants: Sequence[Tensor]) -> Any:
            if self._watch is not None:
                pull = self._watch.after_the_run(pull)
            if lower is lowered:
                return with_pull(value, pull, targets)
            replay = compiled if isinstance(rule, Nonlinear) else partial(replayed, constants=constants)
            return replay(value, pull, targets)

        layer = folded(operation) if isinstance(rule, Folded) else None
        if layer is not None:
            return self._folded(layer, inputs[0], put, lower, cut)
        targets = [*inputs, *parts]
        constants = [*operation.inputs, *(part for part in operation.parts if part is not None)]
        with lower():
            real, from_real = in_real_terms(operation)
            value, pull, *apart = from_real(checked(apply, real))
        if self._account is not None:
            pull = self._counted(operation, apply, pull, cut)
        result = put(value, pull, targets, constants)
        self._trail.add(operation, apply, inputs, result)
        if apart:
            self._tell_apart(result, put, apart, targets, constants)
        return result

    def _folded(self, layer: FoldedLayer, x: Tensor, put: Any, lower: Callable[[], Any], cut: bool) -> Any:
        """A batch norm, from which relevance goes past the layer's output, straight to the layer's input."""
        made = layer.made
        with lower():
            value = layer.norm.value()
        constant = layer.norm.inputs[0]
        if not made.inputs:
            return put(value, lambda relevance: [relevance], [x], [constant])
        pull = layer.pull if self._account is None else self._counted(made.operation, made.rule, layer.pull, cut)
        inner = put(constant, pull, made.inputs, made.operation.inputs)
        if not made.tapped:
            return put(value, lambda relevance: [relevance], [inner], [constant])
        # Who looks at the output in between sees it there; behind that it is taken back.
        back = lambda relevance: [relevance, relevance, -relevance]  # noqa: E731
        return put(value, back, [inner, x, made.result], [constant] * 3)

    def _tell_apart(self, result: Any, put: Any, apart: Sequence[Any], targets: Any, constants: Any) -> None:
        """Let a result have a part, which depends on what the result does, or on what made that."""
        value, pull, *source = apart
        if source:
            targets, constants = source[0].inputs, source[0].operation.inputs
        setattr(result, PART, (put(value, pull, targets, constants), below(value)))

    def _counted(self, operation: Operation, rule: Any, pull: Any, cut: bool) -> Any:
        assert self._account is not None
        if operation.key == _SCORE:
            return self._account.started(pull)
        return pull if rule is identity else self._account.watched(operation.key, pull, cut)

    def _passive(self, key: Key, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        """Keep a part apart."""
        result = func(*args, **kwargs)
        if key in COPIES:
            self._trail.copied(args[0], result, tapped=key == _TAP)
        if self._account is not None and key not in READING:
            self._account.seen(args[:1] if key in LIKENED else args, result)
        if self._constants is not None and not torch.compiler.is_compiling() and self._constants.all_constant(args):
            self._constants.add(result)
        part = getattr(args[0], PART, None) if self._book.parts and args else None
        if part is None:
            return result
        if in_place(func, kwargs) or any(tracked(arg) for arg in args[1:]):
            self._changed(args[0])
            return result
        if not isinstance(result, Tensor):
            return result
        moved, constant = (func(own, *args[1:], **kwargs) for own in part)
        setattr(result, PART, (moved, below(constant)))
        return result

    def _changed(self, result: Any) -> Any:
        """Forget the part of a tensor that may have been overwritten."""
        if self._book.parts and hasattr(result, PART):
            delattr(result, PART)
        return result

    def _seen(self, leaves: Sequence[Any], result: Any) -> Any:
        if self._account is not None:
            self._account.seen(leaves, result)
        return result

    def _next(self, key: Key, leaves: list[Any]) -> tuple[list[Any] | None, list[Any] | None]:
        """The arguments of the same call at the baseline, and at the point."""
        number, self._count = self._count, self._count + 1
        records = (self._at_baseline, self._at_point)
        try:
            there, here = (None if record is None else counterpart(record, number, key, leaves) for record in records)
        except ModelError:
            for leaf in leaves:
                if tracked(leaf) and self._watch is not None:
                    self._watch.require_all_seen(leaf)  # the reason, if something ran unseen
            raise
        if self._at_baseline is not None:
            self._at_baseline[number] = (key, [])  # what has been compared need not be kept
        return there, here
