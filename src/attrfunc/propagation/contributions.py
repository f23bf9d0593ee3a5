"""Shares of relevance: an input's contribution over the sum of all contributions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.model.engines import known
from attrfunc.propagation.affine import Affine
from attrfunc.propagation.operation import Operation

__all__ = ["Pull", "Ruled", "Term", "identity", "shared", "shared_by_terms", "signed", "stabilized"]

Pull = Callable[[Tensor], Sequence[Tensor]]
Ruled = tuple[Any, Pull]
Term = tuple[Tensor, Tensor, Tensor | None]
"""An input, a weight and a bias."""


def stabilized(z: Any, size: float) -> Tensor:
    """A denominator, moved away from zero."""
    result: Tensor = z + torch.copysign(torch.as_tensor(size, dtype=z.dtype, device=z.device), z)
    return result


def shared(inputs: Sequence[Tensor], denominator: Tensor, pull: Pull, relevance: Tensor) -> list[Tensor]:
    """Relevance shared out to some inputs in proportion to their contributions.

    Args:
        inputs: The inputs.
        denominator: What their contributions are divided by.
        pull: The gradient of what they contribute to.
        relevance: The relevance of that.
    """
    return [x * part for x, part in zip(inputs, pull(relevance / denominator), strict=True)]


def signed(layer: Affine, bias: Tensor | None, positive: bool) -> list[Term]:
    """The inputs and weights whose products are the positive, or the negative, contributions.

    Args:
        layer: The layer.
        bias: The bias that counts.
        positive: Which.
    """
    low, high = (0, None) if positive else (None, 0)
    terms: list[Term] = [
        (layer.x.clamp(min=0), layer.weight.clamp(low, high), None if bias is None else bias.clamp(low, high))
    ]
    if known((layer.x >= 0).all()) is not True:
        terms.append((layer.x.clamp(max=0), layer.weight.clamp(high, low), None))
    return terms


def shared_by_terms(layer: Affine, terms: Sequence[Term], relevance: Tensor, size: float) -> Tensor:
    """Relevance shared out in proportion to the contributions of all terms together.

    Args:
        layer: The layer.
        terms: What takes the place of its input, weight and bias; their values are added.
        relevance: The relevance of its output.
        size: What is added to the size of the denominator.
    """
    values, pulls = zip(*(_linear(layer, *term) for term in terms), strict=True)
    z = stabilized(sum(values), size)
    found: Any = sum(shared([x], z, pull, relevance)[0] for (x, _, _), pull in zip(terms, pulls, strict=True))
    return found


def _linear(layer: Affine, x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Pull]:
    return torch.func.vjp(lambda x: layer.value(x, weight, bias), x)  # type: ignore[return-value]


def identity(operation: Operation) -> Ruled:
    """Relevance goes through as it is: elementwise functions, and products with constants.

    Where several inputs depend on the point, each gets the same share.
    """
    value, shapes = operation.value(), [x.shape for x in operation.inputs]
    if operation.is_complex and any(shape != value.shape for shape in shapes):
        operation.require_real()

    def back(relevance: Tensor) -> Sequence[Tensor]:
        if len(shapes) == 1 and relevance.shape == shapes[0]:
            return [relevance]
        return [(relevance / len(shapes) if len(shapes) > 1 else relevance).sum_to_size(shape) for shape in shapes]

    return value, back
