"""One operation of a model: what a rule sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.propagation.names import Key

__all__ = ["Layout", "Made", "Operation", "UnknownOperationError", "flat"]

_CONTAINERS = (tuple, list, dict)


class UnknownOperationError(Exception):
    """A model runs an operation, on what depends on the point, that a rule book has no rule for.

    Args:
        key: The operation.
        how: In which way it is used, if it is that which has no rule.
        several: Whether it gives several tensors, and so can have none.
    """

    def __init__(self, key: Key, how: str = "", *, several: bool = False) -> None:
        super().__init__(key)
        self.key, self.how, self.several = key, how, several


@dataclass(frozen=True)
class Layout:
    """How the arguments of a call are made of a flat list.

    Attributes:
        count: How many of them are positional.
        names: The names of the others.
        nested: The structure of both, where some hold further tensors.
    """

    count: int
    names: tuple[str, ...] = ()
    nested: Any = None

    def fill(self, leaves: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional arguments, and those by name."""
        if self.nested is not None:
            args, kwargs = pytree.tree_unflatten(leaves, self.nested)
            return args, kwargs
        return tuple(leaves[: self.count]), dict(zip(self.names, leaves[self.count :], strict=True))


def flat(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], Layout]:
    """All arguments in a list, with how they were laid out. Containers of plain values are left whole."""
    leaves = [*args, *kwargs.values()]
    for leaf in leaves:
        if isinstance(leaf, _CONTAINERS) and not _plain(leaf):
            leaves, spec = pytree.tree_flatten((args, kwargs))
            return leaves, Layout(len(args), tuple(kwargs), spec)
    return leaves, Layout(len(args), tuple(kwargs))


def _plain(container: Any) -> bool:
    """Whether a container holds nothing but values that are no tensors."""
    values = container.values() if isinstance(container, dict) else container
    return all(not isinstance(value, Tensor | tuple | list | dict) for value in values)


@dataclass(frozen=True)
class Operation:
    """A call of an operation, with constants in place of the tensors that depend on the point.

    Attributes:
        key: Which operation.
        func: What computes it, out of place.
        leaves: All arguments, flat.
        layout: How they were laid out.
        places: Where among `leaves` the inputs stand: the floating-point tensors that depend on the point.
        at_baseline: All arguments of the same call at the baseline, flat; None if there is none.
        parts: For each input a summand of it, or None, where a rule has told it apart; see
            `attrfunc.propagation.rule_book`.
        layers: The names of the layers that it runs in, the innermost last, where rules are given by layer.
        earlier: The operations that ran before on what depends on the point.
        made: What made each input, where rules need to know that.
        is_complex: Whether it computes with complex numbers, which it shows as a last dimension of two real ones.
    """

    key: Key
    func: Callable[..., Any]
    leaves: list[Any]
    layout: Layout
    places: tuple[int, ...]
    at_baseline: list[Any] | None = None
    parts: tuple[Tensor | None, ...] = ()
    layers: tuple[str, ...] = ()
    earlier: frozenset[Key] = frozenset()
    made: tuple[Made | None, ...] = ()
    is_complex: bool = False

    def require(self, count: int) -> None:
        """Raise if more inputs than these depend on the point."""
        if len(self.places) > count:
            raise UnknownOperationError(self.key, f" of {len(self.places)} values that depend on the input")

    def require_real(self) -> None:
        """Raise if it computes with complex numbers."""
        if self.is_complex:
            raise UnknownOperationError(self.key, " of complex numbers")

    @property
    def part(self) -> Tensor | None:
        """The part of the first input."""
        return self.parts[0] if self.parts else None

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
        return self.layout.fill(self.leaves)[0]

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments."""
        return self.layout.fill(self.leaves)[1]

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """An argument that may be given by its place or its name."""
        args, kwargs = self.layout.fill(self.leaves)
        return args[place] if len(args) > place else kwargs.get(name, default)

    def value(self, inputs: Sequence[Tensor] | None = None) -> Any:
        """What the operation gives for these inputs; by default for its own."""
        leaves = self.leaves
        if inputs is not None:
            leaves = list(leaves)
            for place, tensor in zip(self.places, inputs, strict=True):
                leaves[place] = tensor
        args, kwargs = self.layout.fill(leaves)
        return self.func(*args, **kwargs)

    @property
    def there(self) -> Operation:
        """The same call at the baseline."""
        assert self.at_baseline is not None
        return replace(self, leaves=self.at_baseline, at_baseline=None)


@dataclass(frozen=True)
class Made:
    """What made a tensor.

    Attributes:
        operation: The operation.
        rule: The rule that it has.
        dim: How many dimensions the result has.
        inputs: The tensors that its gradients go to; none if it does not depend on the point.
        result: The result.
        tapped: Whether it is attributed to itself, so that what comes back has to pass there.
    """

    operation: Operation
    rule: Any
    dim: int
    inputs: tuple[Tensor, ...] = field(repr=False)
    result: Tensor = field(repr=False)
    tapped: bool = False
