"""Products of a curvature with vectors, without the matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, ModelError
from attrfunc.core.trees import map_rows
from attrfunc.influence.batches import batches_of, rows_of, slow_maps
from attrfunc.influence.network import Network
from attrfunc.influence.outputs import Outputs
from attrfunc.influence.per_example import PerExample
from attrfunc.influence.values import Values

__all__ = ["Kind", "Products"]

Kind = Literal["hessian", "ggn"]
"""The Hessian of the loss, or the generalised Gauss-Newton matrix: the loss's Hessian between Jacobians of outputs."""

_AT_ONCE = (16, 256)
"""How many vectors are multiplied at once, at least and at most."""


class Products:
    """Multiplies the curvature of the mean loss over a data set with vectors.

    Args:
        network: The model.
        data: Batches.
        values: The loss of each example.
        kind: Which curvature.
    """

    def __init__(self, network: Network, data: Iterable[Any], values: Values, kind: Kind) -> None:
        if kind not in ("hessian", "ggn"):
            fix = "The Gauss-Newton matrix has no negative eigenvalues."
            raise ArgumentError("of", repr(kind), "'hessian' or 'ggn'", fix)
        self._network, self._data, self._values, self._kind = network, data, values, kind
        self._forward: bool | None = None
        self.rows = sum(rows_of(batch) for batch in batches_of(data))

    def __call__(self, vectors: Tensor) -> Tensor:
        """The products with vectors `(K, P)`, `(K, P)`."""
        total = torch.zeros_like(vectors)
        for batch in batches_of(self._data):
            step = self._at_once(batch)
            for begin in range(0, len(vectors), step):
                chunk = slice(begin, begin + step)
                total[chunk] += self._of_batch(batch, vectors[chunk])
        if not torch.isfinite(total).all() and torch.isfinite(vectors).all():
            raise ModelError(
                "the curvature is not finite. Look for overflow, log(0) or 0/0 in the model or the loss, or for NaN in "
                "the data."
            )
        return total / self.rows

    def _at_once(self, batch: Any) -> int:
        """So many vectors that the numbers of the batch, once for each, fit into a cache or two."""
        numbers = sum(leaf.numel() for leaf in pytree.tree_leaves(batch) if isinstance(leaf, Tensor))
        least, most = _AT_ONCE
        return min(max(2**23 // (numbers + self._network.size), least), most)

    def _of_batch(self, batch: Any, vectors: Tensor) -> Tensor:
        if self._forward is None:  # forward mode does not know of padding, whose embeddings have no gradient
            rows = rows_of(batch, self._values.of)
            gradients = PerExample(self._network, self._values)
            gradients(map_rows(lambda leaf: leaf[:1], batch, rows))
            self._forward = not gradients.bends_gradients
        make = self._hessian if self._kind == "hessian" else self._gauss_newton
        if self._forward:
            try:
                return self._mapped(make(batch, forward=True), vectors)
            except (RuntimeError, NotImplementedError):
                self._forward = False  # what else is wrong shows again
        return self._mapped(make(batch, forward=False), vectors)

    def _mapped(self, product: Callable[[dict[str, Tensor]], dict[str, Tensor]], vectors: Tensor) -> Tensor:
        kinds = {name: value.dtype for name, value in self._network.values.items()}
        given = {name: part.to(kinds[name]) for name, part in self._network.split(vectors).items()}
        with torch.no_grad(), slow_maps():
            found = torch.vmap(product)(given)
        return torch.cat([found[name].to(vectors.dtype).unsqueeze(-1).flatten(1) for name in self._network.names], 1)

    def _hessian(self, batch: Any, forward: bool) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
        def total(parameters: dict[str, Tensor]) -> Tensor:
            return self._values(self._network.call(parameters, plain=True), batch).sum()

        return _linear_map(torch.func.grad(total), self._network.values, forward)

    def _gauss_newton(self, batch: Any, forward: bool) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
        outputs = Outputs(self._network, self._values)
        given, loss_of = outputs.of(batch, self._network.values)

        def made(parameters: dict[str, Tensor]) -> list[Tensor]:
            return outputs.of(batch, parameters)[0]

        middle = _linear_map(torch.func.grad(lambda leaves: loss_of(leaves).sum()), given, forward=False)

        def product(tangent: dict[str, Tensor]) -> dict[str, Tensor]:
            _, pull = torch.func.vjp(made, self._network.values)  # type: ignore[misc]
            if forward:
                _, pushed = torch.func.jvp(made, (self._network.values,), (tangent,))  # type: ignore[misc]
            else:  # the transpose of the transpose
                zeros = [torch.zeros_like(leaf) for leaf in given]
                _, push = torch.func.vjp(lambda weights: pull(weights)[0], zeros)  # type: ignore[misc]
                (pushed,) = push(tangent)
            return pull(middle(pushed))[0]

        return product


def _linear_map(gradient: Callable[[Any], Any], at: Any, forward: bool) -> Callable[[Any], Any]:
    """The derivative of a gradient, which is symmetric: in forward mode, or in reverse mode."""

    def product(tangent: Any) -> Any:
        if forward:
            return torch.func.jvp(gradient, (at,), (tangent,))[1]
        _, pull = torch.func.vjp(gradient, at)  # type: ignore[misc]
        return pull(tangent)[0]

    return product
