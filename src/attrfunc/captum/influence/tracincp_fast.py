"""TracIn of the last layer, and random projections of it, with Captum's arguments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from attrfunc.captum.influence._shared import (
    KMostInfluentialResults,
    _load_flexible_state_dict,
    bare,
    batches_in,
    per_example,
    reduction_of,
    stages,
)
from attrfunc.captum.influence.tracincp import _Scores
from attrfunc.core.errors import ArgumentError, ModelError, describe, suggestions, warn
from attrfunc.influence.per_example import PerExample
from attrfunc.influence.terms import Gradients, Outer
from attrfunc.influence.top import best
from attrfunc.influence.values import Loss, losses

__all__ = ["NearestNeighbors", "TracInCPFast", "TracInCPFastRandProj"]


class TracInCPFast(_Scores):
    """TracIn of the parameters of the last layer, bias included, with Captum's arguments."""

    def __init__(
        self,
        model: nn.Module,
        final_fc_layer: nn.Module | str,
        train_dataset: Dataset[Any] | DataLoader[Any],
        checkpoints: str | list[str] | Iterator[Any],
        checkpoints_load_func: Callable[..., Any] = _load_flexible_state_dict,
        loss_fn: nn.Module | Callable[..., Any] | None = None,
        batch_size: int | None = 1,
        test_loss_fn: nn.Module | Callable[..., Any] | None = None,
        vectorize: bool = False,
    ) -> None:
        super().__init__(model, train_dataset, checkpoints, checkpoints_load_func, loss_fn, batch_size, test_loss_fn)
        self.vectorize = vectorize
        self.final_fc_layer = final_fc_layer
        if loss_fn is None:
            raise AssertionError("argument `loss_fn`: got None; expected a loss function. Pass one.")
        self.reduction_type = reduction_of(loss_fn, "loss_fn", True)
        self.test_reduction_type = self.reduction_type
        if test_loss_fn is not None:
            self.test_reduction_type = reduction_of(test_loss_fn, "test_loss_fn", True)

    @property
    def final_fc_layer(self) -> nn.Module:
        """The last layer."""
        return self._final_fc_layer

    @final_fc_layer.setter
    def final_fc_layer(self, layer: nn.Module | str) -> None:
        names = dict(bare(self.model).named_modules())
        if isinstance(layer, str):
            if layer not in names:
                hint = suggestions(layer, names)
                raise ArgumentError("final_fc_layer", repr(layer), "the name of a layer, or a module", hint)
            self._final_fc_layer, self._layers = names[layer], [layer]
        else:
            found = [name for name, module in names.items() if module is layer]
            if not found:
                hint = "Pass one of the model's own layers."
                raise ArgumentError("final_fc_layer", describe(layer), "a layer of the model", hint)
            self._final_fc_layer, self._layers = layer, found[:1]

    @property
    def _loss(self) -> Loss:  # type: ignore[override]
        return per_example(self.loss_fn, self.reduction_type)

    @property
    def _test_loss(self) -> Loss:  # type: ignore[override]
        return per_example(self.test_loss_fn, self.test_reduction_type)

    def influence(  # type: ignore[override]
        self,
        inputs: tuple[Any, ...],
        k: int | None = None,
        proponents: bool = True,
        show_progress: bool = False,
    ) -> Tensor | KMostInfluentialResults:
        """Scores `(Q, N)`, or the `k` best of them with their indices."""
        return self._scored(inputs, k, proponents, show_progress)

    def self_influence(
        self,
        inputs: tuple[Any, ...] | DataLoader[Any] | None = None,
        show_progress: bool = False,
        outer_loop_by_checkpoints: bool = False,
    ) -> Tensor:
        """The influence of examples on themselves, `(N,)`."""
        return self._on_themselves(inputs, show_progress, outer_loop_by_checkpoints)


