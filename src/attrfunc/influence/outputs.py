"""The two halves of a loss: what the model gives, and what the loss makes of that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, ModelError
from attrfunc.core.trees import floats
from attrfunc.influence.batches import rows_of
from attrfunc.influence.network import Network, Values

__all__ = ["Outputs", "pulled"]

LossOf = Callable[[list[Tensor]], Tensor]


class Outputs:
    """Splits a loss at the model's outputs.

    Args:
        network: The model.
        values: The loss of each example.
    """

    def __init__(self, network: Network, values: Values) -> None:
        self._network, self._values = network, values

    def of(self, batch: Any, parameters: Mapping[str, Tensor]) -> tuple[list[Tensor], LossOf]:
        """The floating-point outputs of all calls of the model, and the loss as a function of these."""
        call, seen = self._network.call(parameters, plain=True), list[Any]()

        def noted(*args: Any, **kwargs: Any) -> Any:
            seen.append(call(*args, **kwargs))
            return seen[-1]

        self._values(noted, batch)
        leaves, restore = floats(seen)
        if not leaves:
            raise ArgumentError("loss", "a loss that calls no model", "one that does", "Let it call its argument.")

        def loss_of(others: list[Tensor]) -> Tensor:
            given = iter(restore(others))
            return self._values(lambda *args, **kwargs: next(given), batch)

        return leaves, loss_of

    def roots(self, batch: Any, most: int) -> list[list[Tensor]]:
        """Weights of outputs whose outer products add up to the Hessian of each example's loss.

        Args:
            batch: The batch.
            most: How many outputs an example may have.

        Returns:
            For each of up to `most` columns, a tensor for each output, `(B, *shape)`.
        """
        rows = rows_of(batch)
        with torch.no_grad():
            leaves, loss_of = self.of(batch, self._network.values)
        if any(leaf.dim() == 0 or len(leaf) != rows for leaf in leaves):
            fix = "Let the model give outputs whose dimension 0 is the example."
            raise ArgumentError("model", "outputs of other dimensions", f"{rows} rows, one for each example", fix)
        sizes = [leaf[0].numel() for leaf in leaves]
        if sum(sizes) > most:
            raise ArgumentError(
                "model",
                f"{sum(sizes)} outputs for each example",
                f"up to {most} for what takes the Hessian of the loss at the outputs",
                "Take fisher, which has a gradient for each example, or cg(of='ggn').",
            )
        hessian = _hessian(torch.cat([leaf.reshape(rows, -1) for leaf in leaves], 1), leaves, sizes, loss_of)
        eigenvalues, vectors = torch.linalg.eigh(hessian.double())
        rounding = max(1e-4, 8 * torch.finfo(hessian.dtype).eps)
        if eigenvalues.min() < -rounding * eigenvalues.abs().max():
            raise ModelError(
                "the loss is not convex in the model's outputs, so that its Gauss-Newton matrix is no curvature that "
                "can be inverted. Take the hessian, with enough damping, or fisher."
            )
        columns = (vectors * eigenvalues.clamp(min=0).sqrt().unsqueeze(1)).to(hessian.dtype)
        parts = [columns[:, :, number].split(sizes, 1) for number in range(columns.shape[2])]
        kept = [part for part in parts if any(bool(piece.any()) for piece in part)]
        return [[piece.reshape(leaf.shape) for piece, leaf in zip(part, leaves, strict=True)] for part in kept]


def _hessian(joined: Tensor, leaves: list[Tensor], sizes: list[int], loss_of: LossOf) -> Tensor:
    """Of each example's loss, `(B, D, D)`."""
    with torch.inference_mode(False), torch.enable_grad():
        at = joined.clone().requires_grad_()
        parts = at.split(sizes, 1)
        losses = loss_of([part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)])
        (slope,) = torch.autograd.grad(losses, at, torch.ones_like(losses), create_graph=True)
        if not slope.requires_grad:
            return at.detach().new_zeros(*at.shape, at.shape[1])
        number = range(at.shape[1])
        rows = [torch.autograd.grad(slope[:, k].sum(), at, retain_graph=True, allow_unused=True)[0] for k in number]
    return torch.stack([torch.zeros_like(joined) if row is None else row for row in rows], 1)


def pulled(values: Values) -> Values:
    """What pulls weights of outputs back: `sum(weight * output)` for each example of `(batch, weights)`."""

    def function(model: Any, pair: Any) -> Tensor:
        batch, weights = pair
        seen: list[Any] = []

        def noted(*args: Any, **kwargs: Any) -> Any:
            seen.append(model(*args, **kwargs))
            return seen[-1]

        values(noted, batch)
        leaves, _ = floats(seen)
        products = [(leaf * weight).flatten(1).sum(1) for leaf, weight in zip(leaves, weights, strict=True)]
        return torch.stack(products).sum(0)

    return replace(values, function=function, sign=1)
