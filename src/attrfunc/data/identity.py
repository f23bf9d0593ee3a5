"""What tells one computation from another: hashes and descriptions, the same in every process.

Code is told by its text, and by what it holds: closures, defaults, and the numbers, texts, tensors, functions and
models among the globals that it names. What is read from elsewhere while it runs, a file say, is not seen.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attrfunc.core.errors import ArgumentError
from attrfunc.core.model.parts import model_root
from attrfunc.core.score.views import View, as_view

__all__ = ["described", "model_identity", "tensor_hash"]

_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, range, slice)
_KNOWN = ("attrfunc", "torch", "builtins", "numpy")
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_STANDARD = frozenset(vars(nn.Module()))
_DEEPEST = 6
"""How deep functions are followed that functions call."""


def tensor_hash(tensor: Tensor) -> str:
    """A hash of a tensor's shape, dtype and values."""
    value = tensor.detach().cpu().contiguous()
    found = hashlib.sha256(f"{tuple(value.shape)} {value.dtype}".encode())
    if value.numel():
        found.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def model_identity(model: Any) -> dict[str, str]:
    """What a model is told by: its parameters, its structure and code, its mode, and where it is attributed.

    Args:
        model: A module, a callable or a view.
    """
    view = as_view(model)
    root = model_root(view.model)
    place = described([view.place, view.tensors, view.output])
    if root is None:
        return {"parameters": described(view.model), "structure": "", "attributes": "", "mode": "", "place": place}
    state = {**dict(root.named_parameters(remove_duplicate=False)), **dict(root.named_buffers(remove_duplicate=False))}
    parameters = hashlib.sha256("".join(f"{name} {tensor_hash(state[name])}" for name in sorted(state)).encode())
    kinds = sorted({type(part) for part in root.modules()}, key=lambda kind: (kind.__module__, kind.__qualname__))
    structure = [repr(root), getattr(view.model, "__name__", "")]
    structure += [f"{kind.__qualname__} {_of_class(kind)}" for kind in kinds if not _is_known(kind)]
    attributes = [f"{name} {_held(part)}" for name, part in root.named_modules()]
    return {
        "parameters": parameters.hexdigest(),
        "structure": hashlib.sha256("\n".join(structure).encode()).hexdigest(),
        "attributes": hashlib.sha256("\n".join(attributes).encode()).hexdigest(),
        "mode": "training" if any(part.training for part in root.modules()) else "evaluation",
        "place": place,
    }


def _held(part: nn.Module) -> str:
    """What a module has beside its parameters and parts: plain values and tensors, and the code of its hooks."""
    own = {} if _is_known(type(part)) else {name: one for name, one in vars(part).items() if name not in _STANDARD}
    plain = {name: described(one) for name, one in sorted(own.items()) if _is_plain(one)}
    hooks = [
        f"{table} {getattr(hook, '__qualname__', type(hook).__qualname__)} {_code(hook)}"
        for table in _HOOKS
        for hook in getattr(part, table, {}).values()
        if not _is_known(hook if hasattr(hook, "__module__") else type(hook))
    ]
    return f"{plain} {hooks}"


def _is_plain(value: Any) -> bool:
    """Whether it is a number, a text or a tensor, or made of these: no cache of objects."""
    if isinstance(value, Mapping):
        return all(_is_plain(one) for pair in value.items() for one in pair)
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(_is_plain, value))
    return isinstance(value, (*_PLAIN, Tensor, np.ndarray))


def _of_class(kind: type) -> str:
    """The code of a class and of those that it is made from, with what it reads."""
    found = []
    for one in kind.__mro__:
        if not _is_known(one):
            functions = [value for value in vars(one).values() if isinstance(value, types.FunctionType)]
            read = [_globals_of(value, functools.partial(described, within=(id(kind), id(one)))) for value in functions]
            found.append(f"{_code(one) if functions else one.__qualname__} {sorted(map(str, read))}")
    return " ".join(found)


