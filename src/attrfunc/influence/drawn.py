"""Columns of a loss's Hessian at the outputs, drawn at random: for models with more outputs than a matrix can hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, ModelError, describe, positive

__all__ = ["NOT_CONVEX", "Drawn", "drawing", "drawn_roots", "require_finite"]

LossOf = Callable[[list[Tensor]], Tensor]

NOT_CONVEX = (
    "the loss is not convex in the model's outputs, so that its Gauss-Newton matrix is no curvature that can be "
    "inverted. Take the hessian, with enough damping, or fisher."
)

_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
"""By how much products with a Hessian may differ from those with the one it is taken for, relative to their norm."""


@dataclass(frozen=True)
class Drawn:
    """How columns are drawn.

    Attributes:
        samples: How many for each example.
        generator: The source of randomness; None draws from torch's own.
    """

    samples: int
    generator: torch.Generator | None

    @property
    def device(self) -> torch.device:
        """Where numbers are drawn."""
        return torch.device("cpu") if self.generator is None else self.generator.device

    def signs(self, shape: tuple[int, ...]) -> Tensor:
        """Plus or minus one, each by chance."""
        return torch.randint(2, shape, generator=self.generator, device=self.device) * 2 - 1

    def labels(self, probabilities: Tensor) -> Tensor:
        """One of the classes in the last dimension, by their probabilities."""
        rows = probabilities.flatten(0, -2).to(self.device)
        found = torch.multinomial(rows, 1, generator=self.generator)
        return found.reshape(probabilities.shape[:-1]).to(probabilities.device)


def drawing(samples: Any, generator: Any) -> Drawn | None:
    """The arguments `samples` and `generator`, checked; None where all columns are taken."""
    if generator is not None and not isinstance(generator, torch.Generator):
        raise ArgumentError("generator", describe(generator), "a torch.Generator", "Pass torch.Generator().")
    if samples is None:
        if generator is not None:
            fix = "Pass samples=8, say, or leave the generator out."
            raise ArgumentError("generator", "a generator without samples", "samples to draw by it", fix)
        return None
    return Drawn(positive("samples", samples), generator)


def drawn_roots(leaves: list[Tensor], loss_of: LossOf, drawn: Drawn) -> list[list[Tensor]] | None:
    """Weights of outputs whose outer products are the Hessian of each example's loss, in expectation.

    Two kinds of Hessians are known by their products with a vector: that of cross-entropy, weighted by position, whose
    columns are gradients at labels that are drawn from the model's own probabilities; and diagonal ones, of squared
    and other losses that add up over outputs, whose columns have signs that are drawn.

    Args:
        leaves: The outputs, `(B, *shape)` each.
        loss_of: The losses as a function of these.
        drawn: How to draw.

    Returns:
        As of `Outputs.roots`; None where the Hessian is neither.
    """
    product = _product(leaves, loss_of)
    if product is None:
        return []
    probe = [torch.randn(leaf.shape, generator=torch.Generator().manual_seed(0)).to(leaf) for leaf in leaves]
    image = product(probe)
    require_finite(image)
    draw = _of_labels(leaves, probe, image, drawn) or _of_signs(leaves, probe, image, product, drawn)
    if draw is None:
        return None
    return [[piece / drawn.samples**0.5 for piece in draw()] for _ in range(drawn.samples)]


def require_finite(curved: list[Tensor]) -> None:
    """Raise if what follows from the second derivatives of a loss is infinite or not a number."""
    if not all(bool(torch.isfinite(part).all()) for part in curved):
        raise ModelError(
            "the Hessian of the loss at what the model gives is not finite. Look for overflow, log(0) or 0/0 in the "
            "model or the loss, or for NaN in the data."
        )


def _product(leaves: list[Tensor], loss_of: LossOf) -> Callable[[list[Tensor]], list[Tensor]] | None:
    """Products with the Hessian of the summed losses; None where it is zero, as of a loss that is linear."""
    with torch.inference_mode(False), torch.enable_grad():
        at = [leaf.clone().requires_grad_() for leaf in leaves]
        losses = loss_of(at)
        slopes = torch.autograd.grad(losses, at, torch.ones_like(losses), create_graph=True, materialize_grads=True)
    if not any(slope.requires_grad for slope in slopes):
        return None
    steep = [slope for slope in slopes if slope.requires_grad]

    def product(vectors: list[Tensor]) -> list[Tensor]:
        given = [vector for vector, slope in zip(vectors, slopes, strict=True) if slope.requires_grad]
        return list(torch.autograd.grad(steep, at, given, retain_graph=True, materialize_grads=True))

    return product


def _norm(tensors: list[Tensor]) -> Tensor:
    return torch.stack([tensor.double().norm() for tensor in tensors]).norm()


def _alike(image: list[Tensor], other: list[Tensor]) -> bool:
    gap = _norm([one.double() - two.double() for one, two in zip(image, other, strict=True)])
    return bool(gap <= _TOLERANCE.get(image[0].dtype, 0.05) * _norm(image))


def _of_labels(
    leaves: list[Tensor], probe: list[Tensor], image: list[Tensor], drawn: Drawn
) -> Callable[[], list[Tensor]] | None:
    """Draws of gradients at labels, if this is the Hessian of cross-entropy at each position, with a weight each."""
    if len(leaves) != 1 or leaves[0].dim() < 2:
        return None
    for classes in {1, leaves[0].dim() - 1}:
        logits, vector, given = (part[0].movedim(classes, -1) for part in (leaves, probe, image))
        kind = torch.promote_types(logits.dtype, torch.float32)
        chances, vector, given = logits.to(kind).softmax(-1), vector.to(kind), given.to(kind)
        expected = chances * (vector - (chances * vector).sum(-1, keepdim=True))
        square = expected.square().sum(-1)
        weights = torch.where(square > 0, (given * expected).sum(-1) / torch.where(square > 0, square, 1), 0)
        if not _alike([given], [weights.unsqueeze(-1) * expected]):
            continue
        _require_convex(weights)
        scale = weights.clamp(min=0).sqrt().unsqueeze(-1)

        def draw(chances: Tensor = chances, scale: Tensor = scale, classes: int = classes) -> list[Tensor]:
            labels = drawn.labels(chances).unsqueeze(-1)
            column = (chances - torch.zeros_like(chances).scatter_(-1, labels, 1)) * scale
            return [column.movedim(-1, classes).to(leaves[0].dtype)]

        return draw
    return None


def _of_signs(
    leaves: list[Tensor],
    probe: list[Tensor],
    image: list[Tensor],
    product: Callable[[list[Tensor]], list[Tensor]],
    drawn: Drawn,
) -> Callable[[], list[Tensor]] | None:
    """Draws of signs, if the Hessian is diagonal."""
    diagonal = product([torch.ones_like(leaf) for leaf in leaves])
    if not _alike(image, [one * vector for one, vector in zip(diagonal, probe, strict=True)]):
        return None
    for part in diagonal:
        _require_convex(part)
    return lambda: [part.clamp(min=0).sqrt() * drawn.signs(tuple(part.shape)).to(part) for part in diagonal]


def _require_convex(weights: Tensor) -> None:
    if weights.min() < -1e-4 * weights.abs().max():
        raise ModelError(NOT_CONVEX)
