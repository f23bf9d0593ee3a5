"""Curvatures of low rank: by Lanczos's method, and DataInf's sum of inverses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ModelError, positive
from attrfunc.core.score.method import method
from attrfunc.core.score.views import Model
from attrfunc.influence.batches import batches_of
from attrfunc.influence.curvature import Curvature, damped, digest
from attrfunc.influence.network import open_network
from attrfunc.influence.per_example import PerExample
from attrfunc.influence.products import Kind, Products
from attrfunc.influence.terms import flat
from attrfunc.influence.values import Loss, losses

__all__ = ["DataInf", "LowRank", "datainf", "lanczos"]


@dataclass(frozen=True)
class LowRank(Curvature):
    """A curvature by its greatest eigenvalues.

    Attributes:
        eigenvalues: `(K,)`, in double precision.
        vectors: Their eigenvectors, `(P, K)`, in double precision.
    """

    eigenvalues: Tensor
    vectors: Tensor

    def solve(self, vectors: Tensor) -> Tensor:
        """In the eigenbasis; beyond it the curvature is taken as zero."""
        basis = self.vectors.to(vectors.device)
        inside = vectors.double() @ basis
        scale = 1 / (self.eigenvalues.to(vectors.device) + self.damping)
        if self.damping == 0:
            return ((inside * scale) @ basis.T).to(vectors.dtype)
        return (vectors.double() / self.damping + (inside * (scale - 1 / self.damping)) @ basis.T).to(vectors.dtype)


@method
def lanczos(
    model: Model,
    data: Iterable[Any],
    *,
    loss: Loss,
    damping: float,
    rank: int = 50,
    steps: int | None = None,
    of: Kind = "hessian",
    generator: torch.Generator | None = None,
    parameters: Any = None,
) -> Curvature:
    """The greatest eigenvalues of a curvature, by products with vectors; what is beyond them is taken as zero.

    Lanczos's method for symmetric matrices, with full reorthogonalisation: what Arnoldi's would give, without complex
    numbers. Of an eigenvalue that is there several times each eigenvector counts.

    Args:
        model: A module, in evaluation mode.
        data: The training data: batches that can be passed over again.
        loss: `loss(model, batch) -> (B,)`.
        damping: What is added; with 0, influence is taken within the space of the eigenvectors alone.
        rank: How many eigenvalues to keep: the greatest, which are positive.
        steps: How many products to take; `None` takes twice the rank. More of them bring the smaller ones nearer.
        of: `"hessian"` or `"ggn"`.
        generator: The source of the vector that it starts from; `None` draws from torch's own.
        parameters: As for `tracin`.

    Returns:
        A curvature, for `influence_function`; P * steps numbers of memory.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If no eigenvalue is positive.

    Example:
        >>> model, batch = torch.nn.Linear(3, 1), (torch.randn(8, 3), torch.randn(8, 1))
        >>> loss = lambda model, batch: (model(batch[0]) - batch[1]).square().sum(1)
        >>> af.influence.lanczos(model, [batch], loss=loss, damping=0.1, rank=2).rows
        8

    Reference:
        Schioppa, Zablotskaia, Vilar, Sokolov: Scaling Up Influence Functions, AAAI 2022,
        https://arxiv.org/abs/2112.03052
    """
    damping, rank, network = damped(damping), positive("rank", rank), open_network(model, parameters)
    products = Products(network, data, losses(loss), of)
    count = min(2 * rank if steps is None else max(positive("steps", steps), rank), network.size)
    device = "cpu" if generator is None else generator.device

    def fresh() -> Tensor:
        return torch.randn(network.size, generator=generator, dtype=torch.float64, device=device).to(network.device)

    basis, matrix = _krylov(products, fresh, count, network.dtype)
    values, vectors = torch.linalg.eigh(matrix)
    kept = [k for k in values.argsort(descending=True)[:rank].tolist() if values[k] > 1e-7 * values.abs().max()]
    if not kept:
        raise ModelError(
            "the curvature has no positive eigenvalue: the model is at no minimum of the loss. Train it on, or take "
            'of="ggn".'
        )
    return LowRank(network.names, products.rows, damping, digest(network), values[kept], basis @ vectors[:, kept])


def _krylov(products: Products, fresh: Callable[[], Tensor], count: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """An orthonormal basis `(P, K)`, and the curvature in it, `(K, K)`.

    Of an eigenvalue that is there several times, as it is with several outputs and a squared loss, the products of one
    vector meet one eigenvector only; where they are exhausted, a fresh vector finds the others.
    """
    tiny = 1e-12 if dtype == torch.float64 else 1e-6
    vectors, images, largest, started = [_unit(fresh(), [])], list[Tensor](), 0.0, True
    while True:
        image = products(vectors[-1].to(dtype).unsqueeze(0))[0].double()
        images.append(image)
        largest = max(largest, float(image.norm()))
        if len(images) == count or (started and float(image.norm()) <= tiny * largest):  # zero on all that is left
            break
        rest = _rest(_rest(image, vectors), vectors)  # twice is enough
        started = float(rest.norm()) <= tiny * largest
        vectors.append(_unit(fresh() if started else rest, vectors))
    basis = torch.stack(vectors, 1)
    matrix = basis.T @ torch.stack(images, 1)
    return basis, (matrix + matrix.T) / 2


def _rest(vector: Tensor, others: list[Tensor]) -> Tensor:
    """What is orthogonal to the others."""
    basis = torch.stack(others, 1)
    return vector - basis @ (basis.T @ vector)


def _unit(vector: Tensor, others: list[Tensor]) -> Tensor:
    """Of norm one, and orthogonal to the others also where little was left."""
    for _ in range(2 if others else 0):
        vector = _rest(vector / vector.norm(), others)
    return vector / vector.norm()


@dataclass(frozen=True)
class DataInf(Curvature):
    """The mean of the inverses of single examples' damped curvatures, parameter by parameter.

    Attributes:
        sizes: How many numbers each parameter has.
        gradients: Those of the examples, `(N, P)`.
    """

    sizes: tuple[int, ...]
    gradients: Tensor

    def solve(self, vectors: Tensor) -> Tensor:
        """In closed form."""
        found = []
        sizes = list(self.sizes)
        for vector, own in zip(vectors.split(sizes, 1), self.gradients.to(vectors).split(sizes, 1), strict=True):
            shares = (vector @ own.T) / (self.damping + own.square().sum(1))
            found.append((vector - shares @ own / len(own)) / self.damping)
        return torch.cat(found, 1)


@method
def datainf(model: Model, data: Iterable[Any], *, loss: Loss, damping: float, parameters: Any = None) -> Curvature:
    """The inverse of the examples' mean curvature as the mean of inverses, for each parameter by itself.

    `mean_i (g_i g_i^T + damping)^-1`, in closed form. It was made for the small matrices of low-rank adapters.

    Args:
        model: A module, in evaluation mode.
        data: The training data: batches that can be passed over again.
        loss: `loss(model, batch) -> (B,)`.
        damping: What is added, above 0.
        parameters: As for `tracin`.

    Returns:
        A curvature, for `influence_function`; N * P numbers of memory.

    Raises:
        ArgumentError: If the damping is not above 0.

    Example:
        >>> model, batch = torch.nn.Linear(3, 1), (torch.randn(8, 3), torch.randn(8, 1))
        >>> loss = lambda model, batch: (model(batch[0]) - batch[1]).square().sum(1)
        >>> af.influence.datainf(model, [batch], loss=loss, damping=0.1).rows
        8

    Reference:
        Kwon, Wu, Wu, Zou: DataInf: Efficiently Estimating Data Influence in LoRA-tuned LLMs and Diffusion Models,
        ICLR 2024, https://arxiv.org/abs/2310.00902
    """
    damping, network = damped(damping, positive=True), open_network(model, parameters)
    gradients = PerExample(network, losses(loss))
    written = torch.cat([flat(gradients(batch), network.dtype) for batch in batches_of(data)])
    sizes = tuple(value.numel() for value in network.values.values())
    return DataInf(network.names, len(written), damping, digest(network), sizes, written)
