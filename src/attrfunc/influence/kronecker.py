"""Curvatures by Kronecker factors, of activations and of gradients of outputs (Martens, Grosse 2015)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, ModelError
from attrfunc.core.score.method import method
from attrfunc.core.score.views import Model
from attrfunc.influence.batches import batches_of, rows_of
from attrfunc.influence.curvature import Curvature, damped, digest
from attrfunc.influence.matrices import MOST_OUTPUTS
from attrfunc.influence.network import Loss, Network, losses, open_network
from attrfunc.influence.outputs import Outputs, pulled
from attrfunc.influence.per_example import PerExample
from attrfunc.influence.terms import Dense, Gradients, Outer, Term, dense

__all__ = ["Blocks", "ekfac", "kfac"]

_MOST = 4096
"""A parameter without factors has a matrix of its own up to so many numbers, and a diagonal beyond."""


@dataclass(frozen=True)
class Blocks(Curvature):
    """A curvature with a block for each matrix, with its bias, and for each other parameter.

    Attributes:
        sizes: How many numbers each parameter has, in the order of `names`.
        blocks: For each block: the parameters, the eigenvectors on the left and on the right of their matrix (none for
            a diagonal), and the eigenvalues.
    """

    sizes: tuple[int, ...]
    blocks: tuple[tuple[tuple[str, ...], Tensor | None, Tensor | None, Tensor], ...]

    def solve(self, vectors: Tensor) -> Tensor:
        """In each block's eigenbasis."""
        parts = dict(zip(self.names, vectors.split(list(self.sizes), 1), strict=True))
        solved: dict[str, Tensor] = {}
        for names, left, right, eigenvalues in self.blocks:
            matrix = _as_matrix([parts[name] for name in names], left, right)
            turned = _turned(matrix, left, right) / (eigenvalues.to(matrix) + self.damping)
            back = _turned(turned, None if left is None else left.T, None if right is None else right.T)
            width = back.shape[2] - (len(names) - 1)
            solved[names[0]] = back[:, :, :width].flatten(1)
            if len(names) == 2:
                solved[names[1]] = back[:, :, width]
        return torch.cat([solved[name] for name in self.names], 1)


def _as_matrix(parts: Sequence[Tensor], left: Tensor | None, right: Tensor | None) -> Tensor:
    """Vectors of a block's parameters as matrices `(K, O, I)`, with the bias as the last column."""
    rows = 1 if left is None else len(left)
    matrix = parts[0].reshape(len(parts[0]), rows, -1)
    return torch.cat([matrix, parts[1].unsqueeze(2)], 2) if len(parts) == 2 else matrix


def _turned(matrix: Tensor, left: Tensor | None, right: Tensor | None) -> Tensor:
    """`left^T matrix right`."""
    matrix = matrix if left is None else left.T.to(matrix) @ matrix
    return matrix if right is None else matrix @ right.to(matrix)


@method
def kfac(model: Model, data: Iterable[Any], *, loss: Loss, damping: float, parameters: Any = None) -> Curvature:
    """The Gauss-Newton matrix by Kronecker factors, plus `damping`.

    For each matrix, with its bias, the curvature is the product of the second moments of activations and of gradients
    of outputs, which is exact where the two are independent. The latter are taken of the loss's Hessian at the outputs,
    exactly: for cross-entropy, over all labels by their probability. Other parameters have a block of their own.

    Args:
        model: A module, in evaluation mode.
        data: The training data: batches that can be passed over again.
        loss: `loss(model, batch) -> (B,)`, convex in what the model gives.
        damping: What is added.
        parameters: As for `tracin`.

    Returns:
        A curvature, for `influence_function`.

    Raises:
        ArgumentError: If the damping is zero where a factor is singular, or examples have too many outputs.

    Example:
        >>> model, batch = torch.nn.Linear(3, 1), (torch.randn(8, 3), torch.randn(8, 1))
        >>> loss = lambda model, batch: (model(batch[0]) - batch[1]).square().sum(1)
        >>> af.influence.kfac(model, [batch], loss=loss, damping=0.1).rows
        8

    Reference:
        Martens, Grosse: Optimizing Neural Networks with Kronecker-factored Approximate Curvature, ICML 2015,
        https://arxiv.org/abs/1503.05671
    """
    return _factored(model, data, loss, damping, parameters, refit=False)


