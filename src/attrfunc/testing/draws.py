"""What the strategies draw: tensors, targets and baselines made by calls that a person can type again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Contrast", "LogProbability", "Scaled", "Total", "normal", "uniform"]


def normal(
    shape: tuple[int, ...], *, seed: int = 0, dtype: torch.dtype = torch.float64, sparse: bool = False
) -> Tensor:
    """Standard normal numbers, of a generator of its own.

    Args:
        shape: The shape.
        seed: The generator's seed.
        dtype: The dtype; the same seed gives the same numbers in every dtype, up to rounding.
        sparse: Set half of the numbers to zero, where kinks, ties and vanishing products hide.

    Returns:
        The tensor.

    Example:
        >>> from attrfunc import testing
        >>> torch.equal(testing.normal((2, 3), seed=1), testing.normal((2, 3), seed=1))
        True
    """
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randn(shape, generator=generator, dtype=torch.float64)
    if sparse:
        numbers = numbers * torch.randint(2, shape, generator=generator)
    return numbers.to(dtype)


def uniform(
    shape: tuple[int, ...], low: float = 0.0, high: float = 1.0, *, seed: int = 0, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Uniform numbers, of a generator of its own.

    Args:
        shape: The shape.
        low: The least number.
        high: The greatest.
        seed: The generator's seed.
        dtype: The dtype.

    Returns:
        The tensor.
    """
    numbers = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (low + (high - low) * numbers).to(dtype)


@dataclass(frozen=True)
class Scaled:
    """A baseline that is a callable: the input times a factor."""

    factor: float

    def __call__(self, x: Tensor) -> Tensor:
        """The baseline of an input."""
        return self.factor * x


@dataclass(frozen=True)
class Total:
    """A target that is a callable: the sum of each example's outputs."""

    def __call__(self, output: Tensor) -> Tensor:
        """Scores of an output."""
        return output.reshape(output.shape[0], -1).sum(1)


@dataclass(frozen=True)
class Contrast:
    """A target that is a callable: one output less another, counted through the flattened output."""

    index: int
    against: int

    def __call__(self, output: Tensor) -> Tensor:
        """Scores of an output."""
        flat = output.flatten(1)
        return flat[:, self.index] - flat[:, self.against]


@dataclass(frozen=True)
class LogProbability:
    """A target that is a callable: the log-softmax of one output, counted through the flattened output."""

    index: int

    def __call__(self, output: Tensor) -> Tensor:
        """Scores of an output."""
        return output.flatten(1).log_softmax(1)[:, self.index]
