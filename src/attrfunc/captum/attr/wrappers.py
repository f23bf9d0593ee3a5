"""Modules that stand in a model for what it has: for an embedding, for inputs, for a sum.

`attrfunc.layer` attributes to embeddings without a change of the model: `LayerIntegratedGradients(model,
model.embedding)`.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from attrfunc.captum.convert import CallError, captum_call
from attrfunc.core.errors import ArgumentError, describe, suggestions, warn

__all__ = [
    "Addition_Module", "InputIdentity", "InterpretableEmbeddingBase", "ModelInputWrapper", "TokenReferenceBase",
    "configure_interpretable_embedding_layer", "remove_interpretable_embedding_layer",
]  # fmt: skip


class InterpretableEmbeddingBase(nn.Module):
    """Stands for an embedding layer, and gives on the embeddings that it is called with.

    Args:
        embedding: The layer.
        full_name: Its dotted name in the model.
    """

    def __init__(self, embedding: Any, full_name: str) -> None:
        super().__init__()
        self.num_embeddings = getattr(embedding, "num_embeddings", None)
        self.embedding_dim = getattr(embedding, "embedding_dim", None)
        self.embedding = embedding
        self.full_name = full_name

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """The first argument."""
        given = [*inputs, *kwargs.values()]
        if not given:
            error = CallError("inputs", "no argument", "embeddings", "Call the model with what this layer gives.")
            raise error.within(type(self).__name__)
        return given[0]

    def indices_to_embeddings(self, *input: Any, **kwargs: Any) -> Any:  # noqa: A002  # Captum's name
        """What the layer itself gives."""
        return self.embedding(*input, **kwargs)


class TokenReferenceBase:
    """A baseline of tokens.

    Args:
        reference_token_idx: The token that stands at all places.
    """

    def __init__(self, reference_token_idx: int = 0) -> None:
        self.reference_token_idx = reference_token_idx

    def generate_reference(self, sequence_length: int, device: torch.device) -> Tensor:
        """So many tokens, of shape `(sequence_length,)`."""
        return torch.full((sequence_length,), self.reference_token_idx, device=device)


@captum_call
def configure_interpretable_embedding_layer(
    model: nn.Module, embedding_layer_name: str = "embedding"
) -> InterpretableEmbeddingBase:
    """Let a model take embeddings where it takes tokens, until `remove_interpretable_embedding_layer` is called.

    The model is changed. What is returned stands for the layer; its `indices_to_embeddings` makes embeddings of tokens.

    Raises:
        ArgumentError: If there is no layer of this dotted name, or something stands for it already.

    Example:
        >>> from attrfunc.captum.attr import IntegratedGradients, configure_interpretable_embedding_layer
        >>> from attrfunc.captum.attr import remove_interpretable_embedding_layer
        >>> model = torch.nn.Sequential(torch.nn.Embedding(9, 4), torch.nn.Flatten(), torch.nn.Linear(12, 2))
        >>> import warnings
        >>> with warnings.catch_warnings(action="ignore"):
        ...     embedding = configure_interpretable_embedding_layer(model, "0")
        >>> vectors = embedding.indices_to_embeddings(torch.tensor([[1, 5, 2]]))
        >>> IntegratedGradients(model).attribute(vectors, target=1).shape
        torch.Size([1, 3, 4])
        >>> remove_interpretable_embedding_layer(model, embedding)
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    found = modules.get(embedding_layer_name)
    if not embedding_layer_name or found is None:
        fix = suggestions(embedding_layer_name, modules)
        raise ArgumentError("embedding_layer_name", repr(embedding_layer_name), "a layer's dotted name", fix)
    if isinstance(found, InterpretableEmbeddingBase):
        got, fix = describe(embedding_layer_name), "Call remove_interpretable_embedding_layer first."
        raise ArgumentError("embedding_layer_name", got, "a layer as it was", fix)
    warn(
        f"the model takes embeddings at {embedding_layer_name!r} from now on. "
        "remove_interpretable_embedding_layer undoes this."
    )
    standing = InterpretableEmbeddingBase(found, embedding_layer_name)
    standing.train(found.training)
    model.set_submodule(embedding_layer_name, standing)
    return standing


def remove_interpretable_embedding_layer(model: nn.Module, interpretable_emb: InterpretableEmbeddingBase) -> None:
    """Put an embedding layer back where it was; takes what `configure_interpretable_embedding_layer` returned."""
    model.set_submodule(interpretable_emb.full_name, interpretable_emb.embedding)


class InputIdentity(nn.Module):
    """Gives on what it is called with.

    Args:
        input_name: The argument's name.
    """

    def __init__(self, input_name: str) -> None:
        super().__init__()
        self.input_name = input_name

    def forward(self, x: Any) -> Any:
        """The argument."""
        return x


class ModelInputWrapper(nn.Module):
    """A model each of whose arguments goes through a layer of its own, `input_maps[name]`.

    Args:
        module_to_wrap: The model.
    """

    def __init__(self, module_to_wrap: nn.Module) -> None:
        super().__init__()
        self.module = module_to_wrap
        self.training = module_to_wrap.training
        self.arg_name_list = inspect.getfullargspec(module_to_wrap.forward).args[1:]
        self.input_maps = nn.ModuleDict({name: InputIdentity(name) for name in self.arg_name_list})

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's output; arguments beyond those that it names are passed on as they are."""
        named = zip(self.arg_name_list, args, strict=False)
        places = [self.input_maps[name](value) for name, value in named]
        words = {name: self.input_maps[name](v) if name in self.input_maps else v for name, v in kwargs.items()}
        return self.module(*places, *args[len(places) :], **words)


class Addition_Module(nn.Module):  # noqa: N801  # Captum's name
    """The sum of two tensors."""

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """`x1 + x2`."""
        return x1 + x2
