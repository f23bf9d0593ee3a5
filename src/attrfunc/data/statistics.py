"""Streaming statistics: immutable values that are updated with samples, and merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.loops.moments import Moment, merged, with_samples
from attrfunc.data.student import quantile

__all__ = ["Statistics"]


@dataclass(frozen=True)
class Statistics:
    """What is known of the samples of a quantity, element by element, in memory that does not grow with their number.

    Attributes:
        moment: The count, the mean, and the squared distances from it (Welford 1962; Chan, Golub, LeVeque 1979).
        low: The smallest sample.
        high: The largest.
        total: The sum.

    Example:
        >>> samples = torch.tensor([[1.0], [2.0], [6.0]])
        >>> whole = af.data.Statistics.of(samples)
        >>> whole.mean, whole.variance(), whole.low, whole.high
        (tensor([3.]), tensor([7.], dtype=torch.float64), tensor([1.]), tensor([6.]))
        >>> parts = af.data.Statistics.of(samples[:1]).merged(af.data.Statistics.of(samples[1:]))
        >>> parts.mean, parts.count
        (tensor([3.]), 3)
    """

    moment: Moment
    low: Tensor
    high: Tensor
    total: Tensor

    @classmethod
    def of(cls, samples: Tensor) -> Self:
        """The statistics of some samples.

        Args:
            samples: At least one, `(K, *S)`.

        Raises:
            ArgumentError: If there is none, or these are complex.
        """
        if not isinstance(samples, Tensor) or samples.dim() == 0 or not len(samples) or samples.is_complex():
            expected = "a tensor (K, *S) of at least one sample of real numbers"
            raise ArgumentError("samples", describe(samples), expected, "Pass x[None] for a single sample.")
        wide = samples if samples.is_floating_point() else samples.double()
        total = samples.sum(0, dtype=samples.dtype) if samples.dtype != torch.bool else samples.sum(0)
        return cls(with_samples(None, wide, second=True), samples.amin(0), samples.amax(0), total)

    @property
    def count(self) -> int:
        """How many samples there were."""
        return self.moment.count

    @property
    def mean(self) -> Tensor:
        """Their mean, `(*S)`."""
        return self.moment.mean

    @property
    def squares(self) -> Tensor:
        """The sum of their squared distances from the mean, `(*S)`."""
        assert self.moment.squares is not None
        return self.moment.squares

    def with_samples(self, samples: Tensor) -> Self:
        """The statistics after further samples.

        Args:
            samples: Samples `(K, *S)` of the same shape.

        Raises:
            ArgumentError: If their shape is another.
        """
        return self.merged(type(self).of(samples))

    def merged(self, other: Statistics) -> Self:
        """The statistics of the samples of both, which were seen by others, say.

        Args:
            other: Those of other samples of the same shape.

        Raises:
            ArgumentError: If their shape is another.
        """
        if self.mean.shape != other.mean.shape:
            raise ArgumentError(
                "x",
                f"a tensor of shape {tuple(other.mean.shape)} after some of shape {tuple(self.mean.shape)}",
                "one shape, since statistics are those of each element",
                "Sum over what varies first, or use a summarizer for each shape.",
            )
        low, high = torch.minimum(self.low, other.low), torch.maximum(self.high, other.high)
        return type(self)(merged(self.moment, other.moment), low, high, self.total + other.total)

    def variance(self, correction: int = 1) -> Tensor:
        """The squares over `count - correction`, in double precision; zeros where that is not positive."""
        return self.moment.variance(correction)

    def standard_error(self) -> Tensor:
        """That of the mean, `(*S)`; NaN of a single sample, which tells nothing of it."""
        if self.count < 2:
            return torch.full_like(self.squares, torch.nan, dtype=torch.float64)
        return (self.variance() / self.count).sqrt()

    def interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """Student's interval for the mean of what the samples were drawn from.

        Args:
            level: How often such intervals hold it, where means are normal: many samples, or normal ones.

        Returns:
            Its two ends, `(*S)`; NaN of a single sample.
        """
        reach = self.standard_error() * quantile(level, max(1, self.count - 1))
        return self.mean.double() - reach, self.mean.double() + reach
