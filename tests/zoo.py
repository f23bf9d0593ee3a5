"""The zoo: small models of every kind that the library must attribute, with random weights, in eval mode.

`CASES` lists them. A case is made anew by every test that uses it; what it holds is the same at every run.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from zoo_models import (
    CLASSES,
    TOKENS,
    WORDS,
    Arguments,
    DictInput,
    Embeddings,
    Encoder,
    FunctionalReLU,
    ImageAndTable,
    Logits,
    Recurrent,
    Residual,
    Siamese,
    Tied,
    TupleLayer,
)

GENERATOR = torch.Generator().manual_seed(0)
ROWS, WIDTH = 3, 32


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
        entries: Names of layers whose positional inputs are floating-point tensors.
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
    entries: tuple[str, ...] = ()
    parallel: tuple[str, ...] = ()
    neuron: tuple[str, Any] | None = None

    def make(self, dtype: torch.dtype = torch.float32) -> nn.Module:
        """The model, with the same weights every time."""
        with torch.random.fork_rng(), warnings.catch_warnings():
            torch.manual_seed(0)
            return self.build().eval().to(dtype)

    def on(self, device: str) -> Case:
        """The same case with its model, its inputs and all other tensors on a device."""
        names = ("inputs", "args", "kwargs", "target")
        held = {name: getattr(self, name) for name in names}
        moved = pytree.tree_map_only(Tensor, lambda leaf: leaf.to(device), held)
        return replace(self, build=lambda: self.build().to(device), **moved)

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
        entries=("0", "3"),
        neuron=("2", 3),
    ),
    Case(
        "functional_relu",
        FunctionalReLU,
        randn(6),
        target=[1, 0, 2],
        layers=("fc1", "fc2"),
        entries=("fc3",),
        neuron=("fc2", 3),
    ),
    Case(
        "inplace_relu",
        lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, CLASSES)),
        randn(6),
        target=2,
        layers=("0", "1"),
        entries=("1",),
        neuron=("0", 3),
    ),
    Case(
        "residual_cnn",
        Residual,
        randn(3, 8, 8),
        target=1,
        layers=("stem", "bn1", "conv2", "pool"),
        entries=("stem", "conv2", "bn2"),
        neuron=("conv2", (2, slice(1, 4), 5)),
    ),
    Case(
        "lstm",
        lambda: Recurrent(nn.LSTM),
        randn(TOKENS, 4),
        target=1,
        layers=("embed",),
        entries=("rnn", "fc"),
        neuron=("embed", (2, 3)),
    ),
    Case(
        "gru",
        lambda: Recurrent(nn.GRU),
        randn(TOKENS, 4),
        target=1,
        layers=("embed",),
        entries=("rnn", "fc"),
        neuron=("embed", (2, 3)),
    ),
    Case(
        "transformer_encoder",
        Encoder,
        randn(TOKENS, 4),
        target=1,
        layers=("embed", "encoder.layers.0", "encoder.layers.1.linear1"),
        entries=("encoder.layers.0", "encoder.layers.1.linear2"),
        neuron=("encoder.layers.0", (2, 3)),
    ),
    Case(
        "gpt2",
        lambda: Logits("GPT2LMHeadModel", **GPT2),
        words(),
        target=(TOKENS - 1, 3),
        layers=("model.transformer.wte", "model.transformer.h.1.mlp"),
        entries=("model.transformer.h.1.mlp",),
    ),
    Case(
        "gpt2_embedded",
        lambda: Logits("GPT2LMHeadModel", embedded=True, **GPT2),
        randn(TOKENS, WIDTH),
        target=[(4, 3), (2, 1), (3, 0)],
        layers=("model.transformer.h.0.attn.c_proj",),
        entries=("model.transformer.ln_f",),
        neuron=("model.transformer.h.1", (4, 3)),
    ),
    Case(
        "bert",
        lambda: Logits("BertForSequenceClassification", **BERT),
        words(),
        args=(MASK,),
        target=2,
        layers=("model.bert.embeddings", "model.bert.embeddings.word_embeddings", "model.bert.encoder.layer.1"),
        entries=("model.bert.pooler",),
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
        entries=("model.model.layers.0.mlp",),
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
        entries=("model.vit.layernorm",),
        neuron=("model.vit.embeddings.patch_embeddings.projection", (3, 1, 1)),
    ),
    Case("siamese", Siamese, (randn(6), randn(6)), layers=("join",), entries=("join",), neuron=("join", 1)),
    Case(
        "tied_weights", Tied, randn(6), target=4, layers=("embed", "hidden"), entries=("hidden",), neuron=("hidden", 3)
    ),
    Case(
        "several_inputs",
        ImageAndTable,
        IMAGE_AND_TABLE,
        layers=("conv", "table"),
        parallel=("conv", "table"),
        neuron=("fc", lambda activation: activation[:, 0].square()),
    ),
    Case(
        "dict_input",
        DictInput,
        dict(zip(("image", "table"), IMAGE_AND_TABLE, strict=True)),
        layers=("net.conv",),
        neuron=("net.fc", 0),
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
        entries=("two",),
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
