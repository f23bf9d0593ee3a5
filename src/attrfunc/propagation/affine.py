"""Layers with weights, as operations: which arguments are the input, the weight and the bias; batch norms in layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from attrfunc.propagation.names import Key
from attrfunc.propagation.operation import Layout, Made, Operation

__all__ = [
    "PRODUCTS",
    "WEIGHTED",
    "Affine",
    "Folded",
    "FoldedLayer",
    "affine",
    "combined",
    "factors",
    "folded",
    "places_of",
]

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


def affine(operation: Operation) -> Affine | None:
    """An operation as a layer.

    Args:
        operation: Any operation.

    Returns:
        The layer; None if the operation has no weights, or they depend on the point.
    """
    if operation.key not in WEIGHTED or len(operation.places) > 1 or operation.is_complex:
        return None
    return _matrix(operation) if operation.key in _MATRICES else _layer(operation)


def factors(operation: Operation) -> list[int]:
    """For each input, how many of the inputs are multiplied with each other there, itself included."""
    if operation.key not in PRODUCTS and operation.key != "mul":
        return [1] * len(operation.places)
    names = ("input1", "input2", "weight", "bias") if operation.key == "bilinear" else ("input", "weight", "bias")
    bias = places_of(operation, names).get("bias") if operation.key in (*_LAYERS, "bilinear") else None
    count = sum(place != bias for place in operation.places)
    return [1 if place == bias else count for place in operation.places]


@dataclass(frozen=True)
class Folded:
    """The rule of a batch norm: part of the layer whose output it takes.

    What goes back through the batch norm then goes on to the layer's input by the layer's rule, with the weights of
    both. What reaches the layer's output otherwise goes by the weights of the layer alone.

    Attributes:
        otherwise: The rule where there is no such layer.
    """

    otherwise: Callable[[Operation], tuple[Any, Any]]

    def __call__(self, operation: Operation) -> tuple[Any, Any]:
        """The rule where there is none."""
        return self.otherwise(operation)


@dataclass(frozen=True)
class FoldedLayer:
    """A layer with a batch norm behind it.

    Attributes:
        made: The layer, as it ran.
        norm: The batch norm.
    """

    made: Made
    norm: Operation

    def pull(self, relevance: Tensor) -> Any:
        """What goes back to the layer's input; the folded layer is evaluated now."""
        layer = affine(self.made.operation)
        assert layer is not None
        layer = layer.scaled(*_scale_and_shift(self.norm))
        both = with_weights(self.made.operation, layer.weight, layer.bias)
        return self.made.rule(both)[1](relevance)


def with_weights(operation: Operation, weight: Tensor, bias: Tensor | None) -> Operation:
    """A layer of `torch.nn` with another weight and bias."""

    def changed(leaves: list[Any] | None) -> list[Any] | None:
        if leaves is None:
            return None
        args, kwargs = operation.layout.fill(leaves)
        x = args[0] if args else kwargs["input"]
        return [x, weight, bias, *args[3:], *(kwargs[name] for name in rest)]

    args, kwargs = operation.layout.fill(operation.leaves)
    rest = [name for name in kwargs if name not in ("input", "weight", "bias")]
    leaves: Any = changed(operation.leaves)
    layout = Layout(3 + len(args[3:]), tuple(rest))
    return replace(operation, leaves=leaves, layout=layout, places=(0,), at_baseline=changed(operation.at_baseline))


def combined(operation: Operation) -> tuple[Made, Operation] | None:
    """The sum or the difference of two layers of one input as one layer, with what made the first operand."""
    if operation.key not in ("add", "sub") or len(operation.places) != 2 or len(operation.made) != 2:
        return None
    one, other = operation.made
    if one is None or other is None or one.operation.key != other.operation.key or one.tapped or other.tapped:
        return None
    if not one.inputs or not other.inputs:
        return None
    layers = affine(one.operation), affine(other.operation)
    plain = operation.argument(2, "alpha", 1) == 1
    if not plain or layers[0] is None or layers[1] is None or one.inputs[0] is not other.inputs[0]:
        return None
    if layers[0].weight.shape != layers[1].weight.shape or _options(one.operation) != _options(other.operation):
        return None
    sign = 1 if operation.key == "add" else -1
    biases = [layer.bias for layer in layers if layer is not None]
    zero = layers[0].weight.new_zeros(())
    first, second = (zero if bias is None else bias for bias in biases)
    bias = None if biases == [None, None] else (first + sign * second).expand(_channels(layers[0]))
    return one, with_weights(one.operation, layers[0].weight + sign * layers[1].weight, bias)


def _options(operation: Operation) -> tuple[Any, ...]:
    args, kwargs = operation.layout.fill(operation.leaves)
    return args[3:], {name: value for name, value in kwargs.items() if name not in ("input", "weight", "bias")}


def _channels(layer: Affine) -> int:
    return layer.weight.shape[layer.channel] * (layer.groups if layer.channel else 1)


def folded(norm: Operation) -> FoldedLayer | None:
    """The layer that a batch norm is part of, if it takes the result of one."""
    made = norm.made[0] if len(norm.places) == 1 and norm.made else None
    if made is None or _LAYERS.get(made.operation.key) != made.dim:
        return None
    return FoldedLayer(made, norm) if not made.inputs or affine(made.operation) is not None else None


def _layer(operation: Operation) -> Affine | None:
    places = places_of(operation, ("input", "weight", "bias"))
    if operation.places[0] != places["input"]:
        return None
    leaves = list(operation.leaves)
    bias: Tensor | None = leaves[places["bias"]] if "bias" in places else None
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


def places_of(operation: Operation, names: tuple[str, ...]) -> dict[str, int]:
    """Where among the leaves the arguments of these names stand, which come first."""
    args, kwargs = operation.layout.fill(range(len(operation.leaves)))
    return {**dict(zip(names, args, strict=False)), **{name: kwargs[name] for name in names if name in kwargs}}


def _scale_and_shift(norm: Operation) -> tuple[Tensor, Tensor]:
    """What a batch norm does to each channel."""
    names = ("running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    mean, variance, weight, bias, _, _, eps = (norm.argument(i + 1, name) for i, name in enumerate(names))
    scale = torch.rsqrt(variance + (1e-5 if eps is None else eps))
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale
    return scale, shift if bias is None else shift + bias
