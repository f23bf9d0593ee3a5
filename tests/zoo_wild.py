"""Wild models of the zoo: those that are written in other ways than torch's layers one after the other.

Beside each stands its plain form, which has the same weights and computes the same: every method has to give the same
numbers for both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo_wild_models import (
    DTYPE,
    ROWS,
    WORDS,
    Adapted,
    Autoencoder,
    Bags,
    BatchStatistics,
    Checkpointed,
    Convolutional,
    Experts,
    Graph,
    KeepingState,
    Packed,
    Rotary,
    as_real,
    exported,
    form,
    plain_adapted,
    plain_autoencoder,
    plain_bags,
    plain_experts,
    plain_graph,
    plain_packed,
    plain_statistics,
    plain_transformer,
    reconstruction_error,
    scripted,
    unscripted,
)


@dataclass(frozen=True)
class Wild:
    """A model, its plain form, and a call.

    Attributes:
        name: How the table calls it.
        build: Builds the model, with random weights.
        plain: The plain form of a model.
        x: The input.
        args: Further arguments.
        target: Which output.
        plain_target: Which output of the plain form.
        layer: A layer that the methods look at that name one.
        neuron: One of its neurons.
        start: The layer that is attributed to, where the input has no gradient.
        joined: Whether the whole batch is one example of the plain form.
    """

    name: str
    build: Callable[[], nn.Module]
    plain: Callable[[Any], nn.Module]
    x: Tensor
    args: tuple[Any, ...] = ()
    target: Any = 1
    plain_target: Any = 1
    layer: str = "first"
    neuron: Any = 1
    start: str | None = None
    joined: bool = False

    def make(self) -> nn.Module:
        """The model, with the same weights every time."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return self.build().to(DTYPE)

    def __str__(self) -> str:
        return self.name


EDGES = torch.tensor([[0, 1, 2, 0], [1, 2, 0, 2]])
LENGTHS = torch.tensor([4, 2, 3])
GENERATOR = torch.Generator().manual_seed(0)


def randn(*shape: int) -> Tensor:
    return torch.randn(ROWS, *shape, generator=GENERATOR, dtype=DTYPE)


SEQUENCE, TABLE, IMAGE = randn(4, 2), randn(4), randn(2, 4)
NODES = randn(2)
TEXT = torch.randint(WORDS, (ROWS, 4), generator=GENERATOR)

WILD = [
    Wild("graph network", Graph, form(plain_graph), NODES, (EDGES,), joined=True),
    Wild("batch statistics", lambda: BatchStatistics().eval(), form(plain_statistics), NODES, joined=True),
    Wild(
        "GRU that keeps its state",
        KeepingState,
        form(lambda self, x: self.head(self.cell(self.first(x))[0][:, -1])),
        SEQUENCE,
        neuron=(2, 1),
    ),
    Wild("packed LSTM", Packed, form(plain_packed), SEQUENCE, (LENGTHS,), neuron=(1, 1)),
    Wild("EmbeddingBag with offsets", Bags, plain_bags, TEXT, (LENGTHS,), layer="hidden", start="bag"),
    Wild("checkpointed transformer", lambda: Checkpointed().eval(), form(plain_transformer), SEQUENCE, neuron=(2, 1)),
    Wild("scripted part", scripted, unscripted, IMAGE, neuron=(1, 2)),
    Wild("exported program", exported, unscripted, IMAGE, neuron=(1, 2)),
    Wild(
        "compiled as a whole",
        lambda: torch.compile(Convolutional().eval(), backend="eager"),
        lambda model: model._orig_mod,
        IMAGE,
        layer="_orig_mod.first",
        neuron=(1, 2),
    ),
    Wild("mixture of experts", Experts, form(plain_experts), TABLE),
    Wild(
        "autoencoder that returns its input",
        Autoencoder,
        form(plain_autoencoder),
        TABLE,
        target=reconstruction_error,
        plain_target=None,
    ),
    Wild("LoRA", Adapted, plain_adapted, TABLE),
    Wild("complex rotary embeddings", Rotary, as_real, SEQUENCE, neuron=(2, 1)),
]
