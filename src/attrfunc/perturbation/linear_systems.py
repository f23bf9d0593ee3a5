"""Least squares of many groups and many coalitions.

The matrix of the normal equations has as many rows and columns as there are groups, and takes longer to make than all
else. Products with it need the coalitions only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch

from attrfunc.core.errors import ArgumentError

__all__ = ["Samples", "bare", "conjugate_gradients", "solved", "too_large"]

# Multiplications that a matrix of normal equations may take in double precision: a second or two.
MULTIPLICATIONS = 2**33
# Numbers that are converted to double precision at once: they stay in the processor's cache.
BLOCK = 2**19
# The residual of steps in single precision, and the error of the result, both relative.
ROUGH, SETTLED = 1e-4, 1e-6
MOST_STEPS, MOST_ROUNDS = 2000, 20

Map = Callable[[Tensor], Tensor]


def too_large(samples: int, groups: int) -> bool:
    """Whether normal equations of the smaller dimension take long to make."""
    return samples * groups * min(samples, groups) > MULTIPLICATIONS


@dataclass(frozen=True)
class Samples:
    """Centred samples `Z = members - rows - columns`, which are never held in double precision.

    Attributes:
        members: What is sampled, `(K, n)`: booleans, or numbers.
        rows: What is taken off each sample, `(K, 1)`, double.
        columns: What is taken off each group, `(n, 1)` or `(n, B)`, double.
    """

    members: Tensor
    rows: Tensor
    columns: Tensor

    def along(self, groups: Tensor) -> Tensor:
        """`Z c`, `(K, B)`."""
        parts = [part.to(groups.dtype) @ groups for part in self._blocks(groups)]
        return torch.cat(parts) - self.rows.to(groups) * groups.sum(0) - (self.columns.to(groups) * groups).sum(0)

    def back(self, samples: Tensor) -> Tensor:
        """`Z' u`, `(n, B)`."""
        done, sums = 0, samples.new_zeros(self.members.shape[1], samples.shape[1])
        for part in self._blocks(samples):
            sums += part.to(samples.dtype).T @ samples[done : done + len(part)]
            done += len(part)
        return sums - (self.rows.to(samples) * samples).sum(0) - self.columns.to(samples) * samples.sum(0)

    def single(self) -> Samples:
        """The same with members in single precision, for many products."""
        return Samples(self.members.float(), self.rows, self.columns)

    def _blocks(self, like: Tensor) -> Iterator[Tensor]:
        whole = self.members.dtype == like.dtype
        yield from self.members.split(len(self.members) if whole else max(1, BLOCK // max(self.members.shape[1], 1)))


def bare(value: Tensor) -> Tensor | None:
    """A tensor without the wrappers of transforms that it is a constant to; None if it is not."""
    if torch.compiler.is_compiling():
        return value
    while True:
        tangent = torch.autograd.forward_ad.unpack_dual(value).tangent if value.is_floating_point() else None
        if value.requires_grad or tangent is not None or _functorch.is_batchedtensor(value):
            return None
        if not _functorch.is_functorch_wrapped_tensor(value):
            return value
        value = _functorch.get_unwrapped(value)


def solved(samples: Samples, weights: Tensor, values: Tensor, inverse: Map) -> Tensor:
    """The coefficients `(n, B)` of values `(K, B)`: `inverse(Z' w y)`; gradients and transforms go through `values`.

    Args:
        samples: The samples Z.
        weights: Weights `(K, 1)` or `(K, B)`.
        values: The values y.
        inverse: Solves the normal equations, a symmetric map of `(n, B)`.

    Raises:
        ArgumentError: Under a compiler.
    """
    if torch.compiler.is_compiling():
        raise _refused("under torch.compile", "Attribute outside it, or make fewer groups with feature_mask.")
    return _apply(
        values,
        lambda given: inverse(samples.back(weights * given)),
        lambda given: weights * samples.along(inverse(given)),
    )


def conjugate_gradients(samples: Samples, weights: Tensor, ridge: float) -> Map:
    """Solves `(Z' w Z + ridge) c = r`, with steps in single precision whose errors are found in double and taken out.

    Args:
        samples: The samples Z.
        weights: Weights `(K, 1)` or `(K, B)`.
        ridge: What is added to the diagonal.

    Returns:
        `r -> c`, which raises `ArgumentError` where it does not settle.
    """

    def inverse(right: Tensor) -> Tensor:
        rough, tiny = _product(samples.single(), weights.float(), ridge), torch.finfo(right.dtype).tiny
        exact = _product(samples, weights, ridge)
        found, rest, least = torch.zeros_like(right), right, float("inf")
        for _ in range(MOST_ROUNDS):
            # Scaled, since squares of small numbers are nothing in single precision.
            size = rest.norm(dim=0).clamp(min=tiny)
            change, eigenvalue = _steps(rough, (rest / size).float())
            least = min(least, eigenvalue)
            found = found + size * change.double()
            rest = right - exact(found)
            # No error is larger than its residual over the smallest eigenvalue.
            if bool((rest.norm(dim=0) <= SETTLED * least * found.norm(dim=0)).all()):
                return found
        raise _refused("that do not determine it", "Raise n_samples, or make fewer groups with feature_mask.")

    return inverse


def _product(samples: Samples, weights: Tensor, ridge: float) -> Map:
    return lambda step: samples.back(weights * samples.along(step)) + ridge * step


def _steps(product: Map, right: Tensor) -> tuple[Tensor, float]:
    """A rough solution, and about the smallest eigenvalue of the matrix: that of what the steps have seen of it."""
    found, rest, step = torch.zeros_like(right), right, right
    square, tiny = rest.square().sum(0), torch.finfo(right.dtype).tiny
    lengths, ratios = [], []
    for _ in range(MOST_STEPS):
        moved = product(step)
        length = square / (step * moved).sum(0).clamp(min=tiny)
        found, rest = found + length * step, rest - length * moved
        before, square = square, rest.square().sum(0)
        ratio = square / before.clamp(min=tiny)
        lengths.append(length.double())
        ratios.append(ratio.double())
        if bool((square <= ROUGH**2).all()):
            break
        step = rest + ratio * step
    return found, _smallest(torch.stack(lengths, 1), torch.stack(ratios, 1))


def _smallest(lengths: Tensor, ratios: Tensor) -> float:
    """The smallest eigenvalue of the tridiagonal matrices that conjugate gradients make, for each right hand side."""
    alive = lengths[lengths[:, 0] > 0]
    if not len(alive):
        return float("inf")
    inverse, ratios = 1 / alive, ratios[lengths[:, 0] > 0]
    diagonal = inverse.clone()
    diagonal[:, 1:] += ratios[:, :-1] * inverse[:, :-1]
    beside = ratios[:, :-1].sqrt() * inverse[:, :-1]
    matrix = torch.diag_embed(diagonal) + torch.diag_embed(beside, 1) + torch.diag_embed(beside, -1)
    return float(torch.linalg.eigvalsh(matrix).min().clamp(min=0))


def _refused(got: str, fix: str) -> ArgumentError:
    return ArgumentError("n_samples", f"many samples of many groups {got}", "a fit that can be iterated", fix)


def _apply(values: Tensor, forward: Map, backward: Map) -> Tensor:
    result: Tensor = _Linear.apply(values, forward, backward)  # type: ignore[no-untyped-call]
    return result


class _Linear(torch.autograd.Function):
    """A linear map of the columns of a matrix, given by a function and its transpose."""

    @staticmethod
    def forward(values: Tensor, forward: Map, backward: Map) -> Tensor:
        return forward(values)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, ctx.along, ctx.transposed = inputs

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return _apply(gradients[0], ctx.transposed, ctx.along), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return _apply(tangents[0], ctx.along, ctx.transposed)

    @staticmethod
    def vmap(info: Any, in_dims: Any, values: Tensor, forward: Map, backward: Map) -> Any:
        # Each column may have weights of its own, so what is mapped is solved one after the other.
        return torch.stack([_apply(one, forward, backward) for one in values.unbind(in_dims[0])]), 0
