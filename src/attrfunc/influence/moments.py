"""Second moments of the factors of gradients, block by block: what Kronecker-factored curvatures are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, ModelError
from attrfunc.influence.batches import batches_of, rows_of
from attrfunc.influence.drawn import Drawn
from attrfunc.influence.network import Network
from attrfunc.influence.outputs import Outputs
from attrfunc.influence.per_example import PerExample
from attrfunc.influence.terms import Dense, Gradients, Outer, Term, dense, rows_in

__all__ = ["Block", "Moments", "Pulls", "in_bases", "refitted"]

Block = tuple[tuple[str, ...], Tensor | None, Tensor | None, Tensor]
"""Parameters, the eigenvectors on the left and on the right of their matrix (none for a diagonal), and eigenvalues."""

_MATRIX = 4096
"""A parameter without factors has a matrix of its own up to so many numbers, and a diagonal beyond."""

_AT_ONCE = 4

_SIDE = 16_384
"""The longest side of a matrix with factors: its second moments take 2 GiB."""


def in_bases(matrix: Tensor, left: Tensor | None, right: Tensor | None) -> Tensor:
    """`left^T matrix right`."""
    matrix = matrix if left is None else left.T.to(matrix) @ matrix
    return matrix if right is None else matrix @ right.to(matrix)


class Pulls:
    """Gradients whose outer products add up to the Gauss-Newton matrix."""

    def __init__(self, outputs: Outputs, gradients: PerExample, data: Iterable[Any], drawn: Drawn | None) -> None:
        self._outputs, self._gradients, self._data, self._drawn = outputs, gradients, data, drawn
        self.rows = 0

    def each(self) -> Iterator[Gradients]:
        """One for each batch and column of the loss's Hessian there."""
        self.rows = 0
        for batch in batches_of(self._data):
            for column in self._outputs.roots(batch, self._drawn):
                yield self._gradients((batch, column))
            self.rows += rows_of(batch)


def _blocks(network: Network, gradients: Gradients) -> list[tuple[str, ...]]:
    """The parameters of each block: matrices with factors have their bias with them."""
    matrices = [name for name, terms in gradients.items() if _has_factors(terms)]
    biases = {}
    for name in matrices:
        bias = name.removesuffix("weight") + "bias" if name.endswith("weight") else ""
        if bias in gradients and _is_bias(gradients[name][0], gradients[bias]):
            biases[name] = bias
    alone = [name for name in network.names if name not in biases.values()]
    return [(name, biases[name]) if name in biases else (name,) for name in alone]


def _has_factors(terms: Sequence[Term]) -> bool:
    return len(terms) == 1 and isinstance(terms[0], Outer) and not terms[0].indices


def _is_bias(term: Term, terms: Sequence[Term]) -> bool:
    """Whether these are the gradients of what is added to the matrix's product."""
    if not isinstance(term, Outer) or len(terms) != 1 or not isinstance(terms[0], Dense):
        return False
    total, value = term.left.sum(1), terms[0].value
    return total.shape == value.shape and torch.allclose(total, value, rtol=1e-4, atol=1e-6)


def _joint(gradients: Gradients, names: tuple[str, ...]) -> Outer:
    """The factors of a matrix, with a constant one for its bias."""
    term = gradients[names[0]][0]
    if not isinstance(term, Outer) or not _has_factors(gradients[names[0]]):
        raise ModelError(
            f"{names[0]!r} has factors in some batches and none in others, as where examples stand in another "
            "dimension. Pass batches of one size, or leave the parameter out."
        )
    if len(names) == 1:
        return term
    ones = torch.ones_like(term.right[:, :, :1])
    return Outer(term.left, torch.cat([term.right, ones], 2), term.count)


