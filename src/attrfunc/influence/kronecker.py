"""Curvatures by Kronecker factors, of activations and of gradients of outputs (Martens, Grosse 2015)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, ModelError
from attrfunc.core.score.method import method
from attrfunc.core.score.views import Model
from attrfunc.influence.curvature import Curvature, damped, digest
from attrfunc.influence.drawn import Drawn, drawing
from attrfunc.influence.moments import Block, Moments, Pulls, in_bases, refitted
from attrfunc.influence.network import open_network
from attrfunc.influence.outputs import NO_CURVATURE, Outputs, pulled
from attrfunc.influence.per_example import PerExample
from attrfunc.influence.values import Loss, losses

__all__ = ["Blocks", "ekfac", "kfac"]


@dataclass(frozen=True)
class Blocks(Curvature):
    """A curvature with a block for each matrix, with its bias, and for each other parameter.

    Attributes:
        sizes: How many numbers each parameter has, in the order of `names`.
        blocks: For each block: the parameters, the eigenvectors on the left and on the right of their matrix (none for
            a diagonal), and the eigenvalues.
    """

    sizes: tuple[int, ...]
    blocks: tuple[Block, ...]

    def solve(self, vectors: Tensor) -> Tensor:
        """In each block's eigenbasis."""
        parts = dict(zip(self.names, vectors.split(list(self.sizes), 1), strict=True))
        solved: dict[str, Tensor] = {}
        for names, left, right, eigenvalues in self.blocks:
            matrix = _as_matrix([parts[name] for name in names], left, right)
            turned = in_bases(matrix, left, right) / (eigenvalues.to(matrix) + self.damping)
            back = in_bases(turned, None if left is None else left.T, None if right is None else right.T)
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


@method
def kfac(
    model: Model,
    data: Iterable[Any],
    *,
    loss: Loss,
    damping: float,
    samples: int | None = None,
    generator: torch.Generator | None = None,
    parameters: Any = None,
) -> Curvature:
    """The Gauss-Newton matrix by Kronecker factors, plus `damping`.

    For each matrix, with its bias, the curvature is the product of the second moments of activations and of gradients
    of outputs, which is exact where the two are independent. The latter are taken of the loss's Hessian at the outputs,
    exactly: for cross-entropy, over all labels by their probability. Other parameters have a block of their own.

    Args:
        model: A module, in evaluation mode.
        data: The training data: batches that can be passed over again.
        loss: `loss(model, batch) -> (B,)`, convex in what the model gives.
        damping: What is added.
        samples: How many gradients of outputs to draw for each example, at labels from the model's own probabilities or
            with signs by chance, instead of taking them all: unbiased, and the way for models with thousands of
            outputs. `None` takes all, of up to 256 outputs.
        generator: The source of randomness for samples; `None` draws from torch's own.
        parameters: As for `tracin`; for language models best the matrices inside, without embedding and head.

    Returns:
        A curvature, for `influence_function`.

    Raises:
        ArgumentError: If the damping is zero where a factor is singular, examples have too many outputs to take all of
            them, or a factor would not fit into memory.

    Example:
        >>> model, batch = torch.nn.Linear(3, 1), (torch.randn(8, 3), torch.randn(8, 1))
        >>> loss = lambda model, batch: (model(batch[0]) - batch[1]).square().sum(1)
        >>> af.influence.kfac(model, [batch], loss=loss, damping=0.1).rows
        8

    Reference:
        Martens, Grosse: Optimizing Neural Networks with Kronecker-factored Approximate Curvature, ICML 2015,
        https://arxiv.org/abs/1503.05671
    """
    return _factored(model, data, loss, damping, parameters, drawing(samples, generator), refit=False)


@method
def ekfac(
    model: Model,
    data: Iterable[Any],
    *,
    loss: Loss,
    damping: float,
    samples: int | None = None,
    generator: torch.Generator | None = None,
    parameters: Any = None,
) -> Curvature:
    """The Gauss-Newton matrix by Kronecker factors with eigenvalues that are fitted, plus `damping`.

    The eigenvectors are those of `kfac`; in their basis the diagonal of the Gauss-Newton matrix is exact, at the price
    of a second pass. Arguments, result and errors are those of `kfac`.

    Args:
        model: A module, in evaluation mode.
        data: The training data.
        loss: `loss(model, batch) -> (B,)`, convex in what the model gives.
        damping: What is added.
        samples: As for `kfac`.
        generator: As for `kfac`.
        parameters: As for `kfac`.

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
    return _factored(model, data, loss, damping, parameters, drawing(samples, generator), refit=True)


def _factored(
    model: Model,
    data: Iterable[Any],
    loss: Loss,
    damping: float,
    parameters: Any,
    drawn: Drawn | None,
    *,
    refit: bool,
) -> Curvature:
    damping, network, values = damped(damping), open_network(model, parameters), losses(loss)
    pulls = Pulls(Outputs(network, values), PerExample(network, pulled(values)), data, drawn)
    moments = Moments(network)
    for gradients in pulls.each():
        moments.add(gradients)
    if not moments.any:
        raise ModelError(NO_CURVATURE)
    bases = moments.bases(pulls.rows)
    if refit:
        spectra = refitted(network, bases, pulls)
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
