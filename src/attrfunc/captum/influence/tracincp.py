"""TracIn over checkpoints, with Captum's arguments."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from attrfunc.captum.bars import reported
from attrfunc.captum.influence._shared import (
    DataInfluence,
    KMostInfluentialResults,
    _load_flexible_state_dict,
    bare,
    batches_in,
    files_of,
    joined,
    loader,
    parameters_of,
    per_example,
    reduction_of,
    stages,
    state_at,
)
from attrfunc.core.errors import warn
from attrfunc.core.score.target import batch_score
from attrfunc.influence import self_influence, tracin
from attrfunc.influence.per_example import PerExample
from attrfunc.influence.streams import blocks_of
from attrfunc.influence.terms import flat
from attrfunc.influence.top import best
from attrfunc.influence.values import Loss, losses

__all__ = ["TracInCP", "TracInCPBase"]


class TracInCPBase(DataInfluence):
    """What the classes of TracIn share; see Captum for the arguments."""

    def __init__(
        self,
        model: nn.Module,
        train_dataset: Dataset[Any] | DataLoader[Any],
        checkpoints: str | list[str] | Iterator[Any],
        checkpoints_load_func: Callable[[nn.Module, str], float] = _load_flexible_state_dict,
        loss_fn: nn.Module | Callable[..., Any] | None = None,
        batch_size: int | None = 1,
        test_loss_fn: nn.Module | Callable[..., Any] | None = None,
    ) -> None:
        self.model = model
        self.checkpoints = checkpoints
        self.checkpoints_load_func = checkpoints_load_func
        self.loss_fn = loss_fn
        self.test_loss_fn = loss_fn if test_loss_fn is None else test_loss_fn
        self.batch_size = batch_size
        self.train_dataloader = loader(train_dataset, batch_size)
        self.train_dataloader_len: int | None = None
        try:
            self.train_dataloader_len = len(self.train_dataloader)
        except TypeError:
            warn("the number of batches in `train_dataset` is not known, so progress has no total.")

    @property
    def checkpoints(self) -> list[Any]:
        """The checkpoints, in their order."""
        return self._checkpoints

    @checkpoints.setter
    def checkpoints(self, checkpoints: str | list[str] | Iterator[Any]) -> None:
        self._checkpoints = files_of(checkpoints)
        self._states: list[tuple[dict[str, Tensor], float]] | None = None

    @property
    def _stages(self) -> list[tuple[dict[str, Tensor], float]]:
        """The state of each checkpoint and its learning rate, which are loaded once."""
        if self._states is None:
            self._states = [state_at(self.model, self.checkpoints_load_func, one) for one in self._checkpoints]
        return self._states

    @abstractmethod
    def self_influence(
        self, inputs: tuple[Any, ...] | DataLoader[Any] | None = None, show_progress: bool = False
    ) -> Tensor:
        """The influence of examples on themselves."""

    @abstractmethod
    def influence(  # type: ignore[override]
        self,
        inputs: tuple[Any, ...] | DataLoader[Any],
        k: int | None = None,
        proponents: bool = True,
        unpack_inputs: bool = True,
        show_progress: bool = False,
    ) -> Tensor | KMostInfluentialResults:
        """The influence of training examples on the inputs."""


class _Scores(TracInCPBase):
    """The scores of TracIn for some parameters."""

    _loss: Loss
    _test_loss: Loss
    _layers: list[str] | None

    def _scored(
        self, inputs: Any, k: int | None, proponents: bool, show_progress: bool, aggregate: bool = False
    ) -> Tensor | KMostInfluentialResults:
        x, test_loss, name = joined(inputs), self._test_loss, self.get_name()
        better = lambda model, batch: -test_loss(model, batch)  # noqa: E731
        text = f"Using {name} to compute influence for training batches"
        if k is not None:
            kind = "proponents" if proponents else "opponents"
            text = f"Using {name} to perform computation for getting {kind}. Processing training batches"
        options: dict[str, Any] = {
            "data": reported(self.train_dataloader, show_progress, text),
            "loss": self._loss,
            "measure": _total(better) if aggregate else better,
            "checkpoints": self._stages,
            "parameters": parameters_of(self.model, self._layers),
        }
        if k is None:
            return tracin(bare(self.model), x, **options)
        found = best(blocks_of(tracin)(bare(self.model), x, **options), k, proponents, all_at_most=True)
        return KMostInfluentialResults(found.indices, found.scores)

    def _on_themselves(self, inputs: Any, show_progress: bool, by_checkpoints: bool) -> Tensor:
        data = self.train_dataloader if inputs is None else inputs
        batches = data if isinstance(data, DataLoader) else [data]
        text = f"Using {self.get_name()} to compute self influence. Processing batch"
        options: dict[str, Any] = {"loss": self._loss, "parameters": parameters_of(self.model, self._layers)}
        groups: Iterable[Any] = [self._stages]
        if by_checkpoints:
            outer = f"Using {self.get_name()} to compute self influence. Processing checkpoint"
            groups = reported([[stage] for stage in self._stages], show_progress, outer)
        found = [
            self_influence(bare(self.model), reported(batches, show_progress, text), checkpoints=stages, **options)
            for stages in groups
        ]
        return torch.stack(found).sum(0)


def _total(values: Loss) -> Any:
    """The sum over a batch, as one number."""
    return batch_score(lambda model, batch: values(model, batch).sum())  # type: ignore[arg-type, misc]


class TracInCP(_Scores):
    """`attrfunc.influence.tracin` with Captum's arguments.

    Checkpoints are loaded into a copy of the model, once; the model keeps its own parameters.
    """

    def __init__(
        self,
        model: nn.Module,
        train_dataset: Dataset[Any] | DataLoader[Any],
        checkpoints: str | list[str] | Iterator[Any],
        checkpoints_load_func: Callable[[nn.Module, str], float] = _load_flexible_state_dict,
        layers: list[str] | None = None,
        loss_fn: nn.Module | Callable[..., Any] | None = None,
        batch_size: int | None = 1,
        test_loss_fn: nn.Module | Callable[..., Any] | None = None,
        sample_wise_grads_per_batch: bool = False,
    ) -> None:
        super().__init__(model, train_dataset, checkpoints, checkpoints_load_func, loss_fn, batch_size, test_loss_fn)
        self.sample_wise_grads_per_batch = sample_wise_grads_per_batch
        self.reduction_type = reduction_of(loss_fn, "loss_fn", sample_wise_grads_per_batch)
        self.test_reduction_type = self.reduction_type
        if test_loss_fn is not None:
            self.test_reduction_type = reduction_of(test_loss_fn, "test_loss_fn", sample_wise_grads_per_batch)
        parameters_of(model, layers)
        self._layers = layers

    @property
    def _loss(self) -> Loss:  # type: ignore[override]
        return per_example(self.loss_fn, self.reduction_type)

    @property
    def _test_loss(self) -> Loss:  # type: ignore[override]
        return per_example(self.test_loss_fn, self.test_reduction_type)

    def influence(  # type: ignore[override]
        self,
        inputs: tuple[Any, ...] | DataLoader[Any],
        k: int | None = None,
        proponents: bool = True,
        show_progress: bool = False,
        aggregate: bool = False,
    ) -> Tensor | KMostInfluentialResults:
        """Scores `(Q, N)`, `(1, N)` if they are aggregated, or the `k` best of them with their indices."""
        return self._scored(inputs, k, proponents, show_progress, aggregate)

    def self_influence(
        self,
        inputs: tuple[Any, ...] | DataLoader[Any] | None = None,
        show_progress: bool = False,
        outer_loop_by_checkpoints: bool = False,
    ) -> Tensor:
        """The influence of examples on themselves, `(N,)`; the order of the loops changes nothing."""
        return self._on_themselves(inputs, show_progress, outer_loop_by_checkpoints)

    def compute_intermediate_quantities(
        self, inputs: tuple[Any, ...] | DataLoader[Any], aggregate: bool = False
    ) -> Tensor:
        """Gradients of the losses times learning rates, checkpoint by checkpoint, `(N, checkpoints * P)`."""
        values, parts = losses(self._loss), []
        for network, rate in stages(self.model, self._stages, self._layers):
            gradients = PerExample(network, values)
            found = [rate * flat(gradients(tuple(batch)), network.dtype) for batch in batches_in(inputs)]
            parts.append(torch.stack([one.sum(0) for one in found]).sum(0)[None] if aggregate else torch.cat(found))
        return torch.cat(parts, 1)
