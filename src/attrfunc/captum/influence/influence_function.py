"""Influence functions with Captum's arguments: the largest eigenvalues of a Hessian, exactly or by products."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from attrfunc.captum.bars import reported
from attrfunc.captum.influence._shared import (
    DataInfluence,
    KMostInfluentialResults,
    _load_flexible_state_dict,
    batches_in,
    loader,
    parameters_of,
    per_example,
    reduction_of,
    stages,
    state_at,
)
from attrfunc.core.errors import ModelError
from attrfunc.influence.batches import batches_of
from attrfunc.influence.network import Network
from attrfunc.influence.per_example import PerExample
from attrfunc.influence.products import Products
from attrfunc.influence.terms import flat
from attrfunc.influence.top import best
from attrfunc.influence.values import losses

__all__ = [
    "ArnoldiInfluenceFunction",
    "InfluenceFunctionBase",
    "IntermediateQuantitiesInfluenceFunction",
    "NaiveInfluenceFunction",
]


class InfluenceFunctionBase(DataInfluence):
    """What the classes of influence functions share; see Captum for the arguments."""

    def __init__(
        self,
        model: nn.Module,
        train_dataset: Dataset[Any] | DataLoader[Any],
        checkpoint: str,
        checkpoints_load_func: Callable[[nn.Module, str], float] = _load_flexible_state_dict,
        layers: list[str] | None = None,
        loss_fn: nn.Module | Callable[..., Any] | None = None,
        batch_size: int | None = 1,
        hessian_dataset: Dataset[Any] | DataLoader[Any] | None = None,
        test_loss_fn: nn.Module | Callable[..., Any] | None = None,
        sample_wise_grads_per_batch: bool = False,
    ) -> None:
        self.model, self.checkpoint, self.checkpoints_load_func = model, checkpoint, checkpoints_load_func
        self.loss_fn = loss_fn
        self.test_loss_fn = loss_fn if test_loss_fn is None else test_loss_fn
        self.sample_wise_grads_per_batch, self.batch_size = sample_wise_grads_per_batch, batch_size
        self.train_dataloader = loader(train_dataset, batch_size)
        self.hessian_dataloader = self.train_dataloader
        if hessian_dataset is not None:
            self.hessian_dataloader = loader(hessian_dataset, batch_size, "hessian_dataset")
        self.reduction_type = reduction_of(loss_fn, "loss_fn", sample_wise_grads_per_batch)
        self.test_reduction_type = self.reduction_type
        if test_loss_fn is not None:
            self.test_reduction_type = reduction_of(test_loss_fn, "test_loss_fn", sample_wise_grads_per_batch)
        parameters_of(model, layers)
        state = state_at(model, checkpoints_load_func, checkpoint)
        ((self._network, _),) = stages(model, [state], layers)

    @abstractmethod
    def self_influence(
        self, inputs_dataset: tuple[Any, ...] | DataLoader[Any] | None = None, show_progress: bool = False
    ) -> Tensor:
        """The influence of examples on themselves."""

    @abstractmethod
    def influence(  # type: ignore[override]
        self, inputs: tuple[Any, ...], k: int | None = None, proponents: bool = True, show_progress: bool = False
    ) -> Tensor | KMostInfluentialResults:
        """The influence of training examples on the inputs."""


class IntermediateQuantitiesInfluenceFunction(InfluenceFunctionBase):
    """Influence functions by vectors whose inner products are scores."""

    R: Tensor
    """What gradients are multiplied with, `(P, D)`: eigenvectors over the square roots of their eigenvalues."""

    def compute_intermediate_quantities(
        self,
        inputs_dataset: tuple[Any, ...] | DataLoader[Any],
        aggregate: bool = False,
        show_progress: bool = False,
        return_on_cpu: bool = True,
        test: bool = False,
    ) -> Tensor:
        """Vectors whose inner products are scores, `(N, D)`; their sum, `(1, D)`, if they are aggregated."""
        loss = (self.test_loss_fn, self.test_reduction_type) if test else (self.loss_fn, self.reduction_type)
        gradients = PerExample(self._network, losses(per_example(*loss)))
        text = f"Using {self.get_name()} to compute intermediate quantities. Processing batch"
        found = [
            flat(gradients(tuple(batch)), self._network.dtype) @ self.R.to(self._network.device)
            for batch in reported(batches_in(inputs_dataset), show_progress, text)
        ]
        result = torch.stack([one.sum(0) for one in found]).sum(0)[None] if aggregate else torch.cat(found)
        return result.cpu() if return_on_cpu else result

    def influence(  # type: ignore[override]
        self, inputs: tuple[Any, ...], k: int | None = None, proponents: bool = True, show_progress: bool = False
    ) -> Tensor | KMostInfluentialResults:
        """Scores `(Q, N)`, or the `k` best of them with their indices."""
        queries = self.compute_intermediate_quantities(inputs, test=True)
        text = f"Using {self.get_name()} to compute influence scores. Processing batch"
        batches = reported(self.train_dataloader, show_progress, text)
        each = batches_of(batches, "train_dataset")
        blocks = (queries @ self.compute_intermediate_quantities(batch).T for batch in each)
        if k is None:
            return torch.cat(list(blocks), 1)
        found = best(blocks, k, proponents, all_at_most=True)
        return KMostInfluentialResults(found.indices, found.scores)

    def self_influence(
        self, inputs_dataset: tuple[Any, ...] | DataLoader[Any] | None = None, show_progress: bool = False
    ) -> Tensor:
        """The influence of examples on themselves, `(N,)`."""
        batches = batches_in(self.train_dataloader if inputs_dataset is None else inputs_dataset)
        text = f"Using {self.get_name()} to compute self influence scores. Processing batch"
        parts = [self.compute_intermediate_quantities(batch) for batch in reported(batches, show_progress, text)]
        return torch.cat(parts).square().sum(1)

    def _project(
        self,
        basis: Callable[[Network, Products], tuple[Tensor, Tensor]],
        projection_dim: int | None,
        hessian_reg: float,
        hessian_inverse_tol: float,
        projection_on_cpu: bool,
        show_progress: bool,
    ) -> None:
        """Keep the largest eigenvalues in a space: `basis` gives its vectors, `(P, K)`, and the Hessian in them."""
        self.projection_dim, self.hessian_reg, self.hessian_inverse_tol = (
            projection_dim,
            hessian_reg,
            hessian_inverse_tol,
        )
        data = reported(self.hessian_dataloader, show_progress, "processing `hessian_dataset` batch")
        values = losses(per_example(self.loss_fn, self.reduction_type))
        vectors, matrix = basis(self._network, Products(self._network, data, values, "hessian"))
        eigenvalues, inside = _projection(matrix, projection_dim, hessian_reg, hessian_inverse_tol)
        if not len(eigenvalues):
            raise ModelError("the Hessian has no positive eigenvalue above the bound. Pass a larger hessian_reg.")
        self.R = (vectors @ inside / eigenvalues.sqrt()).to(self._network.dtype)
        self.R = self.R.cpu() if projection_on_cpu else self.R


def _projection(matrix: Tensor, count: int | None, damping: float, least: float) -> tuple[Tensor, Tensor]:
    """The largest eigenvalues that are above a bound, and their eigenvectors, whose sums are positive."""
    values, vectors = torch.linalg.eigh((matrix.double() + matrix.double().T) / 2)
    values = values + damping
    values, vectors = values[values > least], vectors[:, values > least]
    if count is not None:
        values, vectors = values[-count:], vectors[:, -count:]
    return values, vectors * torch.where(vectors.sum(0) > 0, 1.0, -1.0)


class NaiveInfluenceFunction(IntermediateQuantitiesInfluenceFunction):
    """Influence by the whole Hessian's largest eigenvalues, with Captum's arguments.

    To invert all of the Hessian, `attrfunc.influence.hessian` with `influence_function` is exact.
    """

    def __init__(
        self,
        model: nn.Module,
        train_dataset: Dataset[Any] | DataLoader[Any],
        checkpoint: str,
        checkpoints_load_func: Callable[[nn.Module, str], float] = _load_flexible_state_dict,
        layers: list[str] | None = None,
        loss_fn: nn.Module | Callable[..., Any] | None = None,
        batch_size: int | None = 1,
        hessian_dataset: Dataset[Any] | DataLoader[Any] | None = None,
        test_loss_fn: nn.Module | Callable[..., Any] | None = None,
        sample_wise_grads_per_batch: bool = False,
        projection_dim: int = 50,
        seed: int = 42,
        hessian_reg: float = 1e-6,
        hessian_inverse_tol: float = 1e-5,
        projection_on_cpu: bool = True,
        show_progress: bool = False,
    ) -> None:
        super().__init__(
            model,
            train_dataset,
            checkpoint,
            checkpoints_load_func,
            layers,
            loss_fn,
            batch_size,
            hessian_dataset,
            test_loss_fn,
            sample_wise_grads_per_batch,
        )
        limits = (projection_dim, hessian_reg, hessian_inverse_tol)
        self._project(_whole, *limits, projection_on_cpu, show_progress)


class ArnoldiInfluenceFunction(IntermediateQuantitiesInfluenceFunction):
    """Influence by a Hessian's largest eigenvalues in a Krylov space, with Captum's arguments.

    The Hessian is symmetric, so this is Lanczos's method with reorthogonalisation, from the vector that Captum draws.
    """

    def __init__(
        self,
        model: nn.Module,
        train_dataset: Dataset[Any] | DataLoader[Any],
        checkpoint: str,
        checkpoints_load_func: Callable[[nn.Module, str], float] = _load_flexible_state_dict,
        layers: list[str] | None = None,
        loss_fn: nn.Module | Callable[[Tensor, Tensor], Tensor] | None = None,
        batch_size: int | None = 1,
        hessian_dataset: Dataset[Any] | DataLoader[Any] | None = None,
        test_loss_fn: nn.Module | Callable[[Tensor, Tensor], Tensor] | None = None,
        sample_wise_grads_per_batch: bool = False,
        projection_dim: int = 50,
        seed: int = 0,
        arnoldi_dim: int = 200,
        arnoldi_tol: float = 0.1,
        hessian_reg: float = 1e-3,
        hessian_inverse_tol: float = 1e-4,
        projection_on_cpu: bool = True,
        show_progress: bool = False,
    ) -> None:
        super().__init__(
            model,
            train_dataset,
            checkpoint,
            checkpoints_load_func,
            layers,
            loss_fn,
            batch_size,
            hessian_dataset,
            test_loss_fn,
            sample_wise_grads_per_batch,
        )
        self.arnoldi_dim, self.arnoldi_tol = arnoldi_dim, arnoldi_tol
        space = partial(_krylov, seed=seed, count=arnoldi_dim, tolerance=arnoldi_tol)
        limits = (projection_dim, hessian_reg, hessian_inverse_tol)
        self._project(space, *limits, projection_on_cpu, show_progress)


def _whole(network: Network, products: Products) -> tuple[Tensor, Tensor]:
    """All of the summed Hessian."""
    whole = torch.eye(network.size, dtype=network.dtype, device=network.device)
    return whole.double(), products(whole).double() * products.rows


def _krylov(network: Network, products: Products, *, seed: int, count: int, tolerance: float) -> tuple[Tensor, Tensor]:
    """An orthonormal basis of a Krylov space, `(P, K)`, and the summed Hessian in it."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(v.shape, generator=generator, dtype=v.dtype) for v in network.values.values()]
    start = torch.cat([part.flatten() for part in drawn]).to(network.device)
    vectors, images = [start.double() / start.double().norm()], list[Tensor]()
    for _ in range(count):
        image = products(vectors[-1].to(start.dtype).unsqueeze(0))[0].double() * products.rows
        images.append(image)
        basis = torch.stack(vectors, 1)
        rest = image - basis @ (basis.T @ image)
        rest = rest - basis @ (basis.T @ rest)
        if rest.norm() < tolerance:
            break
        vectors.append(rest / rest.norm())
    size = len(images) - 1  # the last vector's image has not been made orthogonal
    if not size:
        raise ModelError("the Krylov space is empty. Pass a smaller arnoldi_tol.")
    basis = torch.stack(vectors[:size], 1)
    return basis, basis.T @ torch.stack(images[:size], 1)
