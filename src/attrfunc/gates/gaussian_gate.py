"""Gaussian stochastic gates (Yamada et al. 2020)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from attrfunc.core.score.method import named
from attrfunc.gates.checks import drawn, parameter, positive_number

__all__ = ["gaussian_active_probability", "gaussian_gate"]

STDEV = 0.5


def gaussian_gate(
    mean: Tensor,
    *,
    shape: Sequence[int] = (),
    stdev: float = STDEV,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Random gates between 0 and 1: normal numbers that are cut off there.

    `clip(mean + stdev * noise, 0, 1)`, differentiable with respect to `mean` wherever it is not cut off. Without noise
    the gate is `mean.clamp(0, 1)`.

    Args:
        mean: One number for each gate, `(G,)` or of any shape.
        shape: The shape of the samples, `(B,)` for gates of each example say.
        stdev: Standard deviation of the noise.
        generator: The source of randomness; `None` is torch's default generator. Under `vmap` all mapped entries have
            the same draws.

    Returns:
        Gates `(*shape, *mean.shape)`. They are above 0 with `gaussian_active_probability`.

    Raises:
        ArgumentError: If an argument cannot be right.

    Example:
        >>> af.gates.gaussian_gate(torch.tensor([-9.0, 9.0]), shape=(2,))
        tensor([[0., 1.],
                [0., 1.]])

    Reference:
        Yamada, Lindenbaum, Negahban, Kluger: Feature Selection using Stochastic Gates, ICML 2020,
        https://arxiv.org/abs/1810.04247.
    """

    def gates() -> Tensor:
        width = positive_number("stdev", stdev)
        noise = drawn(torch.randn, parameter("mean", mean), shape, generator)
        return (mean + width * noise.to(mean.dtype)).clamp(0, 1)

    return named("gaussian_gate", gates)()


def gaussian_active_probability(mean: Tensor, *, stdev: float = STDEV) -> Tensor:
    """The probability that a Gaussian gate is above 0; summed up, the expected L0 norm.

    The normal distribution function of `mean / stdev`.

    Args:
        mean: One number for each gate.
        stdev: As in `gaussian_gate`.

    Returns:
        Probabilities with the shape of `mean`, differentiable everywhere.

    Raises:
        ArgumentError: If an argument cannot be right.

    Example:
        >>> af.gates.gaussian_active_probability(torch.tensor([0.0, 0.5]))
        tensor([0.5000, 0.8413])

    Reference:
        Yamada, Lindenbaum, Negahban, Kluger: Feature Selection using Stochastic Gates, ICML 2020,
        https://arxiv.org/abs/1810.04247.
    """

    def probability() -> Tensor:
        scaled = parameter("mean", mean) / (positive_number("stdev", stdev) * math.sqrt(2))
        return (1 + scaled.erf()) / 2

    return named("gaussian_active_probability", probability)()
