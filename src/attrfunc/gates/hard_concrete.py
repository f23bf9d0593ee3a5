"""Hard concrete gates (Louizos et al. 2018)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from attrfunc.core.score.method import named
from attrfunc.gates.checks import drawn, limits, parameter, positive_number

__all__ = ["active_probability", "expected_gate", "hard_concrete"]

TEMPERATURE, LOW, HIGH = 2 / 3, -0.1, 1.1


def hard_concrete(
    log_alpha: Tensor,
    *,
    shape: Sequence[int] = (),
    temperature: float = TEMPERATURE,
    low: float = LOW,
    high: float = HIGH,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Random gates between 0 and 1 that are exactly 0, or 1, with a positive probability.

    `clip(low + (high - low) sigmoid((logit(u) + log_alpha) / temperature), 0, 1)` for uniform u: differentiable with
    respect to `log_alpha` wherever it is not cut off.

    Args:
        log_alpha: One number for each gate, `(G,)` or of any shape: the larger, the more open.
        shape: The shape of the samples, `(B,)` for gates of each example say.
        temperature: The lower, the nearer to 0 and 1.
        low: Where the distribution begins before it is cut off, below 0.
        high: Where it ends, above 1.
        generator: The source of randomness; `None` is torch's default generator. Under `vmap` all mapped entries have
            the same draws.

    Returns:
        Gates `(*shape, *log_alpha.shape)`. They are above 0 with `active_probability`.

    Raises:
        ArgumentError: If an argument cannot be right.

    Example:
        >>> af.gates.hard_concrete(torch.tensor([-10.0, 10.0]), shape=(3,))
        tensor([[0., 1.],
                [0., 1.],
                [0., 1.]])

    Reference:
        Louizos, Welling, Kingma: Learning Sparse Neural Networks through L0 Regularization, ICLR 2018,
        https://arxiv.org/abs/1712.01312.
    """
    return named("hard_concrete", _gates)(log_alpha, shape, temperature, low, high, generator)


def active_probability(
    log_alpha: Tensor, *, temperature: float = TEMPERATURE, low: float = LOW, high: float = HIGH
) -> Tensor:
    """The probability that a hard concrete gate is above 0; summed up, the expected L0 norm.

    `sigmoid(log_alpha - temperature * log(-low / high))`.

    Args:
        log_alpha: One number for each gate.
        temperature: As in `hard_concrete`.
        low: As there.
        high: As there.

    Returns:
        Probabilities with the shape of `log_alpha`, differentiable everywhere.

    Raises:
        ArgumentError: If an argument cannot be right.

    Example:
        >>> af.gates.active_probability(torch.tensor([0.0]))
        tensor([0.8318])

    Reference:
        Louizos, Welling, Kingma: Learning Sparse Neural Networks through L0 Regularization, ICLR 2018,
        https://arxiv.org/abs/1712.01312.
    """

    def probability() -> Tensor:
        limits(low, high)
        return (parameter("log_alpha", log_alpha) - _rate(temperature) * math.log(-low / high)).sigmoid()

    return named("active_probability", probability)()


def expected_gate(log_alpha: Tensor, *, low: float = LOW, high: float = HIGH) -> Tensor:
    """The gate to use when nothing is to be random: `clip(low + (high - low) sigmoid(log_alpha), 0, 1)`.

    It is what the paper takes at test time, not the mean of the distribution.

    Args:
        log_alpha: One number for each gate.
        low: As in `hard_concrete`.
        high: As there.

    Returns:
        Gates from 0 to 1 with the shape of `log_alpha`.

    Raises:
        ArgumentError: If an argument cannot be right.

    Example:
        >>> af.gates.expected_gate(torch.tensor([-10.0, 0.0, 10.0]))
        tensor([0.0000, 0.5000, 1.0000])

    Reference:
        Louizos, Welling, Kingma: Learning Sparse Neural Networks through L0 Regularization, ICLR 2018,
        https://arxiv.org/abs/1712.01312.
    """

    def gate() -> Tensor:
        limits(low, high)
        return (low + (high - low) * parameter("log_alpha", log_alpha).sigmoid()).clamp(0, 1)

    return named("expected_gate", gate)()


def _gates(
    log_alpha: Tensor,
    shape: Sequence[int],
    temperature: float,
    low: float,
    high: float,
    generator: torch.Generator | None,
) -> Tensor:
    limits(low, high)
    uniform = drawn(torch.rand, parameter("log_alpha", log_alpha), shape, generator).clamp(1e-12, 1 - 1e-12)
    noise = uniform.logit().to(log_alpha.dtype)
    return (low + (high - low) * ((noise + log_alpha) / _rate(temperature)).sigmoid()).clamp(0, 1)


def _rate(temperature: float) -> float:
    return positive_number("temperature", temperature)
