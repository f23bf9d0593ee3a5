"""Models that are written in other ways than torch's layers one after the other, each with a plain form beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint

ROWS, CLASSES, WORDS = 3, 3, 11
DTYPE = torch.float64


class Plain(nn.Module):
    """The parts of a model under their own names, put together by a function."""

    def __init__(self, model: nn.Module, forward: Callable[..., Any], **others: nn.Module) -> None:
        super().__init__()
        for name, part in (*model.named_children(), *others.items()):
            self.add_module(name, part)
        self.body = forward

    def forward(self, *args: Any) -> Any:
        return self.body(self, *args)


def form(function: Callable[..., Any]) -> Callable[[nn.Module], nn.Module]:
    return lambda model: Plain(model, function)


class Graph(nn.Module):
    """Nodes as rows, edges as an argument."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(2, 5), nn.Linear(5, CLASSES)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x))
        hidden = hidden + torch.zeros_like(hidden).index_add(0, edges[1], hidden[edges[0]])
        return self.head(torch.sigmoid(hidden))


def plain_graph(self: Any, x: Tensor, edges: Tensor) -> Tensor:
    """The whole graph is one example `(1, N, 2)`, and its score the sum over the nodes."""
    adjacency = torch.zeros(ROWS, ROWS, dtype=x.dtype).index_put((edges[1], edges[0]), x.new_ones(()), accumulate=True)
    hidden = torch.tanh(self.first(x))
    return self.head(torch.sigmoid(hidden + adjacency @ hidden)).sum(1)


class BatchStatistics(nn.Module):
    """Batch norm without running statistics takes those of the batch, in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(2, 5), nn.BatchNorm1d(5, track_running_stats=False)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.sigmoid(torch.tanh(self.norm(self.first(x)))))


def plain_statistics(self: Any, x: Tensor) -> Tensor:
    hidden = self.first(x)
    hidden = hidden - hidden.mean(1, keepdim=True)
    hidden = hidden / (hidden.square().mean(1, keepdim=True) + self.norm.eps).sqrt()
    return self.head(torch.sigmoid(torch.tanh(hidden))).sum(1)


class KeepingState(nn.Module):
    """A GRU that goes on from where the last call has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.cell, self.head = nn.Linear(2, 3), nn.GRU(3, 4, batch_first=True), nn.Linear(4, CLASSES)
        self.state: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        kept = self.state if self.state is not None and self.state.shape[1] == len(x) else None
        out, self.state = self.cell(self.first(x), kept)
        return self.head(out[:, -1])


class Packed(nn.Module):
    """An LSTM over packed sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.cell, self.head = nn.Linear(2, 3), nn.LSTM(3, 4, batch_first=True), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.first(x), lengths, batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.cell(packed)[0], batch_first=True, total_length=x.shape[1])
        return self.head(out[torch.arange(len(x)), lengths - 1])


def plain_packed(self: Any, x: Tensor, lengths: Tensor) -> Tensor:
    return self.head(self.cell(self.first(x))[0][torch.arange(len(x)), lengths - 1])


class Bags(nn.Module):
    """Texts as one row of words, with an offset for each."""

    def __init__(self) -> None:
        super().__init__()
        self.bag, self.hidden, self.head = nn.EmbeddingBag(WORDS, 6), nn.Linear(6, 5), nn.Linear(5, CLASSES)

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        valid = torch.arange(words.shape[1]) < lengths[:, None]
        bags = self.bag(words[valid], lengths.cumsum(0) - lengths)
        return self.head(torch.sigmoid(torch.tanh(self.hidden(bags))))


class MeanOfWords(nn.Module):
    """What a bag is: the mean of the embeddings of its words."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        valid = (torch.arange(words.shape[1]) < lengths[:, None])[..., None]
        return (F.embedding(words, self.weight) * valid).sum(1) / lengths[:, None]


def plain_bags(model: Any) -> nn.Module:
    forward = lambda self, words, lengths: self.head(torch.sigmoid(torch.tanh(self.hidden(self.bag(words, lengths)))))
    return Plain(model, forward, bag=MeanOfWords(model.bag.weight.detach()))


