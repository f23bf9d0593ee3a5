"""How a value of each kind is copied: containers and objects of Python, functions that close over parts of a model."""

from __future__ import annotations

import copy
import copyreg
import functools
import types
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from attrfunc.core.model.guard import address

if TYPE_CHECKING:
    from attrfunc.core.model.copier import Copier

__all__ = ["ATOMIC", "Clones", "copied", "original"]

ATOMIC = {
    type(None), bool, int, float, complex, str, bytes, type, range, slice, type(Ellipsis), types.BuiltinFunctionType,
    types.ModuleType, torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format, torch.fx.Graph,
    torch.jit.ScriptFunction, torch._ops.OpOverload, torch._ops.OpOverloadPacket, property, Enum,
}  # fmt: skip
_LIBRARIES = {"torch", "attrfunc", "transformers", "numpy"}  # whose functions name no model of the user's
_DEEPLY_COPIED = {"builtins", "collections", "itertools", "random", "numpy", "array"}


def original(value: Any) -> Any:
    """What `torch.compile` has wrapped; anything else is itself."""
    return value if isinstance(value, nn.Module) else getattr(value, "_torchdynamo_orig_callable", value)


def copied(copier: Copier, value: Any) -> Any:
    """The copy of a value that is neither a tensor nor a module."""
    kind = type(value)
    return _KINDS[kind](copier, value) if kind in _KINDS else _compound(copier, value)


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
    """A function is its own copy, unless what it closes over, or calls by a global name, are parts of the model."""
    if original(value) is not value:
        return copier(original(value))
    if not _holds_modules(value):
        return value
    parts = {name: held for name, held in _globals(value).items() if _holds_modules(held)}
    own = _Globals(value.__globals__) if parts else value.__globals__
    cells = tuple(_cell(copier, cell) for cell in value.__closure__ or ())
    made = types.FunctionType(value.__code__, own, value.__name__, value.__defaults__, cells)
    copier.made(value, made)  # it may call itself
    own.update({name: copier(held) for name, held in parts.items()})
    made.__kwdefaults__ = value.__kwdefaults__
    made.__dict__.update(value.__dict__)
    return made


class _Globals(dict[str, Any]):
    """The global names of a function, of which those that stand for parts of the model stand for copies."""

    def __init__(self, names: dict[str, Any]) -> None:
        super().__init__()
        self._names = names

    def __missing__(self, name: str) -> Any:
        return self._names[name]


def _globals(function: types.FunctionType) -> dict[str, Any]:
    """What a function may mean by its global names."""
    names = function.__globals__
    if names.get("__name__", "").partition(".")[0] in _LIBRARIES:
        return {}
    return {name: names[name] for name in function.__code__.co_names if name in names}


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
        inner = (*(value.__closure__ or ()), *_globals(value).values())
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
    if ATOMIC.issuperset(map(type, inner)):  # a vocabulary, say
        return False
    return any(type(item) not in ATOMIC and _holds_modules(item, depth - 1) for item in inner)


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
        if not place or 0 in value.stride():  # what is expanded cannot be written
            return value.clone()
        storage = self._storages.get(place)
        if storage is None:
            storage = self._storages[place] = value.untyped_storage().clone()
        like = torch.empty(0, dtype=value.dtype, device=value.device)
        return like.set_(storage, value.storage_offset(), value.size(), value.stride())
