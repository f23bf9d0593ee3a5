"""Curvatures without a matrix, which solve by products with vectors: conjugate gradients, and LiSSA."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, ModelError, describe, positive
from attrfunc.core.score.method import method
from attrfunc.core.score.views import Model
from attrfunc.influence.curvature import Curvature, damped, digest
from attrfunc.influence.network import open_network
from attrfunc.influence.products import Kind, Products
from attrfunc.influence.values import Loss, losses

__all__ = ["Conjugate", "Lissa", "cg", "lissa"]


@dataclass(frozen=True)
class Conjugate(Curvature):
    """A curvature that solves by conjugate gradients.

    Attributes:
        products: Multiplies with it.
        tolerance: The residual that is left, as a part of each vector's norm.
        steps: How many products to take at most.
    """

    products: Products
    tolerance: float
    steps: int
    savable: ClassVar[bool] = False

    def solve(self, vectors: Tensor) -> Tensor:
        """To the tolerance, all vectors at once.

        Raises:
            ArgumentError: If the curvature is not positive along a direction.
            ModelError: If the tolerance is not reached.
        """
        goal = self.tolerance * vectors.double().norm(dim=1)
        found, residual = torch.zeros_like(vectors, dtype=torch.float64), vectors.double().clone()
        direction, square = residual.clone(), residual.square().sum(1)
        for _ in range(self.steps):
            open_ones = square.sqrt() > goal
            if not open_ones.any():
                return found.to(vectors.dtype)
            image = self.products(direction[open_ones].to(vectors.dtype)).double() + self.damping * direction[open_ones]
            along = (direction[open_ones] * image).sum(1)
            if (along <= 0).any():
                fix = "Pass a larger damping, or of='ggn', which has no negative eigenvalues."
                got = f"{self.damping}, with which the curvature is not positive definite"
                raise ArgumentError("damping", got, "a damping above the most negative eigenvalue", fix)
            step = (square[open_ones] / along).unsqueeze(1)
            found[open_ones] += step * direction[open_ones]
            residual[open_ones] -= step * image
            new = residual[open_ones].square().sum(1)
            direction[open_ones] = residual[open_ones] + (new / square[open_ones]).unsqueeze(1) * direction[open_ones]
            square[open_ones] = new
        worst = float((square.sqrt() / vectors.double().norm(dim=1).clamp(min=1e-300)).max())
        raise ModelError(
            f"conjugate gradients have left {worst:.2g} of a vector after {self.steps} steps, more than the tolerance "
            f"of {self.tolerance:.2g}. Pass more steps, a larger damping or tolerance, or a model in double precision."
        )


@method
def cg(
    model: Model,
    data: Iterable[Any],
    *,
    loss: Loss,
    damping: float,
    tolerance: float = 1e-5,
    steps: int = 1000,
    of: Kind = "ggn",
    parameters: Any = None,
) -> Curvature:
    """A curvature, plus `damping`, that is solved by conjugate gradients to a stated tolerance.

    Nothing is approximated but for the tolerance, and nothing stored: each step takes a product for each query over
    all of the data.

    Args:
        model: A module, in evaluation mode.
        data: The training data: batches that can be passed over again, each time that influence is taken.
        loss: `loss(model, batch) -> (B,)`.
        damping: What is added.
        tolerance: The norm of what is left, over that of the query's gradient.
        steps: How many steps to take at most.
        of: `"ggn"` or `"hessian"`.
        parameters: As for `tracin`.

    Returns:
        A curvature, for `influence_function`.

    Raises:
        ArgumentError: If an argument cannot be right.

    Example:
        >>> model, batch = torch.nn.Linear(3, 1), (torch.randn(8, 3), torch.randn(8, 1))
        >>> loss = lambda model, batch: (model(batch[0]) - batch[1]).square().sum(1)
        >>> af.influence.cg(model, [batch], loss=loss, damping=0.1, tolerance=1e-4).rows
        8

    Reference:
        Martens: Deep Learning via Hessian-free Optimization, ICML 2010,
        https://www.cs.toronto.edu/~jmartens/docs/Deep_HessianFree.pdf
    """
    if not isinstance(tolerance, float) or not 0 < tolerance < 1:
        raise ArgumentError("tolerance", describe(tolerance), "a number between 0 and 1", "Pass tolerance=1e-5.")
    damping, network = damped(damping), open_network(model, parameters)
    products = Products(network, data, losses(loss), of)
    known = (network.names, products.rows, damping, digest(network))
    return Conjugate(*known, products, tolerance, positive("steps", steps))


@dataclass(frozen=True)
class Lissa(Curvature):
    """A curvature that solves by Neumann's series.

    Attributes:
        products: Multiplies with it.
        steps: How many terms to take.
        scale: What the curvature is divided by, above its greatest eigenvalue.
    """

    products: Products
    steps: int
    scale: float
    savable: ClassVar[bool] = False

    def solve(self, vectors: Tensor) -> Tensor:
        """By `steps` terms of the series.

        Raises:
            ModelError: If the series diverges.
        """
        found = vectors.clone()
        for _ in range(self.steps):
            found = vectors + found - (self.products(found) + self.damping * found) / self.scale
            if not found.norm() <= vectors.norm() * self.steps * 2:
                raise ModelError(
                    f"Neumann's series diverges with scale={self.scale:.3g}. Pass a larger scale, above the greatest "
                    "eigenvalue of the curvature, and a damping above the most negative one."
                )
        return found / self.scale


@method
def lissa(
    model: Model,
    data: Iterable[Any],
    *,
    loss: Loss,
    damping: float,
    steps: int = 200,
    scale: float | None = None,
    of: Kind = "ggn",
    parameters: Any = None,
) -> Curvature:
    """A curvature, plus `damping`, that is solved by Neumann's series: `sum_k (1 - C / scale)^k / scale`.

    The products are those with all of the data, so that results do not depend on how it is batched or drawn. `cg` needs
    far fewer of them; this is here since much was published with it.

    Args:
        model: A module, in evaluation mode.
        data: The training data: batches that can be passed over again.
        loss: `loss(model, batch) -> (B,)`.
        damping: What is added.
        steps: How many terms to take: some `scale / damping` for all of the inverse.
        scale: Above the greatest eigenvalue; `None` finds that by the power method.
        of: `"ggn"` or `"hessian"`.
        parameters: As for `tracin`.

    Returns:
        A curvature, for `influence_function`.

    Raises:
        ArgumentError: If an argument cannot be right.

    Example:
        >>> model, batch = torch.nn.Linear(3, 1), (torch.randn(8, 3), torch.randn(8, 1))
        >>> loss = lambda model, batch: (model(batch[0]) - batch[1]).square().sum(1)
        >>> af.influence.lissa(model, [batch], loss=loss, damping=0.1).rows
        8

    Reference:
        Agarwal, Bullins, Hazan: Second-Order Stochastic Optimization for Machine Learning in Linear Time, JMLR 2017,
        https://arxiv.org/abs/1602.03943
    """
    damping, network = damped(damping), open_network(model, parameters)
    products = Products(network, data, losses(loss), of)
    if scale is None:
        scale = 1.1 * (_greatest(products, network.size, network.dtype, network.device) + damping)
    elif not isinstance(scale, int | float) or not 0 < scale < float("inf"):
        raise ArgumentError("scale", describe(scale), "a number above 0, or None", "None finds one.")
    known = (network.names, products.rows, damping, digest(network))
    return Lissa(*known, products, positive("steps", steps), float(scale))


def _greatest(products: Products, size: int, dtype: torch.dtype, device: torch.device) -> float:
    """The greatest eigenvalue by the power method, from a vector that is drawn the same each time."""
    start = torch.randn(1, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    vector = start.to(device, dtype)
    for _ in range(20):
        vector = vector / vector.norm().clamp(min=1e-30)
        vector = products(vector)
    return float(vector.norm())