class Moments:
    """Second moments of factors, block by block."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._names: list[tuple[str, ...]] = []
        self._sums: dict[str, tuple[Tensor, ...]] = {}
        self._weights: dict[str, float] = {}

    @property
    def any(self) -> bool:
        """Whether there has been a gradient."""
        return bool(self._names)

    def add(self, gradients: Gradients) -> None:
        """Take the gradients of a batch."""
        if not self._names:
            self._names = _blocks(self._network, gradients)
        for names in self._names:
            parts = self._of_block(gradients, names)
            old = self._sums.get(names[0])
            self._sums[names[0]] = parts if old is None else tuple(a + b for a, b in zip(old, parts, strict=True))

    def _of_block(self, gradients: Gradients, names: tuple[str, ...]) -> tuple[Tensor, ...]:
        if _has_factors(gradients[names[0]]):
            term = _joint(gradients, names)
            self._require_room(names[0], max(term.left.shape[2], term.right.shape[2]))
            left, right = term.left.double().flatten(0, 1), term.right.double().flatten(0, 1)
            # In the mean over steps, so that the product of both has the scale of a gradient's square.
            return left.T @ left, right.T @ right, torch.tensor(float(len(right)), dtype=torch.float64)
        if self._network.values[names[0]].numel() > _MATRIX:
            return (_squares(gradients[names[0]]),)
        written = dense(gradients[names[0]], torch.float64).flatten(1)
        return (written.T @ written,)

    def _require_room(self, name: str, side: int) -> None:
        if side > _SIDE:
            got = f"{name!r}, whose factor would be a matrix of {side:,} x {side:,}"
            rest = [other.rpartition(".")[0] or other for other in self._network.names if other != name]
            fix = f"Choose others: parameters=[{', '.join(repr(one) for one in dict.fromkeys(rest[:2]))}, ...]."
            raise ArgumentError("parameters", got, f"matrices with sides of up to {_SIDE:,}", fix)

    def bases(self, rows: int) -> list[Block]:
        """Eigenvectors and eigenvalues of each block."""
        found: list[Block] = []
        for names in self._names:
            sums = self._sums[names[0]]
            if len(sums) == 3:
                (low, left), (high, right) = torch.linalg.eigh(sums[0]), torch.linalg.eigh(sums[1])
                spectrum = low.clamp(min=0)[:, None] * (high.clamp(min=0) / sums[2])[None, :] / rows
                found.append((names, left, right, spectrum))
            elif sums[0].dim() == 2:
                values, vectors = torch.linalg.eigh(sums[0] / rows)
                found.append((names, None, vectors, values.clamp(min=0).unsqueeze(0)))
            else:
                found.append((names, None, None, (sums[0] / rows).unsqueeze(0)))
        return found


def _squares(terms: Sequence[Term]) -> Tensor:
    """The sum of the examples' squared gradients, `(numel,)`: a few of them are written out at a time."""
    rows, total = rows_in({"": terms}), None
    for begin in range(0, rows, _AT_ONCE):
        part = [term[begin : begin + _AT_ONCE] for term in terms]
        square = dense(part, torch.float64).flatten(1).square().sum(0)
        total = square if total is None else total + square
    assert total is not None
    return total


def refitted(network: Network, bases: Sequence[Any], pulls: Pulls) -> list[Tensor]:
    """The diagonal of the Gauss-Newton matrix in each block's eigenbasis."""
    sums: Mapping[int, list[Tensor]] = {number: [] for number in range(len(bases))}
    for gradients in pulls.each():
        for number, (names, left, right, _) in enumerate(bases):
            if right is None:
                square = _squares(gradients[names[0]]).unsqueeze(0)
                sums[number][:] = [square + sums[number][0] if sums[number] else square]
                continue
            if left is None:
                written = dense(gradients[names[0]], torch.float64).flatten(1).unsqueeze(1)
                turned = in_bases(written, left, right)
            else:
                term = _joint(gradients, names)
                turned = (term.left.double() @ left).mT @ (term.right.double() @ right)
            square = turned.square().sum(0)
            sums[number][:] = [square + sums[number][0] if sums[number] else square]
    return [sums[number][0] / pulls.rows for number in range(len(bases))]
