"""Where a model uses its parameters: what each operation there says of the gradients of the examples."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from attrfunc.influence.batches import slow_maps
from attrfunc.influence.terms import Dense, Outer, Term
from attrfunc.propagation.names import Key, in_place, key_of
from attrfunc.propagation.opened import OPENED
from attrfunc.propagation.operation import Layout, flat
from attrfunc.propagation.recurrent import RECURRENT
from attrfunc.propagation.rule_book import Opened

__all__ = ["LAYOUTS", "Recording", "Use"]

LAYOUTS = (0, 1, 2)
"""Where the examples stand: in dimension 0 (with several rows for each, maybe), in dimension 1, or last in the rows."""

_OPENED = frozenset([*RECURRENT, "multi_head_attention_forward"])
"""Operations that are recorded as what they compute."""


@dataclass(frozen=True)
class Use:
    """One operation that takes parameters.

    Attributes:
        key: Which.
        func: What computes it.
        leaves: Its arguments, flat and without a graph.
        layout: How they were laid out.
        places: Where among the flat arguments each parameter stands.
        versions: How often each argument that is a tensor had been written into.
        edge: Where the gradient of its result arrives.
    """

    key: Key
    func: Callable[..., Any]
    leaves: list[Any]
    layout: Layout
    places: dict[str, int]
    versions: list[tuple[Tensor, int]]
    edge: GradientEdge

    def intact(self) -> bool:
        """Whether nothing has been written into its arguments since."""
        return all(tensor._version == version for tensor, version in self.versions)

    def terms(self, gradient: Tensor, rows: int, layout: int) -> dict[str, Term] | None:
        """What the gradient of the result makes of those of the parameters; None where the layout is not that.

        Args:
            gradient: The gradient of all losses' sum with respect to the result.
            rows: The number of examples.
            layout: Where they stand.
        """
        make = _TERMS.get(self.key) if isinstance(self.key, str) else None
        found = make(self, gradient, rows, layout) if make is not None else None
        return found if found is not None else _by_rows(self, gradient, rows, layout)

    @property
    def bends_gradients(self) -> bool:
        """Whether torch gives its parameters a gradient that is not the derivative: embeddings of padding have none."""
        place = {"embedding": 2, "embedding_bag": 10}.get(str(self.key))
        if place is None:
            return False
        return self.argument(place, "padding_idx") is not None or bool(self.argument(5, "scale_grad_by_freq"))

    @functools.cached_property
    def filled(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Its positional arguments, and those by name."""
        return self.layout.fill(self.leaves)

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """One of its arguments."""
        args, kwargs = self.filled
        return args[place] if len(args) > place else kwargs.get(name, default)

    def holds(self, parameter: str, place: int, name: str) -> bool:
        """Whether a parameter is this argument."""
        return self.leaves[self.places[parameter]] is self.argument(place, name)


