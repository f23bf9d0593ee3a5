"""Rule books: for each operation, how attributions go back through it.

This is where `rules` is documented; every method refers here.

rules: A `RuleBook`, or a dictionary from operations to rules that is laid over the method's own book. An operation is
    given in any form that torch has of it (`torch.relu`, `torch.nn.functional.relu`, the name `"relu"`), as an
    `autograd.Function`, or as a function of the user's that `af.operation` has made visible. A rule is one of

    * a function `Operation -> (value, pull)`, where `pull` maps the gradient at the value to one for each input. It may
      tell a summand of the value apart, `Operation -> (value, pull, part, pull of the part)`: the next operation's rule
      then finds it among `operation.parts`, and its `pull` gives one gradient more for each part that there is.
    * `natural`: the operation's own gradient;
    * `Linear(rule)`: the same where one input alone depends on the point and the rest are parameters, else a rule.
    * `Nonlinear(rule)`: a rule whose `pull` looks at the gradient itself, at its sign say.
    * `Opened(function)`: the function is what the operation computes, and is interpreted in its place.

    A compiler shows an `autograd.Function` to no mode: where one runs, call the method outside `torch.compile`.

    The name of a layer in place of an operation, with a dictionary of rules, stands for rules inside that layer alone.

Example:
    >>> import attrfunc as af
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    >>> def slopes(operation):
    ...     change = operation.inputs[0] - operation.there.inputs[0]
    ...     slope = (operation.value() - operation.there.value()) / change
    ...     return operation.value(), lambda gradient: [gradient * slope]
    >>> af.deep_lift(model, torch.ones(5, 3), target=0, rules={torch.relu: slopes}).shape
    torch.Size([5, 3])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe, suggestions
from attrfunc.propagation.names import Key, known_names, named_key, shown
from attrfunc.propagation.operation import Operation
from attrfunc.propagation.passive import PASSIVE

__all__ = ["Linear", "Nonlinear", "Opened", "Rule", "RuleBook", "Rules", "laid_over", "natural", "require_used"]

Pull = Callable[[Tensor], Sequence[Tensor]]


@dataclass(frozen=True)
class Opened:
    """An operation that is interpreted as what it computes.

    Attributes:
        function: Computes the same, with the same arguments.
    """

    function: Callable[..., Any]


@dataclass(frozen=True)
class Linear:
    """An operation that is linear in each of its inputs.

    Its own gradient is right where one input alone depends on the point and the rest are parameters.

    Attributes:
        rule: What holds otherwise.
    """

    rule: Callable[[Operation], tuple[Any, Pull]]


@dataclass(frozen=True)
class Nonlinear:
    """A rule whose `pull` is not a linear function of the gradient.

    Only compilers need to be told. What they replay a linear `pull` with, its transpose, has the right derivatives;
    what they replay this one with has none, so under `torch.compile` attributions have no graph.

    Attributes:
        rule: The rule.
    """

    rule: Callable[[Operation], tuple[Any, Pull]]


class _Natural:
    def __repr__(self) -> str:
        return "natural"


natural = _Natural()
"""The rule of operations whose own gradient is right: those that are linear in what depends on the point."""

Rule = Callable[[Operation], tuple[Any, ...]] | Opened | Linear | Nonlinear | _Natural
Rules = Mapping[Any, Any]


@dataclass(frozen=True)
class RuleBook:
    """Rules for operations; `book | {operation: rule}` lays others over it.

    Attributes:
        rules: By key; see `attrfunc.propagation.names`.
        layers: The books inside some layers, by name.
        default: The rule of operations that none is named for; without one they are errors.
        parts: Whether its rules tell parts of values apart.
        signs: Whether rectifiers are known that are written out by signs; see `attrfunc.propagation.signs`.
    """

    rules: dict[Key, Rule] = field(default_factory=dict)
    layers: dict[str, RuleBook] = field(default_factory=dict)
    default: Rule | None = None
    parts: bool = False
    signs: bool = False

    def __post_init__(self) -> None:
        """Operations in any form have one key."""
        if not all(isinstance(key, str) for key in self.rules):
            object.__setattr__(self, "rules", {named_key(key): rule for key, rule in self.rules.items()})

    def __repr__(self) -> str:
        """A short form."""
        return f"RuleBook of {len(self.rules)} operations" + (f" and {len(self.layers)} layers" if self.layers else "")

    def __or__(self, other: RuleBook | Rules) -> RuleBook:
        """This book with other rules laid over it."""
        if isinstance(other, RuleBook):
            layers = {name: book | other for name, book in self.layers.items()} | other.layers
            default = self.default if other.default is None else other.default
            ours = {"parts": other.parts or self.parts, "signs": other.signs or self.signs}
            return RuleBook(self.rules | other.rules, layers, default, **ours)
        own = {named_key(key): rule for key, rule in other.items() if not isinstance(rule, Mapping | RuleBook)}
        base = replace(self, rules=self.rules | own, layers={name: book | own for name, book in self.layers.items()})
        inner = {name: base | rules for name, rules in other.items() if isinstance(rules, Mapping | RuleBook)}
        return replace(base, layers=base.layers | inner)

    def find(self, key: Key, places: Sequence[str] = (), body: Callable[..., Any] | None = None) -> Rule | None:
        """The rule for an operation.

        Args:
            key: The operation.
            places: The layers that it runs in, the innermost last.
            body: What an operation of the user's computes, which is interpreted where no rule is for it.
        """
        book = next((self.layers[place] for place in reversed(places) if place in self.layers), self)
        rule = book.rules.get(key)
        if rule is not None:
            return rule
        return book.default if body is None else Opened(body)

    @property
    def linear(self) -> bool:
        """Whether all rules are linear in the gradient, so that a compiler can replay them with their derivatives."""
        books = [self, *self.layers.values()]
        return not any(isinstance(rule, Nonlinear) for book in books for rule in (book.default, *book.rules.values()))


def laid_over(base: RuleBook, rules: RuleBook | Rules | None, names: Sequence[str]) -> RuleBook:
    """The book of a call.

    Args:
        base: The method's own book.
        rules: What the user gave.
        names: The names of the model's layers.

    Raises:
        ArgumentError: If `rules` is neither a book nor a dictionary of rules, or names a layer that is not there.
    """
    if rules is None:
        return base
    if callable(rules):
        name = getattr(rules, "__name__", "it")
        expected = "a RuleBook, or a dictionary from operations to rules"
        raise ArgumentError("rules", f"the function {name}", expected, f"If it makes a book, call it: {name}().")
    if not isinstance(rules, Mapping | RuleBook):
        raise ArgumentError("rules", describe(rules), "a RuleBook, or a dictionary from operations to rules", _FORMS)
    for rule in rules.rules.values() if isinstance(rules, RuleBook) else pytree.tree_leaves(dict(rules)):
        if not (callable(rule) or isinstance(rule, Opened | Linear | Nonlinear | _Natural | RuleBook)):
            raise ArgumentError("rules", describe(rule), "a rule for each operation", _FORMS)
        if getattr(rule, "_attrfunc_makes_rules", False):
            name = f"af.rules.{getattr(rule, '__name__', rule)}"
            raise ArgumentError("rules", f"{name} itself, which makes rules", "a rule", f"Call it: {name}(...).")
    book = rules if isinstance(rules, RuleBook) else base | rules
    for name in book.layers:
        if name not in names:
            expected = "the name of a layer, for a dictionary of rules"
            raise ArgumentError("rules", f"rules for a layer {name!r}", expected, suggestions(str(name), names))
    if torch.compiler.is_compiling():
        return book  # whose keys would be looked up by its tracer
    for part in (book, *book.layers.values()):
        for key in part.rules.keys() - base.rules.keys():
            _require_operation(key, names)
        for key in part.rules.keys() & PASSIVE:
            if part.rules[key] is not natural:
                expected = "an operation that computes something"
                raise ArgumentError("rules", f"a rule for {key!r}, which only moves numbers around", expected, _MOVED)
    return book


def require_used(book: RuleBook, ran: Set[tuple[str, Key, bool]], *, any_input: bool) -> None:
    """Raise if rules are given for a layer that has nothing to do with them.

    Args:
        book: The book.
        ran: The operations that ran in each layer, and whether on what depends on the point.
        any_input: Whether what does not depend on the point, which is a layer's, may depend on the input.
    """
    for name, inner in book.layers.items():
        own = {key for key, rule in inner.rules.items() if book.rules.get(key) is not rule}
        found = {key for layer, key, on_point in ran if layer == name and (on_point or any_input)}
        if not own or own & found or (found and inner.default is not book.default):
            continue
        expected = "rules for layers, and for operations in them, that run on what depends on the input"
        keys = ", ".join(sorted(shown(key) for key in found))
        got = f"rules for {', '.join(sorted(map(shown, own))[:3])} in the layer {name!r}, where only {keys} run"
        if not found:
            got = f"rules for the layer {name!r}, in which nothing runs on what depends on the input"
        fix = "Name the layer that calls the operation, or leave these rules out."
        raise ArgumentError("rules", got, expected, fix)


_FORMS = "For example rules={torch.nn.functional.gelu: rule}; see attrfunc.propagation.rule_book."

_MOVED = "What comes back goes where the numbers came from. Give the rule to the operation before or behind it."


def _require_operation(key: Any, names: Sequence[str]) -> None:
    """Raise if no operation has this key."""
    if isinstance(key, torch._ops.OpOverload | torch._ops.OpOverloadPacket):
        return
    if isinstance(key, type) and issubclass(key, torch.autograd.Function):
        return
    if isinstance(key, str):
        if "#" in key or key in known_names():
            return
        fix = f"For one layer give a dictionary: rules={{{key!r}: {{torch.relu: rule}}}}." if key in names else ""
        fix = fix or suggestions(key, [*known_names(), *names])
    elif isinstance(key, nn.Module):
        kind = named_key(type(key))
        operation = kind if isinstance(kind, str) else "relu"
        fix = f"For the rule of one layer give its name: rules={{'layer': {{{operation!r}: rule}}}}."
    elif callable(key) and not isinstance(key, type):
        fix = "A function of your own becomes visible by af.operation: function = af.operation(function)."
    else:
        fix = _FORMS
    got = f"a rule for {describe(key) if not isinstance(key, str) else repr(key)}"
    raise ArgumentError("rules", got, "operations of torch, autograd.Functions, or what af.operation gave", fix)
