"""Gradients of many examples, as what they are products of: their inner products need no gradient to be written out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Dense", "Gradients", "Outer", "dense", "flat", "inner", "norms", "rows_in", "settled", "weighted"]


@dataclass(frozen=True)
class Dense:
    """Gradients of one parameter, written out.

    Attributes:
        value: `(B, *shape)`.
    """

    value: Tensor

    def __getitem__(self, rows: slice) -> Dense:
        """Those of some examples."""
        return Dense(self.value[rows])


@dataclass(frozen=True)
class Outer:
    """Gradients of a matrix, for each example a sum of outer products: `sum_t left[b, t] right[b, t]^T`.

    The weight of a convolution is a matrix of channels by all else.

    Attributes:
        left: `(B, T, O)`, or `(B, T)` integers that stand for rows of the identity.
        right: `(B, T, I)`.
        count: O.
    """

    left: Tensor
    right: Tensor
    count: int

    def __getitem__(self, rows: slice) -> Outer:
        """Those of some examples."""
        return Outer(self.left[rows], self.right[rows], self.count)

    @property
    def indices(self) -> bool:
        """Whether the left factors are rows of the identity."""
        return not self.left.is_floating_point()


Term = Dense | Outer
Gradients = Mapping[str, Sequence[Term]]
"""The terms that the gradients of a parameter are the sum of, by its name."""


def rows_in(gradients: Gradients) -> int:
    """The number of examples."""
    term = next(iter(gradients.values()))[0]
    return len(term.value if isinstance(term, Dense) else term.right)


def dense(terms: Sequence[Term], dtype: torch.dtype) -> Tensor:
    """Gradients of one parameter, written out, `(B, ...)`, in two dimensions or more; of a convolution as a matrix."""
    total = None
    for term in terms:
        value = term.value if isinstance(term, Dense) else _written_out(term)
        total = value.to(dtype) if total is None else total + value.reshape(total.shape).to(dtype)
    assert total is not None
    return total.unsqueeze(1) if total.dim() == 1 else total  # of a parameter without dimensions


def _written_out(term: Outer) -> Tensor:
    if not term.indices:
        return term.left.mT @ term.right
    rows, _, width = term.right.shape
    table = term.right.new_zeros(rows, term.count, width)
    return table.scatter_add_(1, term.left.unsqueeze(2).expand(term.right.shape), term.right)


def flat(gradients: Gradients, dtype: torch.dtype) -> Tensor:
    """All gradients, written out behind each other, `(B, P)`."""
    return torch.cat([dense(terms, dtype).flatten(1) for terms in gradients.values()], 1)


def inner(one: Gradients, other: Gradients, dtype: torch.dtype) -> Tensor:
    """Inner products of all pairs of examples, `(Q, B)`."""
    total = torch.zeros((), dtype=dtype)
    for name, terms in one.items():
        total = total.to(_device(terms)) + _inner(terms, other[name], dtype)
    return total


def _device(terms: Sequence[Term]) -> torch.device:
    return (terms[0].value if isinstance(terms[0], Dense) else terms[0].right).device


def _inner(one: Sequence[Term], other: Sequence[Term], dtype: torch.dtype) -> Tensor:
    if _factored(one, other):
        products = [_product(a, b, dtype) for a in one for b in other if isinstance(a, Outer) and isinstance(b, Outer)]
        return torch.stack(products).sum(0) if len(products) > 1 else products[0]
    return dense(one, dtype).flatten(1) @ dense(other, dtype).flatten(1).T


def _factored(one: Sequence[Term], other: Sequence[Term]) -> bool:
    """Whether the factors take less to multiply than what they are factors of."""
    outer = [[term for term in terms if isinstance(term, Outer)] for terms in (one, other)]
    if len(outer[0]) != len(one) or len(outer[1]) != len(other):
        return False
    times = [sum(term.right.shape[1] for term in terms) for terms in outer]
    count, width = outer[0][0].count, outer[0][0].right.shape[2]
    return times[0] * times[1] * (count + width) <= count * width or times == [1, 1]


def _product(one: Outer, other: Outer, dtype: torch.dtype) -> Tensor:
    left, right = _left(one, other, dtype), one.right.to(dtype).flatten(0, 1) @ other.right.to(dtype).flatten(0, 1).T
    pairs = (left * right).unflatten(0, one.right.shape[:2]).unflatten(2, other.right.shape[:2])
    return pairs.sum((1, 3))


def _left(one: Outer, other: Outer, dtype: torch.dtype) -> Tensor:
    if one.indices and other.indices:
        return (one.left.flatten()[:, None] == other.left.flatten()).to(dtype)
    if one.indices:
        return other.left.to(dtype).flatten(0, 1)[:, one.left.flatten()].T
    if other.indices:
        return one.left.to(dtype).flatten(0, 1)[:, other.left.flatten()]
    return one.left.to(dtype).flatten(0, 1) @ other.left.to(dtype).flatten(0, 1).T


def settled(gradients: Gradients, dtype: torch.dtype) -> Gradients:
    """Gradients that are multiplied many times: written out where factors of as many steps would take longer."""
    return {
        name: terms if _factored(terms, terms) else (Dense(dense(terms, dtype).flatten(1)),)
        for name, terms in gradients.items()
    }


def norms(gradients: Gradients, dtype: torch.dtype) -> Tensor:
    """Squared norms of the gradients, `(B,)`."""
    return torch.stack([_norms(terms, dtype) for terms in gradients.values()]).sum(0)


def _norms(terms: Sequence[Term], dtype: torch.dtype) -> Tensor:
    if len(terms) == 1 and isinstance(terms[0], Outer) and _factored(terms, terms):
        right = terms[0].right.to(dtype)
        if terms[0].indices:
            left = (terms[0].left[:, :, None] == terms[0].left[:, None, :]).to(dtype)
        else:
            left = terms[0].left.to(dtype) @ terms[0].left.to(dtype).mT
        return (left * (right @ right.mT)).sum((1, 2))
    return dense(terms, dtype).flatten(1).square().sum(1)


def weighted(directions: Mapping[str, Tensor], gradients: Gradients, dtype: torch.dtype) -> Tensor:
    """Inner products of directions `(Q, *shape)` with the gradients of the examples, `(Q, B)`."""
    return inner({name: (Dense(value),) for name, value in directions.items()}, gradients, dtype)
