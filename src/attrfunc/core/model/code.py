"""What the code of a model's classes tells before it runs: whether it looks as if it wrote, and what classes hold."""

from __future__ import annotations

import dis
import functools
import itertools
import types
from collections import deque
from typing import Any

from torch import Tensor

__all__ = ["BELOW", "OUTSIDE", "held_by_class", "may_write", "slots"]


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
    if {"requires_grad", "grad", "zero_grad", "backward", "vector_to_parameters", *OUTSIDE} & set(code.co_names):
        return True
    if "out" in code.co_consts or any(n.endswith("_") and not n.endswith("__") for n in code.co_names):
        return True
    for one, following in itertools.pairwise(dis.get_instructions(code)):
        if one.opname == "BINARY_OP" and one.argrepr.endswith("=") and "FAST" not in following.opname:
            return True
        # `self.to(...)` or `self.layer.double()`, whose parameters then have other numbers
        if following.argval in _CASTS and (one.opname == "LOAD_ATTR" or one.argval in code.co_varnames[:1]):
            return True
    return False


_CASTS = {"to", "to_empty", "type", "float", "double", "half", "bfloat16", "cpu", "cuda"}


@functools.lru_cache(maxsize=1024)
def held_by_class(kind: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
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
def slots(kind: Any) -> tuple[str, ...]:
    """The names of what its instances hold outside of their dictionary."""
    names = [base.__dict__.get("__slots__", ()) for base in kind.__mro__]
    flat = [name for part in names for name in ([part] if isinstance(part, str) else part)]
    return tuple(name for name in flat if name not in ("__dict__", "__weakref__"))
