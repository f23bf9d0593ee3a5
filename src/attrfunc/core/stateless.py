"""The stateless call: a twin of the user's model that shares its tensors and nothing else.

`torch.func.functional_call` swaps the tensors of the user's own module for the time of a call. That is paid again at
every call, is not safe when two threads attribute one model, and can leave the model changed (pytorch issue 164759). A
twin is built once per attribution instead: new module objects, the same tensors, detached. Hooks, stale attributes and
buffer updates land on the twin; the user's model is never written to.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedTensorMixin  # type: ignore[attr-defined]

from attrfunc.core.errors import ArgumentError, ModelError, describe, near

__all__ = ["Twin", "model_root", "replaced", "unsettled"]


def model_root(model: Callable[..., Any]) -> nn.Module | None:
    """The module behind `model`: itself, or the owner of a bound method; None for any other callable."""
    owner = getattr(model, "__self__", model) if isinstance(model, types.MethodType) else model
    opaque = isinstance(owner, torch.jit.ScriptModule)
    return owner if isinstance(owner, nn.Module) and not opaque else None


def replaced(model: Callable[..., Any], tensors: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Each of the model's own tensors with what is to be used in its place.

    Args:
        model: The model.
        tensors: Replacements by name.

    Raises:
        ArgumentError: If the model has no tensor of that name and shape.
    """
    root = model_root(model)
    if root is None:
        raise ArgumentError("model", describe(model), "a module, whose tensors have names", "Bind the module itself.")
    slots = {**dict(root.named_parameters(remove_duplicate=False)), **dict(root.named_buffers(remove_duplicate=False))}
    pairs = []
    for name, tensor in tensors.items():
        if name not in slots:
            expected = "names of the model's parameters and buffers"
            raise ArgumentError("tensors", f"the name {name!r}", expected, near(name, slots))
        if not isinstance(tensor, Tensor) or tensor.shape != slots[name].shape:
            raise ArgumentError(
                "tensors",
                f"{describe(tensor)} for {name!r}",
                f"a tensor of the model's shape {tuple(slots[name].shape)}",
                "What stack_module_state has stacked is mapped over: torch.vmap(lambda state: ...)(state).",
            )
        pairs.append((slots[name], tensor))
    return pairs


class Twin:
    """A callable that computes what `model` computes, on copies of its module objects.

    Args:
        model: A module, a bound method of a module, or any other callable (which is then called as it is).
        tensors: Parameters and buffers to use in place of the model's own, by name. Every slot that holds one physical
            tensor (tied weights) gets the same replacement. The others are the model's own, detached: no graph to the
            parameters is built.

    Attributes:
        modules: The twin of each of the model's modules.
    """

    def __init__(self, model: Callable[..., Any], tensors: Mapping[str, Tensor] | None = None) -> None:
        self.modules: dict[nn.Module, nn.Module] = {}
        self._tensors: dict[int, Tensor] = {}
        self._bound: list[tuple[nn.Module, str]] = []
        self._volatile: list[tuple[dict[str, Tensor | None], str, Tensor]] = []
        root = model_root(model)
        if root is not None:
            if tensors:
                self._tensors = {id(slot): tensor for slot, tensor in replaced(model, tensors)}
            self._copy(root)
            for twin, name in self._bound:
                twin.__dict__[name] = self._rebind(twin.__dict__[name])
        self._call = self._rebind(model)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the model. A module in training mode updates fresh copies of its buffers, never the user's."""
        for slots, name, buffer in self._volatile:
            slots[name] = buffer.clone()
        return self._call(*args, **kwargs)

    def _tensor(self, tensor: Tensor | None) -> Tensor | None:
        if tensor is None:
            return None
        if id(tensor) not in self._tensors:
            if isinstance(tensor, UninitializedTensorMixin):
                raise ModelError(
                    "the model has parameters without a shape yet. Run it once on an example, then attribute."
                )
            self._tensors[id(tensor)] = tensor.detach()
        return self._tensors[id(tensor)]

    def _copy(self, module: nn.Module) -> nn.Module:
        if module in self.modules:
            return self.modules[module]
        twin = self.modules[module] = module.__class__.__new__(module.__class__)
        state = dict(module.__dict__)
        state["_parameters"] = {name: self._tensor(tensor) for name, tensor in module._parameters.items()}
        state["_buffers"] = {name: self._tensor(tensor) for name, tensor in module._buffers.items()}
        state["_modules"] = {name: child and self._copy(child) for name, child in module._modules.items()}
        for hooks in ("_forward_hooks", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs"):
            if hooks in state:
                state[hooks] = state[hooks].copy()
        # A model compiled in place would run the compiled original.
        state["_compiled_call_impl"] = None
        twin.__dict__.update(state)
        own = state.keys() - _MODULE_STATE
        self._bound += [(twin, name) for name in own if isinstance(state[name], types.MethodType | functools.partial)]
        if module.training:
            slots = twin.__dict__["_buffers"]
            self._volatile += [(slots, name, buffer) for name, buffer in slots.items() if buffer is not None]
        return twin

    def _rebind(self, value: Any) -> Any:
        """Let bound methods and partials of the model's modules act on their twins."""
        if isinstance(value, nn.Module):
            return self.modules.get(value, value)
        if isinstance(value, types.MethodType):
            return types.MethodType(value.__func__, self._rebind(value.__self__))
        if isinstance(value, functools.partial):
            args = (self._rebind(arg) for arg in value.args)
            return functools.partial(self._rebind(value.func), *args, **value.keywords)
        return value


def unsettled(module: nn.Module) -> bool:
    """Whether the module, in training mode, makes a score random or dependent on the batch."""
    if not module.training:
        return False
    rate = getattr(module, "p", getattr(module, "dropout", 0.0))
    random = isinstance(module, nn.modules.dropout._DropoutNd | nn.RNNBase | nn.MultiheadAttention)
    batch = isinstance(module, nn.modules.batchnorm._BatchNorm)
    return batch or (random and isinstance(rate, float) and rate > 0)


_MODULE_STATE = nn.Module().__dict__.keys()
