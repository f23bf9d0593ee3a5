"""The slope of each example's value along one direction of the parameters: one pass of forward mode for a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from attrfunc.influence.network import Network, Values
from attrfunc.influence.per_example import PerExample
from attrfunc.influence.terms import weighted

__all__ = ["Slopes"]


class Slopes:
    """Inner products of one direction with the gradients of the examples of each batch.

    Forward mode gives them without a gradient. It is compared with the gradients at the first batch, and left alone
    where a model has no forward mode.

    Args:
        network: The model.
        values: A number for each example.
        direction: By name, of the parameters' shapes.
    """

    def __init__(self, network: Network, values: Values, direction: Mapping[str, Tensor]) -> None:
        self._network, self._values = network, values
        self._gradients = PerExample(network, values)
        self._direction = {name: direction[name].to(value.dtype) for name, value in network.values.items()}
        self._forward: bool | None = None

    def __call__(self, batch: Any) -> Tensor:
        """The slopes, `(B,)`."""
        if self._forward:
            return self._along(batch)
        rows = {name: value.unsqueeze(0) for name, value in self._direction.items()}
        found = weighted(rows, self._gradients(batch), self._network.dtype)[0]
        if self._forward is None:
            self._forward = self._agrees(batch, found)
        return found

    def _agrees(self, batch: Any, expected: Tensor) -> bool:
        try:
            found = self._along(batch)
        except (RuntimeError, NotImplementedError, ValueError, TypeError):
            return False  # the gradients, which have run, need no forward mode
        tolerance = 1e-7 if expected.dtype == torch.float64 else 1e-3
        return bool((found - expected).abs().max() <= tolerance * (expected.abs().max() + 1e-12))

    def _along(self, batch: Any) -> Tensor:
        def value(parameters: dict[str, Tensor]) -> Tensor:
            return self._values(self._network.call(parameters, plain=True), batch)

        with torch.no_grad():
            _, slopes = torch.func.jvp(value, (self._network.values,), (self._direction,))  # type: ignore[misc]
        return slopes.to(self._network.dtype)
