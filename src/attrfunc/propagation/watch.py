"""The watch: notices what runs without a mode seeing it, scripted and traced code say, and derivatives inside a model.

Autograd numbers the operations that it records, on each thread. A number that was given while no operation was seen
belongs to one that passed the interpreter by; the graph of the scores tells whether they depend on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import TransformType

from attrfunc.propagation.names import Key
from attrfunc.propagation.node import DerivativeError, Pull, level, reaches
from attrfunc.propagation.passive import PASSIVE

__all__ = ["DERIVATIVES", "UnseenError", "Watch"]

DERIVATIVES: frozenset[Key] = frozenset(["grad", "backward", "retain_grad", "_make_dual"])
"""What a model takes derivatives with."""

_number = torch.autograd._get_sequence_nr  # type: ignore[attr-defined]

_HARMLESS = frozenset(
    [
        *(key.replace("_", "").lower() for key in PASSIVE if isinstance(key, str)),
        *("slice", "tocopy", "unsafeview", "reshapealias", "copys", "copyslices"),
    ]
)
"""What autograd calls the operations that only rearrange."""


class UnseenError(Exception):
    """Something that depends on the point ran unseen.

    Args:
        what: Which operations, and where among those that were seen.
    """


class Watch:
    """Follows the numbers of one run."""

    def __init__(self) -> None:
        self._next, self._level, self._runs = _number(), level(), True
        self._last: Key | None = None
        self._unseen: list[tuple[int, int, Key | None, Key]] = []

    def begin(self, key: Key) -> None:
        """An operation is called."""
        now = _number()
        if now != self._next:
            self._unseen.append((self._next, now, self._last, key))

    def end(self, key: Key) -> None:
        """It has returned."""
        self._next, self._last = _number(), key

    def require_own_level(self, key: Key, leaves: Sequence[Any]) -> None:
        """Raise where the model itself runs a transform on what depends on the point."""
        if level() == self._level or not any(reaches(leaf, self._level) for leaf in leaves):
            return
        stack = torch._C._functorch.get_interpreter_stack() or []
        if any(one.level() > self._level and one.key() != TransformType.Vmap for one in stack):
            raise DerivativeError
        raise UnseenError(f"{key} runs inside torch.vmap, which the model applies itself")

    def after_the_run(self, pull: Pull) -> Pull:
        """A rule's `pull`, which only gives what goes back from the scores: not what the model itself asks for."""

        def later(gradient: Tensor) -> Sequence[Tensor]:
            if self._runs:
                raise DerivativeError
            return pull(gradient)

        return later

    def finish(self, scores: Tensor) -> None:
        """The scores leave the model, which has to have shown all that they depend on."""
        self._runs = False
        self.require_all_seen(scores)

    def require_all_seen(self, scores: Tensor) -> None:
        """Raise if the scores depend on what was not seen, unless that has only rearranged numbers."""
        if not self._unseen:
            return
        first = self._unseen[0][0]
        waiting: list[Any] = [scores.grad_fn]
        done: set[Any] = set()
        while waiting:
            node = waiting.pop()
            if node is None or node in done or node._sequence_nr() < first:
                continue
            done.add(node)
            waiting.extend(before for before, _ in node.next_functions)
            self._require_seen(node)

    def _require_seen(self, node: Any) -> None:
        name = node.name().rpartition("::")[2].rstrip("0123456789").removesuffix("Backward")
        if name.lower() in _HARMLESS:
            return
        for start, end, last, following in self._unseen:
            if start <= node._sequence_nr() < end:
                before = f"after {last!r}" if last is not None else "as the first operation"
                behind = "at the end of the model" if "scored" in str(following) else f"before {following!r}"
                raise UnseenError(f"{name} runs {before} and {behind}")
