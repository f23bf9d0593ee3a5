"""The trail of a run: which operations came before one, and which one takes its result directly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from attrfunc.propagation.names import Key

__all__ = ["Call", "Trail"]


@dataclass
class Call:
    """One call of an operation, by its place in a run.

    Attributes:
        key: Which operation.
        earlier: The operations of which there were calls before.
        dim: How many dimensions the result has.
        source: The operation right before, if its result is one of the positional arguments.
        source_dim: How many dimensions that result has.
        source_place: Which argument it is.
        next: The rule of the operation right after, if its first argument is this one's result.
        next_args: The other arguments of that, positional and by name.
    """

    key: Key
    earlier: frozenset[Key]
    dim: int = 0
    source: Key | None = None
    source_dim: int = 0
    source_place: int = 0
    next: Any = None
    next_args: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})


class Trail:
    """Follows the operations of a run.

    Attributes:
        call: The one that is running, or ran last.
    """

    def __init__(self) -> None:
        self.call: Call | None = None
        self._results: list[Tensor] = []  # what the last call gave, and its copies
        self._earlier: frozenset[Key] = frozenset()

    def begin(self, key: Key, rule: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """An operation is called, for which there is this rule."""
        call, last = Call(key, self._earlier), self.call
        if key not in self._earlier:
            self._earlier = self._earlier | {key}
        for place, arg in enumerate(args):
            if last is not None and any(arg is result for result in self._results):
                call.source, call.source_dim, call.source_place = last.key, last.dim, place
                if place == 0:
                    last.next, last.next_args = rule, (args[1:], kwargs)
                break
        self.call, self._results = call, []

    def end(self, result: Any) -> Any:
        """It has returned this."""
        if isinstance(result, Tensor) and self.call is not None:
            self.call.dim, self._results = result.dim(), [result]
        return result

    def copied(self, source: Any, copy: Any) -> None:
        """An operation that gives its operand has run."""
        if any(source is result for result in self._results):
            self._results.append(copy)
