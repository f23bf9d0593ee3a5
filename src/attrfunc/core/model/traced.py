"""What a compiler can follow of the copying of a model."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from attrfunc.core.model.parts import model_root

__all__ = ["Traced"]

_MODULE_STATE = nn.Module().__dict__.keys()


class Traced:
    """What a compiler can follow of the copying: modules, their methods, and partials of these."""

    def __init__(self, tensor: Callable[[Tensor], Tensor], modules: dict[nn.Module, nn.Module]) -> None:
        self._tensor, self._modules = tensor, modules
        self._bound: list[tuple[nn.Module, str]] = []

    def rebound(self, model: Any) -> Any:
        """The model, of copies."""
        root = model_root(model)
        if root is not None:
            self._copied(root)
            for twin, name in self._bound:
                twin.__dict__[name] = self._of_twins(twin.__dict__[name])
        return self._of_twins(model)

    def _copied(self, module: nn.Module) -> nn.Module:
        if module in self._modules:
            return self._modules[module]
        twin = self._modules[module] = module.__class__.__new__(module.__class__)
        state = dict(module.__dict__)
        state["_parameters"] = self._tensors(module._parameters)
        state["_buffers"] = self._tensors(module._buffers, clone=module.training)
        state["_modules"] = {n: None if child is None else self._copied(child) for n, child in module._modules.items()}
        for hooks in ("_forward_hooks", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs"):
            if hooks in state:
                state[hooks] = state[hooks].copy()
        state["_compiled_call_impl"] = None
        twin.__dict__.update(state)
        own = state.keys() - _MODULE_STATE
        self._bound += [(twin, name) for name in own if isinstance(state[name], types.MethodType | functools.partial)]
        return twin

    def _tensors(self, table: Mapping[str, Tensor | None], clone: bool = False) -> dict[str, Tensor | None]:
        found = {name: None if slot is None else self._tensor(slot) for name, slot in table.items()}
        return {n: slot.clone() if clone and slot is not None else slot for n, slot in found.items()}

    def _of_twins(self, value: Any) -> Any:
        if isinstance(value, nn.Module):
            return self._modules.get(value, value)
        if isinstance(value, types.MethodType):
            return types.MethodType(value.__func__, self._of_twins(value.__self__))
        if isinstance(value, functools.partial):
            args = (self._of_twins(arg) for arg in value.args)
            return functools.partial(self._of_twins(value.func), *args, **value.keywords)
        return value