def described(value: Any, within: tuple[int, ...] = ()) -> str:
    """A description of any value that does not depend on the process: equal values are described alike.

    Args:
        value: The value.
        within: What it is a part of, by identity.

    Raises:
        ArgumentError: If it holds a generator, whose state no later run would find.
    """
    inner = functools.partial(described, within=(*within, id(value)))
    if id(value) in within:
        return "itself"
    if isinstance(value, torch.Generator):
        fix = "Pass seed=..., and let the method take `generator` as an argument: each batch gets one of its own."
        raise ArgumentError("method", "one that holds a generator of its own", "a method without a state", fix)
    if isinstance(value, Tensor | np.ndarray):
        tensor = value if isinstance(value, Tensor) else torch.from_numpy(np.ascontiguousarray(value))
        return f"tensor{tuple(value.shape)} {tensor.dtype} {tensor_hash(tensor)[:16]}"
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{inner(key)}: {inner(value[key])}" for key in value) + "}"
    if isinstance(value, list | tuple | set | frozenset):
        found = [inner(one) for one in value]
        return f"{type(value).__name__}({', '.join(sorted(found) if isinstance(value, set | frozenset) else found)})"
    if isinstance(value, functools.partial):
        return f"partial({inner(value.func)}, {inner(value.args)}, {inner(value.keywords)})"
    if isinstance(value, types.MethodType):
        return f"{inner(value.__self__)}.{value.__name__}"
    if isinstance(value, types.FunctionType):
        return _function(value, inner)
    return _object(value, inner)


def _function(value: types.FunctionType, inner: functools.partial[str]) -> str:
    name = f"{value.__module__}.{value.__qualname__}"
    if _is_known(value) and _found(value.__module__, value.__qualname__) is value:
        return name
    held = []
    for cell in value.__closure__ or ():
        try:
            contents = cell.cell_contents
        except ValueError:  # empty
            contents = None
        held.append(inner(contents))
    told = [_code(value), inner(value.__defaults__), inner(value.__kwdefaults__), str(held), _globals_of(value, inner)]
    return f"{name}({', '.join(told)})"


def _globals_of(value: types.FunctionType, inner: functools.partial[str]) -> str:
    """The plain values, tensors, functions and models among the globals that a function names."""
    if len(inner.keywords["within"]) > _DEEPEST:
        return ""
    found, codes = dict[str, str](), [value.__code__]
    while codes:
        code = codes.pop()
        codes += [one for one in code.co_consts if isinstance(one, types.CodeType)]  # lambdas in it
        for name in code.co_names:
            one = value.__globals__.get(name, types)
            if not isinstance(one, types.ModuleType) and (
                _is_plain(one) or isinstance(one, types.FunctionType | nn.Module)
            ):
                found[name] = inner(one)
    return str(dict(sorted(found.items())))


def _object(value: Any, inner: Callable[[Any], str]) -> str:
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(value, type | types.ModuleType | types.BuiltinFunctionType):
        return f"{value.__module__ if isinstance(value, type) else ''}{getattr(value, '__qualname__', value.__name__)}"
    if isinstance(value, nn.Module | View):
        return f"{name}({model_identity(value)})"
    if is_dataclass(value):
        return f"{name}({', '.join(f'{field.name}={inner(getattr(value, field.name))}' for field in fields(value))})"
    state = getattr(value, "__dict__", None)
    if callable(value) and not _is_known(kind):
        name += f" {_of_class(kind)}"
    return f"{name}({inner(state)})" if state else f"{name} {re.sub(r' at 0x[0-9a-f]+', '', repr(value))}"


def _is_known(value: Any) -> bool:
    """Whether it is a library's, of which the version tells enough."""
    return str(value.__module__).partition(".")[0] in _KNOWN


def _found(module: str, name: str) -> Any:
    try:
        return functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError):
        return None


def _code(function: Any) -> str:
    """A hash of a function's text; where nothing holds it, of its compiled code."""
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        text = _compiled(function)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _compiled(function: Any) -> str:
    """The compiled code of a function, or of all of a class."""
    if isinstance(function, type):
        parts = [value for value in vars(function).values() if isinstance(value, types.FunctionType)]
        return f"{function.__qualname__} {' '.join(map(_compiled, parts))}"
    code = getattr(function, "__code__", None)
    if code is None:
        return repr(getattr(function, "__qualname__", type(function).__qualname__))
    constants = [one for one in code.co_consts if not isinstance(one, types.CodeType)]
    return f"{code.co_code!r} {code.co_names} {constants}"
