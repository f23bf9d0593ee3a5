"""Copies of everything that a model's forward may change, with its tensors shared: what `copy.deepcopy` would make.

A journal says what each copied container held, so that the same state can be put back before every evaluation.
"""

from __future__ import annotations

import copy
import copyreg
import dis
import functools
import itertools
import types
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from attrfunc.core.model.guard import address

__all__ = ["BELOW", "OUTSIDE", "Clones", "Copier", "is_simple", "may_write", "original"]

_ATOMIC = {
    type(None), bool, int, float, complex, str, bytes, type, range, slice, type(Ellipsis), types.BuiltinFunctionType,
    types.ModuleType, torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format, torch.fx.Graph,
    torch.jit.ScriptFunction, torch._ops.OpOverload, torch._ops.OpOverloadPacket, property, Enum,
}  # fmt: skip

# What forward neither reads nor writes.
_IDLE = {name for name in nn.Module().__dict__ if "state_dict" in name or name == "_non_persistent_buffers_set"}
_DEEPLY_COPIED = {"builtins", "collections", "itertools", "random", "numpy"}
_BASE = set(nn.Module().__dict__)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs")
_TABLES = [n for n, held in nn.Module().__dict__.items() if isinstance(held, dict) and n not in _IDLE]
_GRAPH = {"_graph", "_code", "_lineno_map", "_tracer_cls", "_tracer_extras", "_in_spec", "_out_spec", "meta"}
_GRAPH |= {"shape_env", "range_constraints"}


def original(value: Any) -> Any:
    """What `torch.compile` has wrapped; anything else is itself."""
    return value if isinstance(value, nn.Module) else getattr(value, "_torchdynamo_orig_callable", value)


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
        if kind in _ATOMIC:
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
        made = _KINDS[kind](self, value) if kind in _KINDS else _compound(self, value)
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
            writes = "SetAttr" in str(getattr(module, "inlined_graph", "")) or any(True for _ in module.buffers())
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
                state[name] = {}
            for name in ("_modules",) if self._shares else ("_parameters", "_buffers", "_modules"):
                if state[name]:
                    state[name] = self._table(state[name])
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
            if type(value) in _ATOMIC:
                self.seen += (name, value)
            elif type(value) is tuple and _ATOMIC.issuperset(map(type, value)):
                continue
            elif not (graph and name in _GRAPH):
                state[name] = self(value)
                if isinstance(value, types.MethodType):
                    self.called.add(value.__name__)
        kind: Any = type(module)
        names, methods = _held_by_class(kind)
        for name in names:
            if name not in state:
                state[name] = self(getattr(kind, name))
        for name in methods:
            if name not in state:
                state[name] = types.MethodType(self._with_own_defaults(getattr(kind, name)), self.modules[module])
        for name in _slots(kind):
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
    writes = state.get("max_norm") is not None or (state["training"] and state["_buffers"])
    return not writes and not state["_backward_pre_hooks"]


@functools.lru_cache(maxsize=1024)
def may_write(kinds: frozenset[Any], called: frozenset[str], *, only: frozenset[str] | None = None) -> bool:
    """Whether what a run calls looks as if it wrote into tensors in place.

    Names of operations in place, and `self.x += y`. It is asked where a model was seen to write nothing, since that may
    have been for once. What only builds a model, such as methods that draw its weights, is not looked at.

    Args:
        kinds: The classes of its modules.
        called: Names of methods, besides `forward`, that are called.
        only: Look for nothing but these names.
    """
    methods: dict[str, list[types.CodeType]] = {}
    for base in {base for kind in kinds for base in kind.__mro__}:
        if base.__module__.partition(".")[0] not in ("torch", "builtins"):
            for name, held in vars(base).items():
                function = getattr(held, "__func__", getattr(held, "fget", getattr(held, "func", held)))
                if isinstance(function, types.FunctionType):
                    methods.setdefault(name, []).append(function.__code__)
    pending = ["forward", *called, *(name for name in methods if name.startswith("__") and name not in _BUILDING)]
    while pending:
        for code in methods.pop(pending.pop(), ()):
            if _code_writes(code) if only is None else only & set(_names(code)):
                return True
            pending += _names(code)
    return False


_BUILDING = {"__init__", "__new__", "__init_subclass__", "__deepcopy__", "__copy__", "__setstate__", "__repr__"}


def _names(code: types.CodeType) -> list[str]:
    """What a function, and those within it, may call."""
    inner = [name for part in code.co_consts if isinstance(part, types.CodeType) for name in _names(part)]
    return [*code.co_names, *inner]


