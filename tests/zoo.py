"""The zoo: small models of every kind that the library must attribute, with random weights, in eval mode.

`CASES` lists them. A case is made anew by every test that uses it; what it holds is the same at every run.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

GENERATOR = torch.Generator().manual_seed(0)
ROWS, TOKENS, WIDTH, WORDS, CLASSES = 3, 5, 32, 17, 4


@dataclass(frozen=True)
class Case:
    """A model, and a call of it.

    Attributes:
        name: For test ids.
        build: Builds the model, with random weights.
        inputs: What is attributed: a tensor, a tuple (spread over the model's arguments) or a dict.
        args: Further positional arguments.
        kwargs: Keyword arguments.
        target: Which output; None for one number per example.
        layers: Names of layers that run once; each depends on the input, and the output on it.
        parallel: Names of layers that can be attributed to as one point.
        neuron: Name of a layer, and a selector of a neuron in its output.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Any
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    target: Any = None
    layers: tuple[str, ...] = ()
    parallel: tuple[str, ...] = ()
    neuron: tuple[str, Any] | None = None

    def make(self, dtype: torch.dtype = torch.float32) -> nn.Module:
        """The model, with the same weights every time."""
        with torch.random.fork_rng(), warnings.catch_warnings():
            torch.manual_seed(0)
            return self.build().eval().to(dtype)

    @property
    def differentiable(self) -> bool:
        """Whether the input itself has a gradient; otherwise only layers have."""
        return all(leaf.is_floating_point() for leaf in pytree.tree_leaves(self.inputs))

    def __str__(self) -> str:
        return self.name


def randn(*shape: int) -> Tensor:
    return torch.randn(ROWS, *shape, generator=GENERATOR)


def words() -> Tensor:
    return torch.randint(1, WORDS, (ROWS, TOKENS), generator=GENERATOR)


class FunctionalReLU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc3(torch.relu(self.fc2(F.relu(self.fc1(x)))))


class Residual(nn.Module):
    """A residual network with batch norm, whose one ReLU module runs in place and many times."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.stem, self.bn = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv1, self.bn1 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.pool, self.fc = nn.AdaptiveAvgPool2d(2), nn.Linear(24, CLASSES)
        for norm in (self.bn, self.bn1, self.bn2):
            norm.running_mean.normal_(std=0.2)
            norm.running_var.uniform_(0.5, 1.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn(self.stem(x)))
        x = self.relu(x + self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))
        return self.fc(self.pool(x).flatten(1))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.embed, self.rnn, self.fc = nn.Linear(4, 6), kind(6, 8, batch_first=True), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(self.embed(x))[0][:, -1])


class Encoder(nn.Module):
    """`nn.TransformerEncoder`, whose fast path for inference bypasses hooks."""

    def __init__(self) -> None:
        super().__init__()
        block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.embed, self.encoder = nn.Linear(4, 16), nn.TransformerEncoder(block, 2)
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.encoder(self.embed(x)).mean(1))


class Siamese(nn.Module):
    """One encoder for two inputs, a distance per example."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5))
        self.join = nn.Bilinear(5, 5, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.join(self.encoder(left), self.encoder(right)).square().sum(1)


class Tied(nn.Module):
    """An autoencoder whose decoder has the encoder's weight, under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.hidden, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.hidden(torch.tanh(self.embed(x)))))


class ImageAndTable(nn.Module):
    """Two inputs of different shapes, one score per example."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.table, self.fc = nn.Conv2d(2, 3, 3), nn.Linear(6, 5), nn.Linear(8, 1)

    def forward(self, image: Tensor, table: Tensor) -> Tensor:
        features = torch.cat([self.conv(image).mean((2, 3)), self.table(table)], 1)
        return self.fc(F.gelu(features)).squeeze(1)


class DictInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = ImageAndTable()

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.net(batch["image"], batch["table"])


class Arguments(nn.Module):
    """A model with arguments of many kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(6, 8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor, mode: str, options: dict[str, Any], offset: Tensor | None = None) -> Tensor:
        hidden = {"tanh": torch.tanh, "relu": torch.relu}[mode](self.fc1(x))
        return self.fc2(hidden * options["scale"] + (0 if offset is None else offset))


class TwoOutputs(nn.Module):
    """A layer that takes two tensors and gives two."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.spread = nn.Linear(6, 5), nn.Linear(6, 5)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean(x) * torch.tanh(y[:, :5]), self.spread(y).square()


class TupleLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.two, self.fc = nn.Linear(6, 6), TwoOutputs(), nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        mean, spread = self.two(torch.tanh(self.first(x)), x * x)
        return self.fc(mean + spread)


class Embeddings(nn.Module):
    """Word and position embeddings, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.word, self.position, self.fc = nn.Embedding(WORDS, 6), nn.Embedding(TOKENS, 6), nn.Linear(6, CLASSES)

    def forward(self, words: Tensor, positions: Tensor) -> Tensor:
        return self.fc(torch.tanh(self.word(words) * (1 + self.position(positions))).sum(1))


class Logits(nn.Module):
    """A Hugging Face model with random weights, as a function to logits.

    Args:
        kind: Name of the model's class in transformers.
        embedded: Take `inputs_embeds` in place of token ids.
        options: The configuration.
    """

    def __init__(self, kind: str, embedded: bool = False, **options: Any) -> None:
        import transformers

        super().__init__()
        model_class = getattr(transformers, kind)
        config = model_class.config_class(**options)
        self.model, self.embedded = model_class(config), embedded
        for name, parameter in self.model.named_parameters():
            # The usual initialisation, of 0.02, leaves so little that every attribution is nearly zero.
            if parameter.dim() > 1 and "norm" not in name.lower():
                nn.init.normal_(parameter, std=0.2)

    def forward(self, x: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        arguments = {} if attention_mask is None else {"attention_mask": attention_mask}
        if self.embedded:
            arguments["inputs_embeds"] = x
            return self.model(**arguments).logits
        return self.model(x, **arguments).logits


GPT2 = {
    "n_layer": 2,
    "n_embd": WIDTH,
    "n_head": 2,
    "vocab_size": WORDS,
    "n_positions": 16,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
SIZES = {"num_hidden_layers": 2, "hidden_size": WIDTH, "num_attention_heads": 2, "intermediate_size": 48}
BERT = {**SIZES, "vocab_size": WORDS, "max_position_embeddings": 16, "num_labels": CLASSES}
LLAMA = {**SIZES, "vocab_size": WORDS, "max_position_embeddings": 16, "num_key_value_heads": 1}
VIT = {**SIZES, "image_size": 8, "patch_size": 4, "num_labels": CLASSES}
MASK = torch.ones(ROWS, TOKENS, dtype=torch.long).masked_fill(torch.arange(TOKENS) > torch.tensor([[4], [3], [2]]), 0)
IMAGE_AND_TABLE = (randn(2, 5, 5), randn(6))

CASES = [
    Case(
        "mlp",
        lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, CLASSES)),
        randn(6),
        target=torch.tensor([0, 3, 1]),
        layers=("0", "2", "3"),
        neuron=("2", 3),
    ),
    Case("functional_relu", FunctionalReLU, randn(6), target=[1, 0, 2], layers=("fc1", "fc2"), neuron=("fc2", 3)),
    Case(
        "inplace_relu",
        lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, CLASSES)),
        randn(6),
        target=2,
        layers=("0", "1"),
        neuron=("0", 3),
    ),
    Case(
        "residual_cnn",
        Residual,
        randn(3, 8, 8),
        target=1,
        layers=("stem", "bn1", "conv2", "pool"),
        neuron=("conv2", (2, slice(1, 4), 5)),
    ),
    Case("lstm", lambda: Recurrent(nn.LSTM), randn(TOKENS, 4), target=1, layers=("embed",), neuron=("embed", (2, 3))),
    Case("gru", lambda: Recurrent(nn.GRU), randn(TOKENS, 4), target=1, layers=("embed",), neuron=("embed", (2, 3))),
    Case(
        "transformer_encoder",
        Encoder,
        randn(TOKENS, 4),
        target=1,
        layers=("embed", "encoder.layers.0", "encoder.layers.1.linear1"),
        neuron=("encoder.layers.0", (2, 3)),
    ),
    Case(
        "gpt2",
        lambda: Logits("GPT2LMHeadModel", **GPT2),
        words(),
        target=(TOKENS - 1, 3),
        layers=("model.transformer.wte", "model.transformer.h.1.mlp"),
    ),
    Case(
        "gpt2_embedded",
        lambda: Logits("GPT2LMHeadModel", embedded=True, **GPT2),
        randn(TOKENS, WIDTH),
        target=[(4, 3), (2, 1), (3, 0)],
        layers=("model.transformer.h.0.attn.c_proj",),
        neuron=("model.transformer.h.1", (4, 3)),
    ),
    Case(
        "bert",
        lambda: Logits("BertForSequenceClassification", **BERT),
        words(),
        args=(MASK,),
        target=2,
        layers=("model.bert.embeddings", "model.bert.embeddings.word_embeddings", "model.bert.encoder.layer.1"),
    ),
    Case(
        "bert_embedded",
        lambda: Logits("BertForSequenceClassification", embedded=True, **BERT),
        randn(TOKENS, WIDTH),
        kwargs={"attention_mask": MASK},
        target=2,
        layers=("model.bert.embeddings.LayerNorm", "model.bert.encoder.layer.0.output"),
        neuron=("model.bert.encoder.layer.0", (2, 3)),
    ),
    Case(
        "llama",
        lambda: Logits("LlamaForCausalLM", **LLAMA),
        words(),
        args=(MASK,),
        target=[(3, 3), (2, 1), (1, 0)],
        layers=("model.model.embed_tokens", "model.model.layers.0.mlp"),
    ),
    Case(
        "llama_embedded",
        lambda: Logits("LlamaForCausalLM", embedded=True, **LLAMA),
        randn(TOKENS, WIDTH),
        target=(TOKENS - 1, 3),
        layers=("model.model.layers.0.self_attn.o_proj",),
        neuron=("model.model.layers.1", (4, 3)),
    ),
    Case(
        "vit",
        lambda: Logits("ViTForImageClassification", **VIT),
        randn(3, 8, 8),
        target=1,
        layers=("model.vit.embeddings", "model.vit.layernorm"),
        neuron=("model.vit.embeddings.patch_embeddings.projection", (3, 1, 1)),
    ),
    Case("siamese", Siamese, (randn(6), randn(6)), layers=("join",), neuron=("join", 1)),
    Case("tied_weights", Tied, randn(6), target=4, layers=("embed", "hidden"), neuron=("hidden", 3)),
    Case(
        "several_inputs",
        ImageAndTable,
        IMAGE_AND_TABLE,
        layers=("conv", "table"),
        parallel=("conv", "table"),
        neuron=("table", lambda activation: activation[:, 1] * activation[:, 2]),
    ),
    Case(
        "dict_input",
        DictInput,
        dict(zip(("image", "table"), IMAGE_AND_TABLE, strict=True)),
        layers=("net.conv",),
        neuron=("net.table", 2),
    ),
    Case(
        "other_arguments",
        Arguments,
        randn(6),
        args=("tanh", {"scale": 1.5}, randn(8)),
        target=2,
        layers=("fc1",),
        neuron=("fc1", 3),
    ),
    Case(
        "argument_without_batch",
        Arguments,
        randn(6),
        args=("relu",),
        kwargs={"options": {"scale": torch.linspace(0.5, 2, 8)}, "offset": torch.linspace(-1, 1, 8)},
        target=2,
        layers=("fc1",),
        neuron=("fc1", 3),
    ),
    Case(
        "tuple_layer",
        TupleLayer,
        randn(6),
        target=2,
        layers=("two",),
        neuron=("two", lambda activation: activation[0][:, 1] + activation[1][:, 0]),
    ),
    Case(
        "parallel_embeddings",
        Embeddings,
        (words(), torch.arange(TOKENS).expand(ROWS, TOKENS).flip(1)),
        target=2,
        layers=("word", "position"),
        parallel=("word", "position"),
    ),
]
