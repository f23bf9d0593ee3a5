"""Curvatures whose whole matrix is made: the Hessian, the Gauss-Newton matrix, the Fisher matrix of the data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ModelError
from attrfunc.core.score.method import method
from attrfunc.core.score.views import Model
from attrfunc.influence.batches import batches_of, rows_of
from attrfunc.influence.curvature import Curvature, Matrix, cholesky, damped, digest, most_numbers
from attrfunc.influence.drawn import drawing
from attrfunc.influence.network import Network, open_network
from attrfunc.influence.outputs import NO_CURVATURE, Outputs, pulled
from attrfunc.influence.per_example import PerExample
from attrfunc.influence.products import Products
from attrfunc.influence.terms import flat
from attrfunc.influence.values import Loss, losses

__all__ = ["fisher", "ggn", "hessian"]


@method
def hessian(model: Model, data: Iterable[Any], *, loss: Loss, damping: float, parameters: Any = None) -> Curvature:
    """The Hessian of the mean loss, plus `damping` on its diagonal.

    With a Hessian, influence is the exact derivative of the optimum with respect to an example's weight. Away from a
    minimum it has negative eigenvalues, which the damping has to exceed.

    Args:
        model: A module, in evaluation mode.
        data: The training data: batches that can be passed over again.
        loss: `loss(model, batch) -> (B,)`.
        damping: What is added; the weight decay, where training had one beside the loss.
        parameters: As for `tracin`.

    Returns:
        A curvature, for `influence_function`. It takes P * P numbers of memory.

    Raises:
        ArgumentError: If it is singular or has negative eigenvalues, or the matrix would be too large.

    Example:
        >>> model, batch = torch.nn.Linear(3, 1), (torch.randn(8, 3), torch.randn(8, 1))
        >>> loss = lambda model, batch: (model(batch[0]) - batch[1]).square().sum(1)
        >>> af.influence.hessian(model, [batch], loss=loss, damping=0.1).rows
        8

    Reference:
        Koh, Liang: Understanding Black-box Predictions via Influence Functions, ICML 2017,
        https://arxiv.org/abs/1703.04730
    """
    damping, network = damped(damping), open_network(model, parameters)
    most_numbers(network)
    products = Products(network, data, losses(loss), "hessian")
    matrix = products(torch.eye(network.size, dtype=network.dtype, device=network.device))
    return _matrix(network, products.rows, damping, matrix)


@method
def ggn(
    model: Model,
    data: Iterable[Any],
    *,
    loss: Loss,
    damping: float,
    samples: int | None = None,
    generator: torch.Generator | None = None,
    parameters: Any = None,
) -> Curvature:
    """The generalised Gauss-Newton matrix of the mean loss, plus `damping`: the loss's Hessian between Jacobians.

    It has no negative eigenvalues where the loss is convex in the model's outputs, and equals the Fisher matrix, with
    the model's own labels, for cross-entropy and squared losses. Arguments, result and errors are those of `hessian`.

    Args:
        model: A module, in evaluation mode.
        data: The training data.
        loss: `loss(model, batch) -> (B,)`, convex in what the model gives.
        damping: What is added.
        samples: As for `kfac`.
        generator: As for `kfac`.
        parameters: As for `tracin`.

    Example:
        >>> model, batch = torch.nn.Linear(3, 1), (torch.randn(8, 3), torch.randn(8, 1))
        >>> loss = lambda model, batch: (model(batch[0]) - batch[1]).square().sum(1)
        >>> af.influence.ggn(model, [batch], loss=loss, damping=0.1).rows
        8

    Reference:
        Schraudolph: Fast Curvature Matrix-Vector Products for Second-Order Gradient Descent, Neural Computation 2002,
        https://doi.org/10.1162/08997660260028683
    """
    damping, network, values = damped(damping), open_network(model, parameters), losses(loss)
    most_numbers(network)
    outputs, gradients, drawn = (
        Outputs(network, values),
        PerExample(network, pulled(values)),
        drawing(samples, generator),
    )
    matrix, rows, curved = _zeros(network), 0, False
    for batch in batches_of(data):
        for column in outputs.roots(batch, drawn):
            written = flat(gradients((batch, column)), network.dtype)
            matrix.addmm_(written.T, written)
            curved = True
        rows += rows_of(batch)
    if not curved:
        raise ModelError(NO_CURVATURE)
    return _matrix(network, rows, damping, matrix / rows)


@method
def fisher(model: Model, data: Iterable[Any], *, loss: Loss, damping: float, parameters: Any = None) -> Curvature:
    """The mean of the outer products of the examples' gradients (the empirical Fisher matrix), plus `damping`.

    It needs the labels only, and no split of the loss; it is no approximation of the Hessian away from a well-fitted
    model. Arguments, result and errors are those of `hessian`.

    Args:
        model: A module, in evaluation mode.
        data: The training data.
        loss: `loss(model, batch) -> (B,)`.
        damping: What is added.
        parameters: As for `tracin`.

    Example:
        >>> model, batch = torch.nn.Linear(3, 1), (torch.randn(8, 3), torch.randn(8, 1))
        >>> loss = lambda model, batch: (model(batch[0]) - batch[1]).square().sum(1)
        >>> af.influence.fisher(model, [batch], loss=loss, damping=0.1).rows
        8

    Reference:
        Kunstner, Balles, Hennig: Limitations of the Empirical Fisher Approximation, NeurIPS 2019,
        https://arxiv.org/abs/1905.12558
    """
    damping, network = damped(damping), open_network(model, parameters)
    most_numbers(network)
    gradients, matrix, rows = PerExample(network, losses(loss)), _zeros(network), 0
    for batch in batches_of(data):
        written = flat(gradients(batch), network.dtype)
        matrix.addmm_(written.T, written)
        rows += len(written)
    return _matrix(network, rows, damping, matrix / rows)


def _zeros(network: Network) -> Tensor:
    return torch.zeros(network.size, network.size, dtype=network.dtype, device=network.device)


def _matrix(network: Network, rows: int, damping: float, matrix: Tensor) -> Matrix:
    return Matrix(network.names, rows, damping, digest(network), cholesky(matrix, damping))