# Names of ways to write where no operation shows, and to write what no copy of a tensor keeps apart.
OUTSIDE, BELOW = frozenset({"data", "numpy"}), frozenset({"numpy"})


def _code_writes(code: types.CodeType) -> bool:
    if any(isinstance(part, types.CodeType) and _code_writes(part) for part in code.co_consts):
        return True
    if {"requires_grad", *OUTSIDE} & set(code.co_names):
        return True
    if "out" in code.co_consts or any(n.endswith("_") and not n.endswith("__") for n in code.co_names):
        return True
    for one, following in itertools.pairwise(dis.get_instructions(code)):
        if one.opname == "BINARY_OP" and one.argrepr.endswith("=") and "FAST" not in following.opname:
            return True
    return False


@functools.lru_cache(maxsize=1024)
def _held_by_class(kind: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of what a class holds that can change: its own attributes, and methods by their default arguments."""
    held: dict[str, Any] = {}
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] not in ("torch", "builtins"):
            held = {**vars(base), **held}
    own = {name: value for name, value in held.items() if not name.startswith("__")}
    functions = {name: value for name, value in own.items() if isinstance(value, types.FunctionType)}
    defaults = {n: (*(f.__defaults__ or ()), *(f.__kwdefaults__ or {}).values()) for n, f in functions.items()}
    return (
        tuple(name for name, value in own.items() if isinstance(value, _CHANGING)),
        tuple(name for name, values in defaults.items() if any(isinstance(value, _CHANGING) for value in values)),
    )


_CHANGING = (list, dict, set, deque, Tensor)


@functools.lru_cache  # a class has few
def _slots(kind: Any) -> tuple[str, ...]:
    names = [base.__dict__.get("__slots__", ()) for base in kind.__mro__]
    flat = [name for part in names for name in ([part] if isinstance(part, str) else part)]
    return tuple(name for name in flat if name not in ("__dict__", "__weakref__"))


def _container(copier: Copier, value: Any) -> Any:
    made = copy.copy(value)  # of its own class, a default factory among it
    copier.made(value, made)
    if isinstance(value, dict):
        made.update({key: copier(item) for key, item in value.items()})
    elif isinstance(value, list):
        made[:] = [copier(item) for item in value]
    elif isinstance(value, set):
        made.clear()
        made.update(copier(item) for item in value)
    copier.keeps(made)
    return made


def _sequence(copier: Copier, value: Any) -> Any:
    items = [copier(item) for item in value]
    if all(now is then for now, then in zip(items, value, strict=True)):
        return value
    made: Any = type(value)
    return made(*items) if hasattr(value, "_fields") else made(items)


def _function(copier: Copier, value: Any) -> Any:
    """A function is its own copy, unless what it closes over are parts of the model."""
    if original(value) is not value:
        return copier(original(value))
    if not _holds_modules(value):
        return value
    cells = tuple(_cell(copier, cell) for cell in value.__closure__)
    made = types.FunctionType(value.__code__, value.__globals__, value.__name__, value.__defaults__, cells)
    made.__kwdefaults__ = value.__kwdefaults__
    made.__dict__.update(value.__dict__)
    return made


def _cell(copier: Copier, cell: types.CellType) -> types.CellType:
    if id(cell) not in copier._copies:
        if not _holds_modules(cell):
            return cell
        copier._kept.append(cell)
        copier.made(cell, types.CellType())
        copier._copies[id(cell)].cell_contents = copier(cell.cell_contents)
    return copier._copies[id(cell)]


def _holds_modules(value: Any, depth: int = 4) -> bool:
    """Whether modules are within reach of a value: through closures, methods, partials and containers."""
    if isinstance(value, nn.Module):
        return True
    if depth == 0:
        return False
    inner: Any = ()
    if isinstance(value, types.CellType):
        inner = (value.cell_contents,) if _filled(value) else ()
    elif isinstance(value, types.FunctionType):
        inner = value.__closure__ or ()
    elif isinstance(value, types.MethodType):
        inner = (value.__self__,)
    elif isinstance(value, functools.partial):
        inner = (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, dict):
        inner = value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        inner = value
    elif hasattr(value, "__dict__") and not isinstance(value, type | types.ModuleType):
        inner = vars(value).values()
    return any(type(item) not in _ATOMIC and _holds_modules(item, depth - 1) for item in inner)


def _filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018  # an empty cell raises
    except ValueError:
        return False
    return True


def _method(copier: Copier, value: Any) -> Any:
    owner = copier(value.__self__)
    return value if owner is value.__self__ else types.MethodType(value.__func__, owner)


def _partial(copier: Copier, value: Any) -> Any:
    parts = (value.func, *value.args, *value.keywords.values())
    copies = [copier(part) for part in parts]
    if all(now is then for now, then in zip(copies, parts, strict=True)):
        return value
    count = 1 + len(value.args)
    function: Any = copies[0]
    return functools.partial(function, *copies[1:count], **dict(zip(value.keywords, copies[count:], strict=True)))


def _reference(copier: Copier, value: Any) -> Any:
    target = value()
    return weakref.ref(copier(target)) if isinstance(target, nn.Module) else value


def _generator(copier: Copier, value: torch.Generator) -> torch.Generator:
    made = value.clone_state()
    copier.journal.append((made, made.get_state()))
    return made


def _queue(copier: Copier, value: deque[Any]) -> deque[Any]:
    made = value.copy()
    copier.made(value, made)
    for place, item in enumerate(value):
        made[place] = copier(item)
    copier.keeps(made)
    return made


def _object(copier: Copier, value: Any) -> Any:
    """An instance of a class in Python; what is made otherwise, or cannot be copied (a lock, a file), is shared."""
    if type(value).__module__.startswith("attrfunc."):
        return value  # a run around this one: the model attributes something itself
    if isinstance(value, types.SimpleNamespace):
        return _filled_in(copier, value, types.SimpleNamespace(), vars(value))
    try:
        own_way = hasattr(type(value), "__deepcopy__") or hasattr(type(value), "__setstate__")
        if type(value).__module__.partition(".")[0] in _DEEPLY_COPIED or (own_way and hasattr(value, "__dict__")):
            copier.opaque = True
            return copy.deepcopy(value)
        if own_way:
            return value  # it is not made in Python: a tokenizer, say
        made, args, state, *more = (*value.__reduce_ex__(4), None, None)[:5]
    except Exception:  # whatever a class raises that is not to be copied
        return value
    if made is not _NEW or any(part is not None for part in more):
        return value
    fresh: Any = args[0].__new__(args[0], *(copier(arg) for arg in args[1:]))
    own, slots = state if isinstance(state, tuple) else (state, None)
    copier.opaque = copier.opaque or bool(slots)
    return _filled_in(copier, value, fresh, own or {}, slots or {})


def _filled_in(copier: Copier, value: Any, fresh: Any, own: dict[str, Any], slots: Any = MappingProxyType({})) -> Any:
    """A new object with copies of what another one holds."""
    copier.made(value, fresh)
    if own:
        fresh.__dict__.update({name: copier(item) for name, item in own.items()})
    if hasattr(fresh, "__dict__"):
        copier.keeps(fresh.__dict__)
    for name, item in slots.items():
        object.__setattr__(fresh, name, copier(item))
    return fresh


def _compound(copier: Copier, value: Any) -> Any:
    """A value of a class that is derived from one of these, or of any other."""
    if isinstance(value, dict | list | set) and type(value).__reduce_ex__ is object.__reduce_ex__:
        return _container(copier, value)
    if isinstance(value, tuple | frozenset):
        return _sequence(copier, value)
    return _object(copier, value)


_NEW: Any = copyreg.__newobj__  # type: ignore[attr-defined]  # what makes an instance of a plain class
_KINDS: dict[type, Callable[[Copier, Any], Any]] = {
    dict: _container,
    OrderedDict: _container,
    list: _container,
    set: _container,
    tuple: _sequence,
    frozenset: _sequence,
    types.FunctionType: _function,
    types.MethodType: _method,
    functools.partial: _partial,
    deque: _queue,
    weakref.ref: _reference,
    torch.Generator: _generator,
}


class Clones:
    """Clones of tensors; those that share their memory share that of their clones."""

    def __init__(self) -> None:
        self._storages: dict[int, torch.UntypedStorage] = {}

    def __call__(self, value: Tensor) -> Tensor:
        """The clone of a tensor."""
        place = 0 if type(value) not in (Tensor, nn.Parameter) or value.requires_grad else address(value)
        if not place:
            return value.clone()
        storage = self._storages.get(place)
        if storage is None:
            storage = self._storages[place] = value.untyped_storage().clone()
        like = torch.empty(0, dtype=value.dtype, device=value.device)
        return like.set_(storage, value.storage_offset(), value.size(), value.stride())