class Checkpointed(nn.Module):
    """A transformer whose blocks are evaluated once more for the gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(2, 4), nn.Linear(4, CLASSES)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, activation=F.gelu) for _ in "ab"
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False)
        return self.head(torch.sigmoid(torch.tanh(x.mean(1))))


def plain_transformer(self: Any, x: Tensor) -> Tensor:
    x = self.first(x)
    for block in self.blocks:
        x = block(x)
    return self.head(torch.sigmoid(torch.tanh(x.mean(1))))


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv1d(2, 6, 3, padding=1), nn.Linear(6, CLASSES)
        self.body = nn.Sequential(nn.Conv1d(6, 6, 3), nn.Tanh(), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(torch.tanh(self.first(x))).mean(2))


def scripted() -> nn.Module:
    model = Convolutional().to(DTYPE).eval()
    model.body = torch.jit.script(model.body)
    return model


def unscripted(model: Any) -> nn.Module:
    plain = Convolutional().to(DTYPE).eval()
    plain.load_state_dict(model.state_dict())
    return plain


def exported() -> nn.Module:
    return torch.export.export(Convolutional().to(DTYPE).eval(), (torch.zeros(ROWS, 2, 4, dtype=DTYPE),)).module()


class Experts(nn.Module):
    """Each example goes to the expert that its gate likes best, with what else goes there."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gate, self.head = nn.Linear(4, 5), nn.Linear(5, 2), nn.Linear(5, CLASSES)
        self.experts = nn.ModuleList(nn.Linear(5, 5) for _ in "ab")

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x))
        weight, chosen = self.gate(hidden).softmax(1).max(1)
        out = torch.zeros_like(hidden)
        for number, expert in enumerate(self.experts):
            rows = (chosen == number).nonzero()[:, 0]
            if len(rows):
                out = out.index_add(0, rows, weight[rows, None] * torch.sigmoid(expert(hidden[rows])))
        return self.head(out)


def plain_experts(self: Any, x: Tensor) -> Tensor:
    hidden = torch.tanh(self.first(x))
    weight, chosen = self.gate(hidden).softmax(1).max(1)
    first, second = (torch.sigmoid(expert(hidden)) for expert in self.experts)
    return self.head(weight[:, None] * torch.where(chosen[:, None] == 0, first, second))


class Autoencoder(nn.Module):
    """Gives the input back beside its reconstruction."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(4, 3), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.head(torch.sigmoid(torch.tanh(self.first(x)))), x


def reconstruction_error(output: tuple[Tensor, Tensor]) -> Tensor:
    return (output[0] - output[1]).square().sum(1)


def plain_autoencoder(self: Any, x: Tensor) -> Tensor:
    hidden = self.head(torch.sigmoid(torch.tanh(self.first(x))))
    return (hidden - x).square().sum(1)


class LowRank(nn.Module):
    """A linear layer whose weight has a product of two narrow ones added."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.base = nn.Linear(width, out)
        self.down, self.up = nn.Parameter(torch.randn(2, width)), nn.Parameter(torch.randn(out, 2))

    def weight(self) -> Tensor:
        return self.base.weight + 0.5 * (self.up @ self.down)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight(), self.base.bias)


class Adapted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = LowRank(4, 5), LowRank(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.sigmoid(torch.tanh(self.first(x))))


def merged(layer: LowRank) -> nn.Module:
    plain = nn.Linear(layer.base.in_features, layer.base.out_features, dtype=DTYPE)
    plain.weight.data, plain.bias.data = layer.weight().detach(), layer.base.bias.detach()
    return plain


def plain_adapted(model: Any) -> nn.Module:
    forward = lambda self, x: self.head(torch.sigmoid(torch.tanh(self.first(x))))
    return Plain(model, forward, first=merged(model.first), head=merged(model.head))


class Rotary(nn.Module):
    """Self-attention whose positions turn queries and keys, as complex numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(2, 4), nn.Linear(4, CLASSES)
        self.query, self.key = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x))
        query, key = self.turned(self.query(hidden)), self.turned(self.key(hidden))
        weights = (query @ key.transpose(1, 2) / 2).softmax(2)
        return self.head(torch.sigmoid(weights @ hidden).mean(1))

    def turned(self, x: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x.unflatten(2, (2, 2)))
        return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles(x)), angles(x))).flatten(2)


class RealRotary(Rotary):
    def turned(self, x: Tensor) -> Tensor:
        (one, other), (cos, sin) = x.unflatten(2, (2, 2)).unbind(3), (angles(x).cos(), angles(x).sin())
        return torch.stack([one * cos - other * sin, one * sin + other * cos], 3).flatten(2)


def angles(x: Tensor) -> Tensor:
    return torch.arange(x.shape[1], dtype=x.dtype)[:, None] * torch.tensor([1.0, 0.1], dtype=x.dtype)


def as_real(model: nn.Module) -> nn.Module:
    plain = RealRotary().to(DTYPE).eval()
    plain.load_state_dict(model.state_dict())
    return plain
