"""What an operation is called, in whichever form a model writes it: module, function, method, operator, in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch._functorch.autograd_function import custom_function_call

__all__ = ["Key", "in_place", "key_of", "named_key", "out_of_place", "words"]

F = TypeVar("F", bound=Callable[..., Any])
Key = str | type[torch.autograd.Function] | Callable[..., Any]
"""A name for torch's own operations; the object itself for an `autograd.Function` or an operation of the user's."""

_OPERATORS = {
    "iadd": "add",
    "imul": "mul",
    "isub": "sub",
    "idiv": "div",
    "itruediv": "div",
    "ipow": "pow",
    "rdiv": "rdiv",
    "rtruediv": "rdiv",
    "truediv": "div",
    "true_divide": "div",
    "divide": "div",
    "multiply": "mul",
    "subtract": "sub",
    "negative": "neg",
    "absolute": "abs",
    "concat": "cat",
    "concatenate": "cat",
    "expit": "sigmoid",
    "clip": "clamp",
    "swish": "silu",
    "_threshold": "threshold",
    "rmatmul": "rmatmul",
    "radd": "add",
    "rmul": "mul",
}


def _at_trace_time(function: F) -> F:
    """Let a compiler call a function that it cannot trace, and keep what it gives."""
    return cast(F, torch.compiler.assume_constant_result(function))


def key_of(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Key:
    """The key of a call that a mode sees."""
    if func is custom_function_call:
        return args[0]
    key = named_key(func)
    if key in ("max", "min") and len(args) > 1 and isinstance(args[1], torch.Tensor):
        return f"{key}imum"  # of two tensors
    if key == "batch_norm" and (args[5] if len(args) > 5 else kwargs.get("training", False)):
        return "batch_norm_in_training"
    return key


@_at_trace_time
def named_key(operation: Key) -> Key:
    """The key that a rule for this operation is looked up by.

    Args:
        operation: Any of torch's forms of it (`torch.relu`, `torch.nn.functional.relu`, `torch.Tensor.relu_`), its
            name, or an operation of the user's own.
    """
    if isinstance(operation, type):
        return operation
    if isinstance(operation, torch._ops.OpOverload | torch._ops.OpOverloadPacket):
        packet: Any = getattr(operation, "overloadpacket", operation)
        namespace, _, name = packet._qualified_op_name.partition("::")
        return _plain(name) if namespace == "aten" else packet
    if isinstance(operation, str):
        return _plain(operation)
    own = getattr(operation, "_attrfunc_key", None)
    if own is not None:
        return str(own)
    name = getattr(operation, "__name__", None)
    return _plain(name) if name else operation


def in_place(func: Callable[..., Any], kwargs: dict[str, Any]) -> bool:
    """Whether a call overwrites its first argument."""
    return _overwrites(func) or kwargs.get("inplace") is True


def out_of_place(func: Callable[..., Any], kwargs: dict[str, Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
    """A call that gives what one in place leaves in its first argument, and leaves that alone."""
    kwargs = {**kwargs, "inplace": False} if "inplace" in kwargs else kwargs
    return (_twin_of(func) if _overwrites(func) else func), kwargs


@_at_trace_time
def _overwrites(func: Callable[..., Any]) -> bool:
    name = str(getattr(func, "__name__", ""))
    operator = name.startswith("__i") and name.endswith("__") and name not in ("__invert__", "__index__", "__int__")
    return operator or name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))


@_at_trace_time
def _twin_of(func: Callable[..., Any]) -> Callable[..., Any]:
    name = _plain(func.__name__)
    for home in (torch.Tensor, torch.nn.functional, torch):
        if hasattr(home, name):
            return getattr(home, name)
    return lambda target, *args, **kwargs: func(target.clone(), *args, **kwargs)


def words(names: str) -> list[str]:
    """Names that are listed in a text."""
    return names.split()


def _plain(name: str) -> str:
    if name.startswith("__") and name.endswith("__"):
        name = name[2:-2]
        return _OPERATORS.get(name, name)
    name = name.removeprefix("special_").removeprefix("linalg_")
    name = name[:-1] if name.endswith("_") and not name.endswith("__") else name
    return _OPERATORS.get(name, name)
