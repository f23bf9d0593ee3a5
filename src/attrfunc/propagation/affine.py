"""Layers with weights, as operations: which arguments are the input, the weight and the bias, and what is folded in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.propagation.names import Key
from attrfunc.propagation.operation import Operation

__all__ = ["PRODUCTS", "WEIGHTED", "Affine", "Folded", "affine", "factors"]

_LAYERS: dict[Key, int] = {
    "linear": 2,
    **{f"{kind}{n}d": n + 2 for kind in ("conv", "conv_transpose") for n in (1, 2, 3)},
}
"""Those of `torch.nn`, and how many dimensions their result has where dimension 1 is the channel."""

_MATRICES = ("matmul", "mm", "bmm")

WEIGHTED: frozenset[Key] = frozenset([*_LAYERS, *_MATRICES])
"""Operations that have weights."""

PRODUCTS: frozenset[Key] = WEIGHTED | {
    *("mv", "dot", "vdot", "inner", "outer", "ger", "tensordot", "einsum", "kron", "cross", "bilinear")
}
"""Operations that are linear in each operand."""


@dataclass(frozen=True)
class Affine:
    """A call of a layer: `x` times a weight, plus a bias.

    Attributes:
        x: The input.
        weight: The weight.
        bias: The bias, by channel.
        product: What computes the product of an input and a weight.
        behind: How many dimensions there are behind the channel in the result.
        channel: Which dimension of the weight is the output channel.
        groups: How many groups that dimension is one of, of a transposed convolution.
    """

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    product: Callable[[Tensor, Tensor], Tensor]
    behind: int = 0
    channel: int = 0
    groups: int = 1

    def value(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """What the layer gives with these instead."""
        result = self.product(x, weight)
        return result if bias is None else result + self.spread(bias)

    def spread(self, bias: Tensor) -> Tensor:
        """A bias, in a shape that broadcasts with the result."""
        return bias.reshape(*bias.shape, *[1] * self.behind)

    def scaled(self, scale: Tensor, shift: Tensor) -> Affine:
        """The layer with its output scaled and shifted by channel."""
        if self.channel == 0:
            weight = self.weight * scale.view(-1, *[1] * (self.weight.dim() - 1))
        else:
            groups = self.weight.unflatten(0, (self.groups, -1))
            factors = scale.view(self.groups, 1, -1, *[1] * (groups.dim() - 3))
            weight = (groups * factors).flatten(0, 1)
        return replace(self, weight=weight, bias=shift if self.bias is None else self.bias * scale + shift)


def affine(operation: Operation, *, fold: bool = True) -> Affine | None:
    """An operation as a layer, with the batch norm folded into it that takes its output, if one does.

    Args:
        operation: Any operation.
        fold: Whether to fold.

    Returns:
        The layer; None if the operation has no weights, or they depend on the point.
    """
    if operation.key not in WEIGHTED or len(operation.places) > 1:
        return None
    layer = _matrix(operation) if operation.key in _MATRICES else _layer(operation)
    call = operation.call
    if (
        not fold
        or layer is None
        or call is None
        or not isinstance(call.next, Folded)
        or _LAYERS.get(call.key) != call.dim
    ):
        return layer
    return layer.scaled(*_scale_and_shift(*call.next_args))


def factors(operation: Operation) -> list[int]:
    """For each input, how many of the inputs are multiplied with each other there, itself included."""
    if operation.key not in PRODUCTS:
        return [1] * len(operation.places)
    names = ("input1", "input2", "weight", "bias") if operation.key == "bilinear" else ("input", "weight", "bias")
    bias = _places(operation, names).get("bias") if operation.key in (*_LAYERS, "bilinear") else None
    count = sum(place != bias for place in operation.places)
    return [1 if place == bias else count for place in operation.places]


@dataclass(frozen=True)
class Folded:
    """The rule of a batch norm: part of the layer whose output it takes.

    The layer then has the weights of both, and relevance goes through the batch norm unchanged.

    Attributes:
        otherwise: The rule where there is no such layer.
    """

    otherwise: Callable[[Operation], tuple[Any, Any]]

    def __call__(self, operation: Operation) -> tuple[Any, Any]:
        """The rule."""
        call = operation.call
        if call is None or call.source_place or _LAYERS.get(call.source or "") != call.source_dim:
            return self.otherwise(operation)
        return operation.value(), lambda relevance: [relevance]


def _layer(operation: Operation) -> Affine | None:
    places = _places(operation, ("input", "weight", "bias"))
    if operation.places[0] != places["input"]:
        return None
    leaves = list(operation.leaves)
    bias = leaves[places["bias"]] if "bias" in places else None
    if "bias" in places:
        leaves[places["bias"]] = None

    def product(x: Tensor, weight: Tensor) -> Tensor:
        changed = list(leaves)
        changed[places["input"]], changed[places["weight"]] = x, weight
        return replace(operation, leaves=changed).value()

    weight = leaves[places["weight"]]
    if operation.key == "linear":
        return Affine(operation.inputs[0], weight, bias, product)
    transposed = "transpose" in str(operation.key)
    groups = operation.argument(6, "groups", 1)
    return Affine(operation.inputs[0], weight, bias, product, weight.dim() - 2, int(transposed), groups)


def _matrix(operation: Operation) -> Affine:
    """A matrix product with a constant."""
    first, second = (leaf for leaf in operation.leaves if isinstance(leaf, Tensor))
    (x,) = operation.inputs
    if first is x:
        return Affine(x, second, None, torch.matmul)
    return Affine(x, first, None, lambda x, weight: torch.matmul(weight, x))


def _places(operation: Operation, names: tuple[str, ...]) -> dict[str, int]:
    """Where among the leaves the arguments of these names stand, which come first."""
    args, kwargs = pytree.tree_unflatten(list(range(len(operation.leaves))), operation.spec)
    return {**dict(zip(names, args, strict=False)), **{name: kwargs[name] for name in names if name in kwargs}}


def _scale_and_shift(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """What a batch norm does to each channel."""
    names = ("running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    mean, variance = given["running_mean"], given["running_var"]
    scale = torch.rsqrt(variance + given.get("eps", 1e-5))
    if given.get("weight") is not None:
        scale = scale * given["weight"]
    shift = -mean * scale
    return scale, shift if given.get("bias") is None else shift + given["bias"]
