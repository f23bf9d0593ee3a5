"""The slope of each example's value along one direction of the parameters: one pass of forward mode for a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.trees import leaves_of, map_rows
from attrfunc.influence.batches import rows_of
from attrfunc.influence.network import Network, plain
from attrfunc.influence.per_example import PerExample
from attrfunc.influence.terms import weighted
from attrfunc.influence.values import Values

__all__ = ["Slopes"]


class Slopes:
    """Inner products of one direction with the gradients of the examples of each batch.

    Forward mode gives them without a gradient. It is compared with the gradients of two examples, and left alone where
    a model has no forward mode.

    Args:
        network: The model.
        values: A number for each example.
        direction: By name, of the parameters' shapes.
    """

    def __init__(self, network: Network, values: Values, direction: Mapping[str, Tensor]) -> None:
        self._network, self._values = network, values
        self._gradients = PerExample(network, values)
        self._direction = {name: direction[name].to(value.dtype) for name, value in network.values.items()}
        self._known: dict[Any, bool] = network.known.setdefault((values, "forward"), {})

    def __call__(self, batch: Any) -> Tensor:
        """The slopes, `(B,)`."""
        batch = pytree.tree_map_only(Tensor, plain, batch)
        shapes = tuple(leaf.shape for leaf in leaves_of(batch) if isinstance(leaf, Tensor))
        if self._known.get(shapes, True):
            found = self._tried(batch, new=shapes not in self._known)
            self._known[shapes] = found is not None
            if found is not None:
                return found
        return self._by_gradients(batch)

    def _by_gradients(self, batch: Any) -> Tensor:
        rows = {name: value.unsqueeze(0) for name, value in self._direction.items()}
        return weighted(rows, self._gradients(batch), self._network.dtype)[0]

    def _tried(self, batch: Any, new: bool) -> Tensor | None:
        """The slopes by forward mode; None where it gives others than the gradients of the first and last example."""
        if not new:
            values, found = self._along(batch)
            return found if torch.isfinite(values).all() else None  # the gradients tell what is wrong
        rows = rows_of(batch, self._values.of)
        ends = sorted({0, rows - 1})
        pair = map_rows(lambda leaf: leaf[ends], batch, rows)
        expected = self._by_gradients(pair)
        if self._gradients.bends_gradients:
            return None
        try:
            values, found = self._along(batch)
            alone, _ = self._along(pair)
        except (RuntimeError, NotImplementedError, ValueError, TypeError):
            return None  # the gradients, which have run, need no forward mode
        tolerance = 1e-7 if expected.dtype == torch.float64 else 1e-3
        scale = found.abs().max() + 1e-12
        same = bool((values[ends] - alone).abs().max() <= tolerance * (1 + alone.abs().max()))
        return found if same and bool((found[ends] - expected).abs().max() <= tolerance * scale) else None

    def _along(self, batch: Any) -> tuple[Tensor, Tensor]:
        def value(parameters: dict[str, Tensor]) -> Tensor:
            return self._values(self._network.call(parameters, plain=True), batch)

        with torch.inference_mode(False), torch.no_grad():
            values, slopes = torch.func.jvp(value, (self._network.values,), (self._direction,))  # type: ignore[misc]
        return values, slopes.to(self._network.dtype)
