"""Stochastic gates with an L0 penalty."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

import attrfunc as af
from attrfunc.core.errors import ArgumentError, describe, positive

__all__ = ["BinaryConcreteStochasticGates", "GaussianStochasticGates", "StochasticGatesBase"]

REDUCTIONS = ("none", "mean", "sum")


class _RefusedError(ArgumentError, AssertionError):
    """What a script may catch as the `AssertionError` that Captum raises."""


class StochasticGatesBase(nn.Module, ABC):
    """Base of gates.

    Args:
        n_gates: How many.
        mask: The gate of each element, integers that broadcast to the inputs.
        reg_weight: The weight of the penalty.
        reg_reduction: `"sum"`, `"mean"` or `"none"`: what is made of the probabilities of open gates.
    """

    mask: Tensor | None

    def __init__(
        self, n_gates: int, mask: Tensor | None = None, reg_weight: float = 1.0, reg_reduction: str = "sum"
    ) -> None:
        super().__init__()
        name = type(self).__name__
        try:
            positive("n_gates", n_gates)
            if mask is not None and (int(mask.min()) < 0 or int(mask.max()) != n_gates - 1):
                fix = "Pass as many gates as the mask has groups."
                expected = f"integers from 0 to {n_gates - 1}, the last gate's number among them"
                raise _RefusedError("mask", describe(mask), expected, fix)
            if reg_reduction not in REDUCTIONS:
                fix = "Pass reg_reduction='sum'."
                raise ArgumentError("reg_reduction", repr(reg_reduction), f"one of {', '.join(REDUCTIONS)}", fix)
        except ArgumentError as error:
            raise error.within(name)  # noqa: B904  # the same error, now with its name
        self.n_gates = n_gates
        self.register_buffer("mask", None if mask is None else mask.detach().clone())
        self.reg_weight = reg_weight
        self.reg_reduction = reg_reduction

    def forward(self, input_tensor: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs times gates (random in training mode), and the penalty.

        Args:
            input_tensor: Inputs `(B, *S)`.
        """
        rows, count = len(input_tensor), input_tensor.shape[1:].numel()
        if self.mask is None and (input_tensor.dim() < 2 or count != self.n_gates):
            fix = "Pass a mask for inputs of another size."
            error = _RefusedError("input_tensor", describe(input_tensor), f"(B, *S) of {self.n_gates} elements", fix)
            raise error.within(type(self).__name__)
        gates = self._sample_gate_values(rows).clamp(0, 1)
        if self.mask is not None:
            places = self.mask.expand_as(input_tensor).reshape(rows, count)
            gates = gates.gather(1, places)
        probabilities = self._get_gate_active_probs()
        if self.reg_reduction != "none":
            probabilities = probabilities.sum() if self.reg_reduction == "sum" else probabilities.mean()
        return input_tensor * gates.reshape(input_tensor.shape), probabilities * self.reg_weight

    def get_gate_values(self, clamp: bool = True) -> Tensor:
        """The gates `(n_gates,)` of evaluation mode.

        Args:
            clamp: Whether to cut them off at 0 and 1.
        """
        values = self._get_gate_values()
        return (values.clamp(0, 1) if clamp else values).detach()

    def get_gate_active_probs(self) -> Tensor:
        """The probabilities `(n_gates,)` of gates above 0."""
        return self._get_gate_active_probs().detach()

    @abstractmethod
    def _get_gate_values(self) -> Tensor: ...

    @abstractmethod
    def _sample_gate_values(self, batch_size: int) -> Tensor: ...

    @abstractmethod
    def _get_gate_active_probs(self) -> Tensor: ...