class Recording(TorchFunctionMode):
    """Records what uses some parameters.

    Args:
        parameters: These, by name, with a graph.

    Attributes:
        uses: Operations that give one tensor of them.
        others: The names of parameters that are used in any other way.
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._names = {id(tensor): name for name, tensor in parameters.items()}
        self.uses: list[Use] = []
        self.others: set[str] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation, and note it down if it takes any of the parameters."""
        kwargs = kwargs or {}
        leaves, layout = flat(args, kwargs)
        found = {self._names[id(leaf)]: place for place, leaf in enumerate(leaves) if id(leaf) in self._names}
        if not found:
            return func(*args, **kwargs)
        key = key_of(func, args, kwargs)
        if key in _OPENED and not self._packed(key, args):
            rule = OPENED[key]
            assert isinstance(rule, Opened)
            with self:
                return rule.function(*args, **kwargs)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        versions = [(leaf, leaf._version) for leaf in tensors if id(leaf) not in self._names]
        result = func(*args, **kwargs)
        outputs = [result] if isinstance(result, Tensor) else pytree.tree_leaves(result)
        if not any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in outputs):
            return result  # a shape, say
        repeated = len(tensors) - len(versions) > len(found)
        if not isinstance(result, Tensor) or in_place(func, kwargs) or repeated:
            self.others |= set(found)
            return result
        held = [leaf.detach() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self.uses.append(Use(key, func, held, layout, found, versions, get_gradient_edge(result)))
        return result

    @staticmethod
    def _packed(key: Key, args: Any) -> bool:
        return key in RECURRENT and not str(key).endswith("_cell") and not isinstance(args[3], bool)


def _laid_out(value: Tensor, rows: int, layout: int, kept: int) -> Tensor | None:
    """A tensor as `(B, T, *rest)`, where the last `kept` dimensions are the rest."""
    shape = value.shape
    if value.dim() <= kept:
        return None
    before = value.dim() - kept
    if layout == 0:
        return value.reshape(rows, -1, *shape[before:]) if shape[0] % rows == 0 else None
    if layout == 1:
        fits = before >= 2 and shape[1] == rows
        return value.movedim(1, 0).reshape(rows, -1, *shape[before:]) if fits else None
    fits = before == 1 and shape[0] % rows == 0
    return value.reshape(-1, rows, *shape[before:]).movedim(1, 0) if fits else None


def _linear(use: Use, gradient: Tensor, rows: int, layout: int) -> dict[str, Term] | None:
    x = _laid_out(use.argument(0, "input"), rows, layout, 1)
    slope = _laid_out(gradient, rows, layout, 1)
    if x is None or slope is None:
        return None
    found: dict[str, Term] = {}
    for name in use.places:
        if use.holds(name, 1, "weight"):
            found[name] = Outer(slope, x, slope.shape[2])
        elif use.holds(name, 2, "bias"):
            found[name] = Dense(slope.sum(1))
        else:
            return None
    return found


def _times(first: int) -> Callable[[Use, Tensor, int, int], dict[str, Term] | None]:
    """A product of `x`, the argument at `first`, and a matrix behind it; before it, what is added."""

    def terms(use: Use, gradient: Tensor, rows: int, layout: int) -> dict[str, Term] | None:
        args, kwargs = use.filled
        if kwargs or len(args) != first + 2 or args[-1].dim() != 2:
            return None
        x, slope = (_laid_out(value, rows, layout, 1) for value in (args[first], gradient))
        if x is None or slope is None:
            return None
        places = {place: name for name, place in use.places.items()}
        found: dict[str, Term] = {}
        if first + 1 in places:
            found[places.pop(first + 1)] = Outer(x, slope, x.shape[2])
        if first and 0 in places and args[0].dim() == 1:
            found[places.pop(0)] = Dense(slope.sum(1))
        return None if places else found

    return terms


def _embedding(use: Use, gradient: Tensor, rows: int, layout: int) -> dict[str, Term] | None:
    if not all(use.holds(name, 1, "weight") for name in use.places):
        return None
    numbers, table, padding, limit, _, frequent, *_ = (
        use.argument(place, name, default)
        for place, (name, default) in enumerate(
            [("input", None), ("weight", None), ("padding_idx", None), ("max_norm", None), ("norm_type", 2.0),
             ("scale_grad_by_freq", False), ("sparse", False)]
        )
    )  # fmt: skip
    slope, flat = _laid_out(gradient, rows, layout, 1), _laid_out(numbers.unsqueeze(-1), rows, layout, 1)
    if slope is None or flat is None or limit is not None or frequent or len(use.places) != 1:
        return None
    flat = flat.squeeze(2)
    if padding is not None:
        slope = slope * (flat != padding % len(table)).unsqueeze(2)
    return dict.fromkeys(use.places, Outer(flat.long(), slope, len(table)))


def _convolution(use: Use, gradient: Tensor, rows: int, layout: int) -> dict[str, Term] | None:
    x, weight = use.argument(0, "input"), use.argument(1, "weight")
    flat_dims = weight.dim() - 2
    if layout or x.dim() != weight.dim() or len(x) != rows or flat_dims > 2:
        return None
    options = [use.argument(3, "stride", 1), use.argument(4, "padding", 0), use.argument(5, "dilation", 1)]
    groups = use.argument(6, "groups", 1)
    if any(isinstance(option, str) for option in options):
        return None
    kernel = list(weight.shape[2:])
    pairs: list[list[int]] = [[option] * flat_dims if isinstance(option, int) else list(option) for option in options]
    pairs = [pair * flat_dims if len(pair) < flat_dims else pair for pair in pairs]
    if flat_dims == 1:
        x, kernel = x.unsqueeze(2), [1, *kernel]
        pairs = [[unit, *pair] for unit, pair in zip((1, 0, 1), pairs, strict=True)]
    found: dict[str, Term] = {}
    for name in use.places:
        if use.holds(name, 1, "weight"):
            patches = _patches(x, kernel, *pairs).unflatten(1, (groups, -1))
            slope = gradient.flatten(2).unflatten(1, (groups, -1))
            if groups == 1:
                found[name] = Outer(slope[:, 0].mT, patches[:, 0].mT, len(weight))
            else:
                found[name] = Dense((slope @ patches.mT).reshape(rows, *weight.shape))
        elif use.holds(name, 2, "bias"):
            found[name] = Dense(gradient.flatten(2).sum(2))
        else:
            return None
    return found


def _patches(x: Tensor, kernel: list[int], stride: list[int], padding: list[int], dilation: list[int]) -> Tensor:
    """What a convolution multiplies with its weight, `(B, C * kernel, places)`.

    `F.unfold`, which takes twice as long.
    """
    x = F.pad(x, (padding[1], padding[1], padding[0], padding[0])).contiguous()
    reach = [(size - 1) * step for size, step in zip(kernel, dilation, strict=True)]
    places = [(size - far - 1) // step + 1 for size, far, step in zip(x.shape[2:], reach, stride, strict=True)]
    down, right = x.stride()[2:]
    steps = (*x.stride()[:2], down * dilation[0], right * dilation[1], down * stride[0], right * stride[1])
    shown = x.as_strided((*x.shape[:2], *kernel, *places), steps, x.storage_offset())
    return shown.reshape(len(x), -1, places[0] * places[1])


_TERMS: dict[str, Callable[[Use, Tensor, int, int], dict[str, Term] | None]] = {
    "linear": _linear,
    "matmul": _times(0),
    "mm": _times(0),
    "addmm": _times(1),
    "embedding": _embedding,
    "conv1d": _convolution,
    "conv2d": _convolution,
}


def _by_rows(use: Use, gradient: Tensor, rows: int, layout: int) -> dict[str, Term] | None:
    """Any operation, whose own derivative is mapped over the examples."""
    leaves = use.leaves
    at = set(use.places.values())

    def mapped(leaf: Any) -> bool:
        return isinstance(leaf, Tensor) and leaf.dim() > layout and leaf.shape[layout] == rows

    dims = [layout if number not in at and mapped(leaf) else None for number, leaf in enumerate(leaves)]
    tensors = [number for number, dim in enumerate(dims) if dim is not None]
    if layout == 2 or not tensors or not mapped(gradient):
        return None

    def one(slope: Tensor, *given: Tensor) -> dict[str, Tensor]:
        filled = list(leaves)
        for number, leaf in zip(tensors, given, strict=True):
            filled[number] = leaf.unsqueeze(layout)

        def result(chosen: dict[str, Tensor]) -> Tensor:
            for name, place in use.places.items():
                filled[place] = chosen[name]
            args, kwargs = use.layout.fill(filled)
            return use.func(*args, **kwargs)

        _, pull = torch.func.vjp(result, {name: leaves[place] for name, place in use.places.items()})  # type: ignore[misc]
        return pull(slope.unsqueeze(layout))[0]

    try:
        with slow_maps():
            found = torch.vmap(one, (layout, *[layout] * len(tensors)))(
                gradient, *(leaves[number] for number in tensors)
            )
    except RuntimeError:  # the model as a whole is mapped then, or taken example by example
        return None
    return {name: Dense(value) for name, value in found.items()}