@method
def ekfac(model: Model, data: Iterable[Any], *, loss: Loss, damping: float, parameters: Any = None) -> Curvature:
    """The Gauss-Newton matrix by Kronecker factors with eigenvalues that are fitted, plus `damping`.

    The eigenvectors are those of `kfac`; in their basis the diagonal of the Gauss-Newton matrix is exact, at the price
    of a second pass. Arguments, result and errors are those of `kfac`.

    Args:
        model: A module, in evaluation mode.
        data: The training data.
        loss: `loss(model, batch) -> (B,)`, convex in what the model gives.
        damping: What is added.
        parameters: As for `tracin`.

    Example:
        >>> model, batch = torch.nn.Linear(3, 1), (torch.randn(8, 3), torch.randn(8, 1))
        >>> loss = lambda model, batch: (model(batch[0]) - batch[1]).square().sum(1)
        >>> af.influence.ekfac(model, [batch], loss=loss, damping=0.1).rows
        8

    Reference:
        George, Laurent, Bouthillier, Ballas, Vincent: Fast Approximate Natural Gradient Descent in a Kronecker-factored
        Eigenbasis, NeurIPS 2018, https://arxiv.org/abs/1806.03884; Grosse et al.: Studying Large Language Model
        Generalization with Influence Functions, 2023, https://arxiv.org/abs/2308.03296
    """
    return _factored(model, data, loss, damping, parameters, refit=True)


def _factored(
    model: Model, data: Iterable[Any], loss: Loss, damping: float, parameters: Any, *, refit: bool
) -> Curvature:
    damping, network, values = damped(damping), open_network(model, parameters), losses(loss)
    pulls = _Pulls(network, Outputs(network, values), PerExample(network, pulled(values)), data)
    moments = _Moments(network)
    for gradients in pulls.each():
        moments.add(gradients)
    bases = moments.bases(pulls.rows)
    if refit:
        spectra = _refitted(network, bases, pulls)
        bases = [
            (names, left, right, spectrum) for (names, left, right, _), spectrum in zip(bases, spectra, strict=True)
        ]
    for names, _, _, eigenvalues in bases:
        if damping == 0 and eigenvalues.min() <= 1e-10 * eigenvalues.max():
            got = f"0, with which the block of {names[0]!r} is singular"
            fix = f"Pass damping={max(1e-4 * float(eigenvalues.max()), 1e-8):.2g}, say."
            raise ArgumentError("damping", got, "a damping above 0", fix)
    sizes = tuple(value.numel() for value in network.values.values())
    return Blocks(network.names, pulls.rows, damping, digest(network), sizes, tuple(bases))


class _Pulls:
    """Gradients whose outer products add up to the Gauss-Newton matrix."""

    def __init__(self, network: Network, outputs: Outputs, gradients: PerExample, data: Iterable[Any]) -> None:
        self._network, self._outputs, self._gradients, self._data = network, outputs, gradients, data
        self.rows = 0

    def each(self) -> Iterator[Gradients]:
        """One for each batch and column of the loss's Hessian there."""
        self.rows = 0
        for batch in batches_of(self._data):
            for column in self._outputs.roots(batch, MOST_OUTPUTS):
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


class _Moments:
    """Second moments of factors, block by block."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._names: list[tuple[str, ...]] = []
        self._sums: dict[str, tuple[Tensor, ...]] = {}
        self._weights: dict[str, float] = {}

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
            left, right = term.left.double().flatten(0, 1), term.right.double().flatten(0, 1)
            # In the mean over steps, so that the product of both has the scale of a gradient's square.
            return left.T @ left, right.T @ right, torch.tensor(float(len(right)), dtype=torch.float64)
        written = dense(gradients[names[0]], torch.float64).flatten(1)
        return (written.T @ written if written.shape[1] <= _MOST else written.square().sum(0),)

    def bases(self, rows: int) -> list[tuple[tuple[str, ...], Tensor | None, Tensor | None, Tensor]]:
        """Eigenvectors and eigenvalues of each block."""
        found: list[tuple[tuple[str, ...], Tensor | None, Tensor | None, Tensor]] = []
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


def _refitted(network: Network, bases: Sequence[Any], pulls: _Pulls) -> list[Tensor]:
    """The diagonal of the Gauss-Newton matrix in each block's eigenbasis."""
    sums: Mapping[int, list[Tensor]] = {number: [] for number in range(len(bases))}
    for gradients in pulls.each():
        for number, (names, left, right, _) in enumerate(bases):
            if left is None:
                written = dense(gradients[names[0]], torch.float64).flatten(1).unsqueeze(1)
                turned = _turned(written, left, right)
            else:
                term = _joint(gradients, names)
                turned = (term.left.double() @ left).mT @ (term.right.double() @ right)
            square = turned.square().sum(0)
            sums[number][:] = [square + sums[number][0] if sums[number] else square]
    return [sums[number][0] / pulls.rows for number in range(len(bases))]
