"""The parts of a model: its modules and tensors by name."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from attrfunc.core.errors import ArgumentError, describe, suggestions

__all__ = ["model_root", "named_modules", "replaced", "unsettled"]


def model_root(model: Callable[..., Any]) -> nn.Module | None:
    """The module behind `model`: itself, or the owner of a bound method; None for any other callable."""
    owner = getattr(model, "__self__", model) if isinstance(model, types.MethodType) else model
    opaque = isinstance(owner, torch.jit.ScriptModule)
    return owner if isinstance(owner, nn.Module) and not opaque else None


def named_modules(model: Callable[..., Any]) -> dict[str, nn.Module]:
    """The modules behind `model` by all of their names: a shared one has several."""
    root = model_root(model)
    return dict(root.named_modules(remove_duplicate=False)) if root is not None else {}


def replaced(model: Callable[..., Any], tensors: Mapping[str, Tensor]) -> list[tuple[str, Tensor, Tensor]]:
    """The name of each replacement, the model's own tensor, and what is to be used in its place.

    Args:
        model: The model.
        tensors: Replacements by name.

    Raises:
        ArgumentError: If the model has no tensor of that name and shape.
    """
    root = model_root(model)
    if root is None:
        raise ArgumentError("model", describe(model), "a module, whose tensors have names", "Bind the module itself.")
    if not isinstance(tensors, Mapping):
        raise ArgumentError("tensors", describe(tensors), "a dict of tensors by name", "Pass {name: tensor}.")
    slots = {**dict(root.named_parameters(remove_duplicate=False)), **dict(root.named_buffers(remove_duplicate=False))}
    found = []
    for name, tensor in tensors.items():
        if name not in slots:
            expected = "names of the model's parameters and buffers"
            raise ArgumentError("tensors", f"the name {name!r}", expected, suggestions(name, slots))
        if not isinstance(tensor, Tensor) or tensor.shape != slots[name].shape:
            raise ArgumentError(
                "tensors",
                f"{describe(tensor)} for {name!r}",
                f"a tensor of the model's shape {tuple(slots[name].shape)}",
                "What stack_module_state has stacked is mapped over: torch.vmap(lambda state: ...)(state).",
            )
        found.append((name, slots[name], tensor))
    return found


def unsettled(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """The modules that, in training mode, make a score random or dependent on the batch."""
    return [module for module in modules if getattr(module, "training", False) and _is_unsettled(module)]


def _is_unsettled(module: nn.Module) -> bool:
    rate = getattr(module, "p", getattr(module, "dropout", 0.0))
    random = isinstance(module, nn.modules.dropout._DropoutNd | nn.RNNBase | nn.MultiheadAttention)
    batch = isinstance(module, nn.modules.batchnorm._BatchNorm)
    return batch or (random and isinstance(rate, float) and rate > 0)