class NearestNeighbors(ABC):
    """Finds the vectors with the highest inner products."""

    @abstractmethod
    def get_nearest_neighbors(self, query: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The indices and inner products of the `k` nearest of each query, `(Q, k)` each."""

    @abstractmethod
    def setup(self, data: Tensor) -> None:
        """Take the vectors, `(N, D)`."""


class _Exact(NearestNeighbors):
    """Looks at all of them."""

    def setup(self, data: Tensor) -> None:
        """Keep the vectors."""
        self._data = data

    def get_nearest_neighbors(self, query: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """By all inner products."""
        found = best([query @ self._data.T], k, all_at_most=True)
        return found.indices, found.scores


class TracInCPFastRandProj(TracInCPFast):
    """TracIn of the last layer with the training data's projections in memory, with Captum's arguments.

    Projections are drawn from a generator of their own. Without `nearest_neighbors`, search is exact.
    """

    def __init__(
        self,
        model: nn.Module,
        final_fc_layer: nn.Module,
        train_dataset: Dataset[Any] | DataLoader[Any],
        checkpoints: str | list[str] | Iterator[Any],
        checkpoints_load_func: Callable[..., Any] = _load_flexible_state_dict,
        loss_fn: nn.Module | Callable[..., Any] | None = None,
        batch_size: int | None = 1,
        test_loss_fn: nn.Module | Callable[..., Any] | None = None,
        vectorize: bool = False,
        nearest_neighbors: NearestNeighbors | None = None,
        projection_dim: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            model,
            final_fc_layer,
            train_dataset,
            checkpoints,
            checkpoints_load_func,
            loss_fn,
            batch_size,
            test_loss_fn,
            vectorize,
        )
        self.nearest_neighbors = _Exact() if nearest_neighbors is None else nearest_neighbors
        self.projection_dim, self._seed = projection_dim, seed
        self.projection_quantities: tuple[Tensor, Tensor] | None = None
        self.src_intermediate_quantities = self._projected(self.train_dataloader, self._loss)
        self.nearest_neighbors.setup(self.src_intermediate_quantities)

    def influence(  # type: ignore[override]
        self, inputs: tuple[Any, ...] | None = None, k: int | None = 5, proponents: bool = True
    ) -> Tensor | KMostInfluentialResults:
        """The `k` best scores with their indices, or all of them, `(Q, N)`, if `k` is None."""
        if inputs is None:
            raise ArgumentError("inputs", "None", "a batch", "For self-influence take TracInCPFast.")
        queries = self._projected(inputs, self._test_loss)
        if k is None:
            return queries @ self.src_intermediate_quantities.T
        sign = 1 if proponents else -1
        indices, scores = self.nearest_neighbors.get_nearest_neighbors(sign * queries, k)
        return KMostInfluentialResults(indices, sign * scores)

    def self_influence(
        self,
        inputs: tuple[Any, ...] | DataLoader[Any] | None = None,
        show_progress: bool = False,
        outer_loop_by_checkpoints: bool = False,
    ) -> Tensor:
        """Not of this class: projections would only make it inexact."""
        warn("TracInCPFastRandProj has no self-influence, of which projections save nothing: take TracInCPFast.")
        raise NotImplementedError("TracInCPFastRandProj has no self-influence. Take TracInCPFast.")

    def compute_intermediate_quantities(self, inputs: tuple[Any, ...] | DataLoader[Any]) -> Tensor:
        """Vectors whose inner products are, about, scores, `(N, checkpoints * D)`."""
        return self._projected(inputs, self._loss)

    def _projected(self, inputs: Any, loss: Loss) -> Tensor:
        values, parts = losses(loss), []
        for network, rate in stages(self.model, self._stages, self._layers):
            gradients = PerExample(network, values)
            found = [self._vectors(gradients(tuple(batch)), network.dtype) for batch in batches_in(inputs)]
            parts.append(torch.cat(found) * rate**0.5)
        return torch.cat(parts, 1)

    def _vectors(self, gradients: Gradients, dtype: torch.dtype) -> Tensor:
        term = next((one for terms in gradients.values() for one in terms if isinstance(one, Outer)), None)
        if term is None or term.right.shape[1] != 1:
            raise ModelError("the last layer is no linear layer that runs once for each example. Pass one that does.")
        slopes, inputs = term.left[:, 0].to(dtype), term.right[:, 0].to(dtype)
        if len(gradients) == 2:  # the bias, as the weight of an input of ones
            inputs = torch.cat([inputs, torch.ones_like(inputs[:, :1])], 1)
        if self.projection_dim is not None and slopes.shape[1] * inputs.shape[1] > self.projection_dim:
            if self.projection_quantities is None:
                self.projection_quantities = self._drawn(slopes, inputs, self.projection_dim)
            first, second = self.projection_quantities
            slopes, inputs = slopes @ first, inputs @ second
        return (slopes.unsqueeze(2) * inputs.unsqueeze(1)).flatten(1)

    def _drawn(self, slopes: Tensor, inputs: Tensor, most: int) -> tuple[Tensor, Tensor]:
        generator, found = torch.Generator().manual_seed(self._seed), []
        for value in (slopes, inputs):
            size = min(int(most**0.5), value.shape[1])
            drawn = torch.randn(value.shape[1], size, generator=generator) / size**0.5
            found.append(drawn.to(value))
        return found[0], found[1]
