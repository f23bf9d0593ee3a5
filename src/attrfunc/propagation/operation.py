"""One operation of a model: what a rule sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.propagation.names import Key
from attrfunc.propagation.trail import Call

__all__ = ["Operation", "UnknownOperationError"]


class UnknownOperationError(Exception):
    """A model runs an operation, on what depends on the point, that a rule book has no rule for.

    Args:
        key: The operation.
        how: In which way it is used, if it is that which has no rule.
    """

    def __init__(self, key: Key, how: str = "") -> None:
        super().__init__(key)
        self.key, self.how = key, how


@dataclass(frozen=True)
class Operation:
    """A call of an operation, with constants in place of the tensors that depend on the point.

    Attributes:
        key: Which operation.
        func: What computes it, out of place.
        leaves: All arguments, flat.
        spec: Their structure, `(args, kwargs)`.
        places: Where among `leaves` the inputs stand: the floating-point tensors that depend on the point.
        at_baseline: All arguments of the same call at the baseline, flat; None if there is none.
        part: A summand of the first input, where a rule has told it apart; see `attrfunc.propagation.rule_book`.
        number: How many operations that depend on the point ran before.
        layers: The names of the layers that it runs in, the innermost last, where rules are given by layer.
        call: What ran before and will run after it.
    """

    key: Key
    func: Callable[..., Any]
    leaves: list[Any]
    spec: Any
    places: tuple[int, ...]
    at_baseline: list[Any] | None = None
    part: Tensor | None = None
    number: int = 0
    layers: tuple[str, ...] = ()
    call: Call | None = None

    def require(self, count: int) -> None:
        """Raise if more inputs than these depend on the point."""
        if len(self.places) > count:
            raise UnknownOperationError(self.key, f" of {len(self.places)} values that depend on the input")

    @property
    def inputs(self) -> list[Tensor]:
        """The inputs' values."""
        return [self.leaves[place] for place in self.places]

    @property
    def others(self) -> list[Tensor]:
        """The tensors that are no inputs."""
        return [leaf for i, leaf in enumerate(self.leaves) if isinstance(leaf, Tensor) and i not in self.places]

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments."""
        return pytree.tree_unflatten(self.leaves, self.spec)[0]

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments."""
        return pytree.tree_unflatten(self.leaves, self.spec)[1]

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """An argument that may be given by its place or its name."""
        return self.args[place] if len(self.args) > place else self.kwargs.get(name, default)

    def value(self, inputs: Sequence[Tensor] | None = None) -> Any:
        """What the operation gives for these inputs; by default for its own."""
        leaves = list(self.leaves)
        for place, tensor in zip(self.places, inputs or (), strict=bool(inputs)):
            leaves[place] = tensor
        return self._run(leaves)

    @property
    def there(self) -> Operation:
        """The same call at the baseline."""
        assert self.at_baseline is not None
        return replace(self, leaves=self.at_baseline, at_baseline=None)

    def _run(self, leaves: list[Any]) -> Any:
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        return self.func(*args, **kwargs)
