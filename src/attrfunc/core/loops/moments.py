"""Running mean and squared distances of samples, as a pure function of what is known so far."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Moment", "merged", "with_samples"]


@dataclass(frozen=True)
class Moment:
    """What is known of the samples of one quantity.

    Attributes:
        count: How many there were.
        mean: Their mean.
        squares: The sum of their squared distances from it; None where it is not wanted.
    """

    count: int
    mean: Tensor
    squares: Tensor | None

    def variance(self, correction: int = 0) -> Tensor:
        """The squares over `count - correction`, in double precision; zeros where that is not positive."""
        assert self.squares is not None
        over = self.count - correction
        return self.squares.double() / over if over > 0 else torch.zeros_like(self.squares, dtype=torch.float64)

    def standard_error(self) -> Tensor:
        """That of the mean, if there are two samples and more."""
        assert self.squares is not None
        variance = self.squares / (self.count - 1) / self.count
        # The root has no derivative at zero, where none is needed.
        return torch.where(variance > 0, torch.where(variance > 0, variance, 1).sqrt(), 0)


def with_samples(known: Moment | None, samples: Tensor, *, second: bool) -> Moment:
    """The moments after further samples (Chan, Golub, LeVeque 1979).

    Args:
        known: The moments so far; None before the first sample.
        samples: Samples `(K, *S)`.
        second: Whether the squares are wanted, too.

    Returns:
        New moments, in single precision at least.

    Example:
        >>> from attrfunc.core.loops.moments import with_samples
        >>> moment = with_samples(None, torch.tensor([1.0, 2.0]), second=True)
        >>> moment = with_samples(moment, torch.tensor([6.0]), second=True)
        >>> moment.count, moment.mean, moment.squares
        (3, tensor(3.), tensor(14.))
    """
    count = samples.shape[0]
    wide = samples.to(torch.promote_types(samples.dtype, torch.float32))
    mean = wide[0] + (wide - wide[0]).mean(0)  # exact for samples that are all the same
    squares = (wide - mean).square().sum(0) if second else None
    found = Moment(count, mean, squares)
    return found if known is None else merged(known, found)


def merged(known: Moment, other: Moment) -> Moment:
    """The moments of the samples of both.

    Args:
        known: Those of some samples.
        other: Those of others of the same shape.

    Example:
        >>> from attrfunc.core.loops.moments import merged, with_samples
        >>> first, second = (with_samples(None, torch.tensor(part), second=True) for part in ([1.0, 2.0], [6.0]))
        >>> merged(first, second).mean
        tensor(3.)
    """
    total, step = known.count + other.count, other.mean - known.mean
    squares = None
    if other.squares is not None:
        squares = other.squares
        if known.squares is not None:
            squares = known.squares + (squares + step.square() * (known.count * other.count / total))
    return Moment(total, known.mean + step * (other.count / total), squares)
