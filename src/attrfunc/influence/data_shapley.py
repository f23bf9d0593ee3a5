"""Shapley values of training data, by retraining along permutations (Ghorbani, Zou 2019)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, ModelError, describe, positive
from attrfunc.influence.retraining import Train, retrain
from attrfunc.influence.streams import public

__all__ = ["data_shapley"]


@public
def data_shapley(
    train: Train,
    *,
    count: int,
    n_samples: int = 20,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Tensor:
    """Shapley values of training examples in what training gives, by permutations and their reverses.

    Every permutation adds the examples one after another and trains on each set on the way, all of them in one program
    by `retrain`: `n_samples * count` trainings. The reverse of each permutation follows it, which lowers the variance.

    Args:
        train: A pure function of the weights `(N,)` of the examples, 0 or 1, that gives a measure of each query
            `(Q,)`, or one number: the higher, the better. It is called with no example at all, too.
        count: The number of examples, N.
        n_samples: How many permutations to draw, their reverses included.
        generator: The source of randomness; `None` draws from torch's own.
        chunk_size: How many trainings to do at once; `None` does those of one permutation.

    Returns:
        Values `(Q, N)`, or `(N,)` for one number, in units of the measure. *Efficiency*, exactly: they sum to the
        measure with all examples less that without any.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If a training gives what is not finite.

    Example:
        >>> x, y = torch.randn(6, 3), torch.randn(6)
        >>> def train(weights):
        ...     w = torch.linalg.solve((x.T * weights) @ x + torch.eye(3), (x.T * weights) @ y)
        ...     return -(x @ w - y).square().mean()
        >>> af.influence.data_shapley(train, count=6, n_samples=4).shape
        torch.Size([6])

    Reference:
        Ghorbani, Zou: Data Shapley: Equitable Valuation of Data for Machine Learning, ICML 2019,
        https://arxiv.org/abs/1904.02868; Mitchell, Cooper, Frank, Holmes: Sampling Permutations for Shapley Value
        Estimation, JMLR 2022, https://arxiv.org/abs/2104.12199
    """
    count, n_samples = positive("count", count), positive("n_samples", n_samples)
    order, total = torch.arange(count), None
    for number in range(n_samples):
        order = order.flip(0) if number % 2 else _drawn(count, generator)
        found = retrain(train, _prefixes(order), chunk_size=chunk_size)
        gains = _measures(found, count).diff(dim=0)
        values = torch.empty_like(gains)
        values[order] = gains
        total = values if total is None else total + values
    assert total is not None
    return (total / n_samples).movedim(0, -1)


def _drawn(count: int, generator: torch.Generator | None) -> Tensor:
    device = "cpu" if generator is None else generator.device
    return torch.randperm(count, generator=generator, device=device).cpu()


def _prefixes(order: Tensor) -> Tensor:
    """The sets on the way of a permutation, from none to all, `(N + 1, N)`."""
    count = len(order)
    masks = torch.zeros(count + 1, count)
    masks[:, order] = torch.ones(count + 1, count).tril(-1)
    return masks


def _measures(found: Any, count: int) -> Tensor:
    if not isinstance(found, Tensor) or found.dim() > 2 or not found.is_floating_point():
        expected = "a number, or one for each query (Q,), for each training"
        raise ArgumentError(
            "train", describe(found), expected, "Return a measure: minus a loss, an accuracy as a float."
        )
    if not torch.isfinite(found).all():
        rows = torch.isfinite(found).reshape(count + 1, -1).all(1)
        size = int((~rows).nonzero()[0])
        raise ModelError(
            f"a training on {size} example(s) gives what is not finite. Let `train` give what is known beforehand "
            "where there is nothing to learn from: add a weight decay, or divide by weights.sum().clamp(min=1)."
        )
    return found
