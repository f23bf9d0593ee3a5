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
from attrfunc.influence.drawn import NOT_CONVEX, Drawn, drawn_roots, require_finite
from attrfunc.influence.network import Network
from attrfunc.influence.values import Values

__all__ = ["MOST_OUTPUTS", "NO_CURVATURE", "Outputs", "pulled"]

MOST_OUTPUTS = 256
"""How many outputs of an example the Hessian of its loss is taken at, column by column."""

NO_CURVATURE = (
    "the loss is linear in what the model gives, so that its Gauss-Newton matrix is zero. Let the model give logits, "
    "and the loss take their log_softmax, or take the hessian or fisher."
)

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

    def roots(self, batch: Any, drawn: Drawn | None = None) -> list[list[Tensor]]:
        """Weights of outputs whose outer products add up to the Hessian of each example's loss.

        Args:
            batch: The batch.
            drawn: How many of them to draw at random, so that the outer products add up to it in expectation; `None`
                takes all.

        Returns:
            For each of some columns, a tensor for each output, `(B, *shape)`.
        """
        rows = rows_of(batch)
        with torch.no_grad():
            leaves, loss_of = self.of(batch, self._network.values)
        if any(leaf.dim() == 0 or len(leaf) != rows for leaf in leaves):
            fix = "Let the model give outputs whose dimension 0 is the example."
            raise ArgumentError("model", "outputs of other dimensions", f"{rows} rows, one for each example", fix)
        count = sum(leaf[0].numel() for leaf in leaves)
        if drawn is not None:
            found = drawn_roots(leaves, loss_of, drawn)
            if found is not None:
                return found
        if count > MOST_OUTPUTS:
            if drawn is None:
                fix = "Pass samples=8, say, to draw columns of that Hessian at random; or take fisher, or cg(of='ggn')."
            else:
                fix = (
                    "Only of cross-entropy, squared and other losses of single outputs columns are drawn; take fisher."
                )
            raise ArgumentError(
                "model", f"{count:,} outputs for each example", f"up to {MOST_OUTPUTS} to take all columns", fix
            )
        columns = _all_roots(leaves, loss_of)
        if drawn is not None:
            signs = [drawn.signs((rows, columns.shape[2])).to(columns) for _ in range(drawn.samples)]
            columns = torch.stack([(columns @ sign.unsqueeze(2)).squeeze(2) for sign in signs], 2)
            columns = columns / drawn.samples**0.5
        sizes = [leaf[0].numel() for leaf in leaves]
        parts = [columns[:, :, number].split(sizes, 1) for number in range(columns.shape[2])]
        kept = [part for part in parts if any(bool(piece.any()) for piece in part)]
        return [[piece.reshape(leaf.shape) for piece, leaf in zip(part, leaves, strict=True)] for part in kept]


def _all_roots(leaves: list[Tensor], loss_of: LossOf) -> Tensor:
    """The eigenvectors of each example's Hessian times the roots of their eigenvalues, as columns, `(B, D, D)`."""
    hessian = _hessian(leaves, loss_of)
    require_finite([hessian])
    eigenvalues, vectors = torch.linalg.eigh(hessian.double())
    rounding = max(1e-4, 8 * torch.finfo(hessian.dtype).eps)
    if eigenvalues.min() < -rounding * eigenvalues.abs().max():
        raise ModelError(NOT_CONVEX)
    return (vectors * eigenvalues.clamp(min=0).sqrt().unsqueeze(1)).to(hessian.dtype)


def _hessian(leaves: list[Tensor], loss_of: LossOf) -> Tensor:
    """Of each example's loss, `(B, D, D)`."""
    joined = torch.cat([leaf.unsqueeze(-1).flatten(1) for leaf in leaves], 1)
    sizes = [leaf[0].numel() for leaf in leaves]
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
        products = [
            (leaf * weight).unsqueeze(-1).flatten(1).sum(1) for leaf, weight in zip(leaves, weights, strict=True)
        ]
        return torch.stack(products).sum(0)

    return replace(values, function=function, sign=1)
