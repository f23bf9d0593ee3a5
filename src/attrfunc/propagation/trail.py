"""The trail of a run: what ran before on what depends on the point, and what made a tensor."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from attrfunc.propagation.names import Key
from attrfunc.propagation.operation import Made, Operation

__all__ = ["KEPT", "Constants", "Trail"]

KEPT: frozenset[Key] = frozenset(
    ["linear", "rsqrt", "pow", *(f"{kind}{n}d" for kind in ("conv", "conv_transpose") for n in (1, 2, 3))]
)
"""The operations whose results are known again: layers that a batch norm may follow, and normalisers."""

_LONGEST = 16


class Trail:
    """Follows the operations that depend on the point.

    Attributes:
        earlier: Those that have run on what depends on the input.
    """

    def __init__(self) -> None:
        self.earlier: frozenset[Key] = frozenset()
        self._results: list[tuple[Tensor, Made]] = []  # the last ones of those that are kept, and their copies

    def made(self, tensors: Sequence[Tensor]) -> tuple[Made | None, ...]:
        """What made each of these tensors, if that is known."""
        if not self._results:
            return ()
        return tuple(self._maker(tensor) for tensor in tensors)

    def add(self, operation: Operation, rule: Any, inputs: Sequence[Tensor], result: Any) -> None:
        """An operation has given this result."""
        self.ran(operation.key)
        if operation.key in KEPT and isinstance(result, Tensor):
            self._keep(result, Made(operation, rule, result.dim(), tuple(inputs), result))

    def ran(self, key: Key) -> None:
        """An operation has run on what depends on the input."""
        if key not in self.earlier:
            self.earlier = self.earlier | {key}

    def copied(self, source: Any, copy: Any, *, tapped: bool) -> None:
        """An operation that gives its operand has run; `tapped`: it makes the point."""
        made = self._maker(source)
        if made is not None:
            self._keep(copy, replace(made, tapped=tapped or made.tapped))

    def forget(self, overwritten: Any) -> None:
        """Tensors are overwritten: those for which this function says so."""
        self._results = [(result, made) for result, made in self._results if not overwritten(result)]

    def _keep(self, result: Tensor, made: Made) -> None:
        self._results = [*self._results[-_LONGEST + 1 :], (result, made)]

    def _maker(self, tensor: Any) -> Made | None:
        for result, made in self._results:
            if result is tensor:
                return made
        return None


class Constants:
    """Tensors that depend on no input: parameters, buffers, and what a model makes of these alone.

    Args:
        parameters: The identities of parameters and buffers.
    """

    def __init__(self, parameters: Set[int]) -> None:
        self._parameters = parameters
        # Which a compiler cannot trace, and has no use for.
        self._made: Any = None if torch.compiler.is_compiling() else WeakTensorKeyDictionary()

    def add(self, result: Any) -> None:
        """This one depends on no input."""
        if isinstance(result, Tensor):
            self._made[result] = True

    def all_constant(self, leaves: Sequence[Any]) -> bool:
        """Whether none of these depends on an input."""
        return all(self._is_constant(leaf) for leaf in leaves if isinstance(leaf, Tensor))

    def _is_constant(self, leaf: Tensor) -> bool:
        return isinstance(leaf, nn.Parameter) or id(leaf) in self._parameters or leaf in self._made
