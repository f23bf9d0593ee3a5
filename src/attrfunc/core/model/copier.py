"""Copies of everything that a model's forward may change, with its tensors shared: what `copy.deepcopy` would make.

A journal says what each copied container held, so that the same state can be put back before every evaluation.
"""

from __future__ import annotations

import copy
import types
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from attrfunc.core.model.code import held_by_class, slots
from attrfunc.core.model.copies import ATOMIC, copied

__all__ = ["Copier", "is_simple"]

# What forward neither reads nor writes.
_IDLE = {name for name in nn.Module().__dict__ if "state_dict" in name or name == "_non_persistent_buffers_set"}
_BASE = set(nn.Module().__dict__)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs")
_TABLES = [n for n, held in nn.Module().__dict__.items() if isinstance(held, dict) and n not in _IDLE]
_GRAPH = {"_graph", "_code", "_lineno_map", "_tracer_cls", "_tracer_extras", "_in_spec", "_out_spec", "meta"}
_GRAPH |= {"shape_env", "range_constraints"}


class Copier:
    """Copies values, each once.

    Args:
        tensor: Makes of a tensor the one that stands for it.
        journal: Whether to note what containers hold.
        shares: Whether torch's own layers may keep their very tensors.
        changes: What copies of some modules hold in place of what these hold.

    Attributes:
        modules: The copy of each module.
        journal: Each container that was copied, and what it held.
        opaque: Whether something was copied whose state the journal does not know.
        scripted: Whether a part is scripted or traced.
        seen: What tells models apart whose forward may do other things: their classes, modes, options and hooks.
        called: Names of methods that a run may call by themselves: hooks, and what was put on modules.
    """

    def __init__(
        self,
        tensor: Callable[[Tensor], Tensor],
        *,
        journal: bool = False,
        shares: bool = False,
        changes: Mapping[nn.Module, dict[str, Any]] = MappingProxyType({}),
    ) -> None:
        self.modules: dict[nn.Module, nn.Module] = {}
        self.journal: list[tuple[Any, Any]] = []
        self._tensor, self._journaled, self._shares, self._changes = tensor, journal, shares, changes
        self._copies: dict[int, Any] = {}
        self._empty: list[dict[Any, Any]] = []
        self.seen: list[Any] = []
        self.called: set[str] = set()
        self.scripted = self.opaque = False
        self._kept: list[Any] = []  # so that no identity is given twice

    def __call__(self, value: Any) -> Any:
        """The copy of a value; what cannot change is its own."""
        kind = type(value)
        if kind in ATOMIC:
            return value
        made = self._copies.get(id(value))
        if made is not None:
            return made
        if isinstance(value, (type, Enum)):
            return value
        self._kept.append(value)
        if isinstance(value, Tensor):
            made = self._copies[id(value)] = self._tensor(value)
            return made
        if isinstance(value, nn.Module):
            return self._module(value)
        made = copied(self, value)
        self._copies[id(value)] = made
        return made

    def restore(self) -> None:
        """Put back what all containers held."""
        for table in self._empty:
            if table:
                table.clear()
        for container, held in self.journal:
            if isinstance(container, torch.Generator):
                container.set_state(held)
                continue
            container.clear()
            if isinstance(container, list | deque):
                container.extend(held)
            else:
                container.update(held)

    def keeps(self, container: Any) -> None:
        """Note what a container of the copy holds."""
        if self._journaled:
            self.journal.append((container, container.copy()))

    def made(self, value: Any, copied: Any) -> None:
        """Note the copy of a value, before what it holds is copied: that may hold the value again."""
        self._copies[id(value)] = copied

    def _module(self, module: nn.Module) -> Any:
        if isinstance(module, torch.jit.ScriptModule):
            self.scripted = True
            with _disable_current_modes():  # inlining folds constants, by operations that modes misread
                graph = str(getattr(module, "inlined_graph", ""))
            writes = "SetAttr" in graph or any(True for _ in module.buffers())
            made = copy.deepcopy(module) if writes else module  # in torch's own way
            self.opaque = self.opaque or writes
            self._copies[id(module)] = made
            return made
        if "_orig_mod" in module._modules and "dynamo_ctx" in module.__dict__:  # made by torch.compile
            return self._uncompiled(module)
        twin = object.__new__(type(module))
        self._copies[id(module)] = self.modules[module] = twin
        state = module.__dict__.copy()
        object.__setattr__(twin, "__dict__", state)
        state["_compiled_call_impl"] = None  # a model compiled in place would run the compiled original
        self.seen += (type(module), module.training)
        if is_simple(module) and not isinstance(module, nn.RNNBase):
            for name in _HOOKS:
                state[name] = self._empty_one(state[name])
            for name in ("_parameters", "_buffers", "_modules"):
                if state[name]:
                    own = self._shares and name != "_modules"  # its tensors; what forward puts there is the twin's
                    state[name] = state[name].copy() if own else self._table(state[name])
        else:
            self._fill(module, state)
        state.update(self._changes.get(module, ()))
        if self._journaled:
            self.journal.append((state, state.copy()))
        return twin

    def _fill(self, module: nn.Module, state: dict[str, Any]) -> None:
        """Copy all that a module holds."""
        for name in _TABLES:
            value = state.get(name)
            if value:
                state[name] = self._table(value)
                if name in _HOOKS:
                    self.seen += value
                    self.called.update(getattr(hook, "__name__", "") for hook in value.values())
            elif value is not None:
                state[name] = self._empty_one(value)
        graph = isinstance(module, torch.fx.GraphModule)
        for name in [name for name in state if name not in _BASE]:
            value = state[name]
            if type(value) in ATOMIC:
                self.seen += (name, value)
            elif type(value) is tuple and ATOMIC.issuperset(map(type, value)):
                continue
            elif not (graph and name in _GRAPH):
                state[name] = self(value)
                if isinstance(value, types.MethodType):
                    self.called.add(value.__name__)
        kind: Any = type(module)
        names, methods = held_by_class(kind)
        for name in names:
            if name not in state:
                state[name] = self(getattr(kind, name))
        for name in methods:
            if name not in state:
                state[name] = types.MethodType(self._with_own_defaults(getattr(kind, name)), self.modules[module])
        for name in slots(kind):
            self.opaque = True
            if hasattr(module, name):
                object.__setattr__(self.modules[module], name, self(getattr(module, name)))

    def _with_own_defaults(self, function: types.FunctionType) -> types.FunctionType:
        defaults, code = function.__defaults__, function.__code__
        made = types.FunctionType(code, function.__globals__, code.co_name, self(defaults), function.__closure__)
        made.__kwdefaults__ = self(function.__kwdefaults__)
        return made

    def _table(self, table: dict[Any, Any]) -> dict[Any, Any]:
        made = type(table)()
        self._copies[id(table)] = made
        self._kept.append(table)
        for key, item in table.items():
            made[key] = self(item)
        self.keeps(made)
        return made

    def _empty_one(self, table: dict[Any, Any]) -> dict[Any, Any]:
        made = type(table)()
        if self._journaled:
            self._empty.append(made)
        return made

    def _uncompiled(self, module: Any) -> nn.Module:
        twin = Uncompiled()
        self._copies[id(module)] = self.modules[module] = twin
        twin._orig_mod = self(module._orig_mod)
        return twin


class Uncompiled(nn.Module):
    """Stands for a compiled module, and runs what was compiled as it is."""

    _orig_mod: nn.Module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run it."""
        return self._orig_mod(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """What the module that was compiled has."""
        if name == "_orig_mod":
            return super().__getattr__(name)
        return getattr(self._orig_mod, name)


def is_simple(module: nn.Module) -> bool:
    """Whether a module is one of torch's own, as it was made, and writes nothing but what it gives."""
    if not type(module).__module__.startswith("torch.nn.modules."):
        return False
    state = module.__dict__
    if state["_forward_hooks"] or state["_forward_pre_hooks"] or state["_backward_hooks"] or "forward" in state:
        return False
    if state.get("_compiled_call_impl") is not None:  # compiled in place
        return False
    writes = state.get("max_norm") is not None or (state["training"] and state["_buffers"])
    return not writes and not state["_backward_pre_hooks"]