class BinaryConcreteStochasticGates(StochasticGatesBase):
    """Hard concrete gates; see `attrfunc.gates.hard_concrete`.

    Args:
        n_gates: How many.
        mask: As in the base class.
        reg_weight: As there.
        temperature: As in `attrfunc.gates.hard_concrete`.
        lower_bound: `low` there.
        upper_bound: `high` there.
        eps: How far uniform draws stay from 0 and 1.
        reg_reduction: As in the base class.
    """

    def __init__(
        self,
        n_gates: int,
        mask: Tensor | None = None,
        reg_weight: float = 1.0,
        temperature: float = 2 / 3,
        lower_bound: float = -0.1,
        upper_bound: float = 1.1,
        eps: float = 1e-8,
        reg_reduction: str = "sum",
    ) -> None:
        super().__init__(n_gates, mask=mask, reg_weight=reg_weight, reg_reduction=reg_reduction)
        self.log_alpha_param = nn.Parameter(torch.randn(n_gates) * 0.01)
        self.temperature, self.eps = temperature, eps
        self.lower_bound, self.upper_bound = lower_bound, upper_bound
        try:
            self._get_gate_active_probs()
        except ArgumentError as error:
            names = {"low": "lower_bound", "high": "upper_bound"}
            argument = names.get(error.argument, error.argument)
            found = ArgumentError(argument, error.got, error.expected, error.fix.replace("low", "lower_bound"))
            raise found.within(type(self).__name__) from error

    @classmethod
    def _from_pretrained(cls, log_alpha_param: Tensor, *args: Any, **kwargs: Any) -> BinaryConcreteStochasticGates:
        """Gates with these parameters."""
        gates = cls(log_alpha_param.numel(), *args, **kwargs)
        gates.load_state_dict({"log_alpha_param": log_alpha_param}, strict=False)
        return gates

    def _get_gate_values(self) -> Tensor:
        return self.lower_bound + (self.upper_bound - self.lower_bound) * self.log_alpha_param.sigmoid()

    def _sample_gate_values(self, batch_size: int) -> Tensor:
        if not self.training:
            return self._get_gate_values().expand(batch_size, -1)
        # Drawn in the parameters' precision, so that a seed gives the gates that it gave before.
        uniform = torch.empty_like(self.log_alpha_param.expand(batch_size, -1)).uniform_(self.eps, 1 - self.eps)
        shifted = uniform.log() - (-uniform).log1p() + self.log_alpha_param
        return self.lower_bound + (self.upper_bound - self.lower_bound) * (shifted / self.temperature).sigmoid()

    def _get_gate_active_probs(self) -> Tensor:
        options: dict[str, Any] = {"low": self.lower_bound, "high": self.upper_bound}
        return af.gates.active_probability(self.log_alpha_param, temperature=self.temperature, **options)


class GaussianStochasticGates(StochasticGatesBase):
    """Gaussian gates; see `attrfunc.gates.gaussian_gate`.

    Args:
        n_gates: How many.
        mask: As in the base class.
        reg_weight: As there.
        std: `stdev` of `attrfunc.gates.gaussian_gate`.
        reg_reduction: As in the base class.
    """

    def __init__(
        self,
        n_gates: int,
        mask: Tensor | None = None,
        reg_weight: float = 1.0,
        std: float = 0.5,
        reg_reduction: str = "sum",
    ) -> None:
        super().__init__(n_gates, mask=mask, reg_weight=reg_weight, reg_reduction=reg_reduction)
        self.mu = nn.Parameter(0.5 + torch.randn(n_gates) * 0.01)
        self.std = std
        try:
            self._get_gate_active_probs()
        except ArgumentError as error:
            found = ArgumentError("std", error.got, error.expected, error.fix.replace("stdev", "std"))
            raise found.within(type(self).__name__) from error

    @classmethod
    def _from_pretrained(cls, mu: Tensor, *args: Any, **kwargs: Any) -> GaussianStochasticGates:
        """Gates with these parameters."""
        gates = cls(mu.numel(), *args, **kwargs)
        gates.load_state_dict({"mu": mu}, strict=False)
        return gates

    def _get_gate_values(self) -> Tensor:
        return self.mu

    def _sample_gate_values(self, batch_size: int) -> Tensor:
        if not self.training:
            return self.mu.expand(batch_size, -1)
        return af.gates.gaussian_gate(self.mu, shape=(batch_size,), stdev=self.std)

    def _get_gate_active_probs(self) -> Tensor:
        return af.gates.gaussian_active_probability(self.mu, stdev=self.std)
