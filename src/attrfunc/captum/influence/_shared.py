"""What the classes share: batches, losses, checkpoints and reports of progress in Captum's forms."""

from __future__ import annotations

import copy
import glob
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from attrfunc.core.errors import ArgumentError, describe, warn
from attrfunc.core.trees import join_rows
from attrfunc.influence.batches import batches_of
from attrfunc.influence.network import Network, checkpointed, open_network
from attrfunc.influence.values import Loss

__all__ = [
    "DataInfluence",
    "KMostInfluentialResults",
    "batches_in",
    "joined",
    "loader",
    "per_example",
    "reduction_of",
    "sorted_files",
    "stages",
    "state_at",
]


class DataInfluence(ABC):
    """What all of these classes are."""

    @abstractmethod
    def influence(self, inputs: Any = None, **kwargs: Any) -> Any:
        """The influence of training examples on the inputs."""

    @classmethod
    def get_name(cls) -> str:
        """The name of the class."""
        return cls.__name__


class KMostInfluentialResults(NamedTuple):
    """The examples with the most influence.

    Attributes:
        indices: Which examples, `(Q, k)`.
        influence_scores: Their scores, `(Q, k)`.
    """

    indices: Tensor
    influence_scores: Tensor


def loader(dataset: Any, batch_size: int | None, name: str = "train_dataset") -> DataLoader[Any]:
    """A data set as a loader."""
    if isinstance(dataset, DataLoader):
        return dataset
    if not isinstance(batch_size, int):
        raise ArgumentError(
            "batch_size", describe(batch_size), f"an int, since {name} is no DataLoader", "Pass batch_size=32, say."
        )
    return DataLoader(dataset, batch_size, shuffle=False)


def batches_in(inputs: Any) -> Iterable[Any]:
    """Inputs, which are one batch or a loader, as batches."""
    return batches_of(inputs, "inputs") if isinstance(inputs, DataLoader) else [inputs]


def joined(inputs: Any) -> tuple[Any, ...]:
    """Inputs as one batch."""
    if inputs is None:
        raise AssertionError(
            "argument `inputs`: got None; a batch, or a DataLoader, is required. Call self_influence for the influence "
            "of training examples on themselves."
        )
    return join_rows([tuple(batch) for batch in batches_in(inputs)])


def reduction_of(loss_fn: Any, name: str, sample_wise: bool) -> str:
    """Over what a loss function sums or takes means: `"none"`, `"sum"` or `"mean"`."""
    if loss_fn is None:
        return "none"
    if not callable(loss_fn):
        raise ArgumentError(name, describe(loss_fn), "a loss function, or None", "Pass nn.CrossEntropyLoss(...), say.")
    reduction = getattr(loss_fn, "reduction", None)
    if reduction is None:
        kind = "the sum over a batch" if sample_wise else "one number for each example"
        warn(f"`{name}` has no attribute `reduction`; it is taken to give {kind}.")
        return "sum" if sample_wise else "none"
    wanted = ("sum", "mean") if sample_wise else ("none",)
    if reduction not in wanted:
        raise AssertionError(
            f"argument `{name}`: got a loss whose reduction is {reduction!r}; expected {' or '.join(wanted)} where "
            f" sample_wise_grads_per_batch is {sample_wise}. Pass a loss with another reduction."
        )
    return str(reduction)


def per_example(loss_fn: Any, reduction: str) -> Loss:
    """A loss of Captum's as one number for each example of a batch `(*inputs, labels)`."""

    def loss(model: Any, batch: Any) -> Tensor:
        output = model(*batch[:-1])
        if loss_fn is None:
            found = output
        elif reduction == "none":
            found = loss_fn(output, batch[-1])
            if isinstance(found, Tensor) and found.dim() == 0 and len(batch[-1]) == 1:
                found = found.reshape(1)  # as of `squeeze`, of one example
        elif type(loss_fn).__module__ == "torch.nn.modules.loss":
            plain = copy.copy(loss_fn)
            plain.reduction = "none"
            found = plain(output, batch[-1])
        else:
            # Of one example at a time, a sum and a mean over the batch are its own loss.
            found = torch.vmap(lambda one, label: loss_fn(one.unsqueeze(0), label.unsqueeze(0)))(output, batch[-1])
        if not isinstance(found, Tensor) or found.dim() < 2:
            return found
        return found.flatten(1).mean(1) if reduction == "mean" else found.flatten(1).sum(1)

    return loss


def sorted_files(paths: Iterable[str]) -> list[str]:
    """Paths by their names, where numbers count as numbers."""
    key = lambda path: [int(part) if part.isdigit() else part for part in re.split("([0-9]+)", path)]  # noqa: E731
    return sorted(paths, key=key)


def files_of(checkpoints: Any) -> list[Any]:
    """Checkpoints: all files of a folder, paths, or whatever the user's function loads."""
    if isinstance(checkpoints, str):
        found: list[Any] = sorted_files(glob.glob(os.path.join(checkpoints, "*")))
    else:
        found = list(checkpoints)
        found = sorted_files(found) if found and all(isinstance(path, str) for path in found) else found
    if not found:
        raise ArgumentError("checkpoints", describe(checkpoints), "at least one", "Pass a folder or a list of paths.")
    return found


def _load_flexible_state_dict(model: nn.Module, path: str) -> float:
    """Load a state dict, with a learning rate beside it or not, and saved with DataParallel or not."""
    state = dict(torch.load(path))
    rate = state.pop("learning_rate", 1.0)
    bare = model.module if isinstance(model, nn.DataParallel) else model
    bare.load_state_dict({name.removeprefix("module."): value for name, value in state.items()})
    return float(rate)


def bare(model: nn.Module) -> nn.Module:
    """The model inside of a DataParallel."""
    return model.module if isinstance(model, nn.DataParallel) else model


def state_at(
    model: nn.Module, load: Callable[[nn.Module, Any], Any], checkpoint: Any
) -> tuple[dict[str, Tensor], float]:
    """What a checkpoint holds, and its learning rate: loaded into a copy of the model, not into the model."""
    if checkpoint is None:
        raise ArgumentError("checkpoints", "None", "what checkpoints_load_func loads", "Leave it out.")
    scratch = copy.deepcopy(model)
    rate = load(scratch, checkpoint)
    state = {name: value.detach() for name, value in bare(scratch).state_dict().items() if isinstance(value, Tensor)}
    return state, 1.0 if rate is None else float(rate)


def stages(
    model: nn.Module, states: Iterable[tuple[dict[str, Tensor], float]], layers: list[str] | None
) -> list[tuple[Network, float]]:
    """The model at each checkpoint, with all of its parameters or those of some layers."""
    return checkpointed(open_network(bare(model), parameters_of(model, layers)), list(states))


def parameters_of(model: nn.Module, layers: list[str] | None) -> list[str]:
    """The names of the parameters that gradients are taken of."""
    if layers is None:
        return [name for name, _ in bare(model).named_parameters()]
    if not isinstance(layers, list) or not layers or not isinstance(layers[0], str):
        raise AssertionError(f"argument `layers`: got {describe(layers)}; expected a list of layers' names.")
    return layers
