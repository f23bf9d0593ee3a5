"""Gates as modules: parameters around the pure functions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from attrfunc.core.errors import ArgumentError, describe, positive
from attrfunc.core.score.method import named
from attrfunc.gates.checks import limits, positive_number
from attrfunc.gates.gaussian_gate import STDEV, gaussian_active_probability, gaussian_gate
from attrfunc.gates.hard_concrete import HIGH, LOW, TEMPERATURE, active_probability, expected_gate, hard_concrete

__all__ = ["GaussianGates", "HardConcreteGates"]


class _Gates(nn.Module):
    """Gates that inputs are multiplied by: random in training mode, fixed in evaluation mode."""

    mask: Tensor | None

    def __init__(self, n_gates: int, mask: Tensor | None) -> None:
        super().__init__()
        named(type(self).__name__, positive)("n_gates", n_gates)
        self.n_gates = n_gates
        self.register_buffer("mask", None if mask is None else named(type(self).__name__, self._checked)(mask))

    def _checked(self, mask: Any) -> Tensor:
        whole = isinstance(mask, Tensor) and not (mask.is_floating_point() or mask.is_complex())
        if not whole or not mask.numel() or not 0 <= int(mask.min()) <= int(mask.max()) < self.n_gates:
            expected = f"integers from 0 to {self.n_gates - 1}, the number of each element's gate"
            raise ArgumentError("mask", describe(mask), expected, "Pass as many gates as the mask has groups.")
        return mask.long()

    def forward(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Multiply examples by gates.

        Args:
            x: Inputs `(B, *S)`: `S` is `(n_gates,)`, or what the mask broadcasts to.
            generator: The source of randomness.

        Returns:
            Gated inputs, as `x`.
        """
        return named(type(self).__name__, self._gated)(x, generator)

    def _gated(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        shape = torch.Size([self.n_gates]) if self.mask is None else self.mask.shape
        try:
            fits = torch.broadcast_shapes(shape, x.shape[1:]) == x.shape[1:]
        except RuntimeError:
            fits = False
        if not fits:
            fix = "Pass a mask of the input's shape without the batch dimension."
            raise ArgumentError("x", describe(x), f"(B, *S) that the gates' {tuple(shape)} broadcast to", fix)
        gates = self._sampled(len(x), generator) if self.training else self.gates().expand(len(x), -1)
        chosen = gates if self.mask is None else gates.index_select(1, self.mask.reshape(-1))
        return x * chosen.reshape(len(x), *[1] * (x.dim() - 1 - len(shape)), *shape).to(x.dtype)

    def penalty(self) -> Tensor:
        """The expected number of gates that are above 0, to be weighted and added to a loss."""
        return self.probabilities().sum()

    def gates(self) -> Tensor:
        """The gates `(n_gates,)` of evaluation mode."""
        raise NotImplementedError

    def probabilities(self) -> Tensor:
        """The probabilities `(n_gates,)` of gates above 0."""
        raise NotImplementedError

    def _sampled(self, rows: int, generator: torch.Generator | None) -> Tensor:
        raise NotImplementedError


class HardConcreteGates(_Gates):
    """Hard concrete gates; see `hard_concrete`.

    Args:
        n_gates: How many.
        mask: The gate of each element, integers that broadcast to an example's shape; `None` is one for each.
        temperature: As in `hard_concrete`.
        low: As there.
        high: As there.

    Example:
        >>> gates = af.gates.HardConcreteGates(4)
        >>> gates.eval()(torch.ones(2, 4)).shape, gates.penalty().shape
        (torch.Size([2, 4]), torch.Size([]))
    """

    def __init__(
        self,
        n_gates: int,
        mask: Tensor | None = None,
        *,
        temperature: float = TEMPERATURE,
        low: float = LOW,
        high: float = HIGH,
    ) -> None:
        super().__init__(n_gates, mask)
        named(type(self).__name__, limits)(low, high)
        self.temperature, self.low, self.high = positive_number("temperature", temperature), low, high
        self.log_alpha = nn.Parameter(torch.zeros(n_gates))

    def gates(self) -> Tensor:
        """The gates `(n_gates,)` of evaluation mode."""
        return expected_gate(self.log_alpha, low=self.low, high=self.high)

    def probabilities(self) -> Tensor:
        """The probabilities `(n_gates,)` of gates above 0."""
        return active_probability(self.log_alpha, temperature=self.temperature, low=self.low, high=self.high)

    def _sampled(self, rows: int, generator: torch.Generator | None) -> Tensor:
        options: dict[str, Any] = {"temperature": self.temperature, "low": self.low, "high": self.high}
        return hard_concrete(self.log_alpha, shape=(rows,), generator=generator, **options)


class GaussianGates(_Gates):
    """Gaussian gates; see `gaussian_gate`.

    Args:
        n_gates: How many.
        mask: The gate of each element, integers that broadcast to an example's shape; `None` is one for each.
        stdev: As in `gaussian_gate`.

    Example:
        >>> gates = af.gates.GaussianGates(2, torch.tensor([0, 0, 1]))
        >>> gates.eval()(torch.ones(1, 3))
        tensor([[0.5000, 0.5000, 0.5000]], grad_fn=<MulBackward0>)
    """

    def __init__(self, n_gates: int, mask: Tensor | None = None, *, stdev: float = STDEV) -> None:
        super().__init__(n_gates, mask)
        self.stdev = positive_number("stdev", stdev)
        self.mean = nn.Parameter(torch.full((n_gates,), 0.5))

    def gates(self) -> Tensor:
        """The gates `(n_gates,)` of evaluation mode."""
        return self.mean.clamp(0, 1)

    def probabilities(self) -> Tensor:
        """The probabilities `(n_gates,)` of gates above 0."""
        return gaussian_active_probability(self.mean, stdev=self.stdev)

    def _sampled(self, rows: int, generator: torch.Generator | None) -> Tensor:
        return gaussian_gate(self.mean, shape=(rows,), stdev=self.stdev, generator=generator)
