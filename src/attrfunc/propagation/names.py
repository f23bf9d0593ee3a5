"""What an operation is called, in whichever form a model writes it: module, function, method, operator, in place."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn
from torch._functorch.autograd_function import custom_function_call

from attrfunc.core.model.visible import at_trace_time

__all__ = ["Key", "in_place", "key_of", "known_names", "named_key", "out_of_place", "shown", "words"]

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


def words(names: str) -> list[str]:
    """Names that are listed in a text."""
    return names.split()


def key_of(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Key:
    """The key of a call that a mode sees."""
    if func is custom_function_call:
        return args[0]
    key = named_key(func)
    return _key_by_arguments(key, args, kwargs) if key in _BY_ARGUMENTS else key


_BY_ARGUMENTS: frozenset[Key] = frozenset(
    ["max", "min", "batch_norm", "scatter", "scatter_reduce", "index_reduce", "index_put", "put"]
)
"""Names of several operations, which their arguments tell apart."""


def _key_by_arguments(name: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Key:
    if name in ("max", "min"):
        of_two = isinstance(args[1] if len(args) > 1 else kwargs.get("other"), torch.Tensor)
        return f"{name}imum" if of_two else name
    if name == "batch_norm":
        return "batch_norm_in_training" if _given(args, kwargs, 5, "training", False) else name
    if name in ("index_put", "put"):
        return f"{name}_add" if _given(args, kwargs, 3, "accumulate", False) else name
    how = _given(args, kwargs, 4, "reduce", None)
    if name == "scatter" and how is not None:
        return f"scatter_with_{how}"  # which torch itself has no derivative of
    return name if how is None else f"{name.removesuffix('_reduce')}_{how}"


def _given(args: tuple[Any, ...], kwargs: dict[str, Any], place: int, name: str, default: Any) -> Any:
    return args[place] if len(args) > place else kwargs.get(name, default)


def shown(key: Key) -> str:
    """What a key is called in messages: the name of one of torch's operations, or the user's own object."""
    if isinstance(key, str):
        own, mark, _ = key.partition("#")
        return own.rpartition(".")[2] if mark else repr(key)
    return str(getattr(key, "__name__", key))


@at_trace_time
def named_key(operation: Key) -> Key:
    """The key that a rule for this operation is looked up by.

    Args:
        operation: Any of torch's forms of it (`torch.relu`, `torch.nn.functional.relu`, `torch.Tensor.relu_`), its
            name, or an operation of the user's own.
    """
    return _named_key(operation)


@functools.lru_cache(maxsize=4096)
def _named_key(operation: Any) -> Key:
    if isinstance(operation, type):
        return _of_module(operation) if issubclass(operation, nn.Module) else operation
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
    home = getattr(operation, "__module__", None) or "torch"
    # A function of the user's may have the name of one of torch's.
    return _plain(name) if name and home.partition(".")[0] in ("torch", "_operator") else operation


def _of_module(kind: type[nn.Module]) -> Key:
    """The operation that one of torch's modules runs, which has the same name but for how it is written."""
    name = kind.__name__.lower()
    name = name[:-2] if name.startswith(("batchnorm", "instancenorm", "softmax2d")) else name
    if name == "multiheadattention":
        return "multi_head_attention_forward"
    # In order, so that a name without an underscore in front prevails.
    return {known.replace("_", ""): known for known in sorted(known_names())}.get(name, kind)


@functools.cache
def known_names() -> frozenset[str]:
    """What torch's operations are called."""
    homes = (torch, torch.nn.functional, torch.Tensor, torch.special, torch._VF)
    names = {_plain(name) for home in homes for name in dir(home) if not name[:1].isupper()}
    names |= {_plain(f"linalg_{name}") for name in dir(torch.linalg)} | {f"fft_{name}" for name in dir(torch.fft)}
    packets = (name for name in dir(torch.ops.aten) if not name.startswith("__"))
    return frozenset(names | {_plain(name) for name in packets} | set(_OPERATORS.values()) | set(_VARIANTS))


_VARIANTS = words(
    """
    batch_norm_in_training index_put_add put_add index_mean index_amax index_amin index_prod scatter_sum scatter_mean
    scatter_amax scatter_amin scatter_prod scatter_with_add scatter_with_multiply
    """
)
"""Names that the arguments of a call make."""


def in_place(func: Callable[..., Any], kwargs: dict[str, Any]) -> bool:
    """Whether a call overwrites its first argument."""
    return _overwrites(func) or kwargs.get("inplace") is True


def out_of_place(func: Callable[..., Any], kwargs: dict[str, Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
    """A call that gives what one in place leaves in its first argument, and leaves that alone."""
    kwargs = {**kwargs, "inplace": False} if "inplace" in kwargs else kwargs
    return (_twin_of(func) if _overwrites(func) else func), kwargs


@at_trace_time
def _overwrites(func: Callable[..., Any]) -> bool:
    return _named_in_place(func)


@functools.lru_cache(maxsize=4096)
def _named_in_place(func: Callable[..., Any]) -> bool:
    name = str(getattr(func, "__name__", ""))
    operator = name.startswith("__i") and name.endswith("__") and name not in ("__invert__", "__index__", "__int__")
    return operator or name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))


@at_trace_time
def _twin_of(func: Callable[..., Any]) -> Callable[..., Any]:
    name = _plain(func.__name__)
    for home in (torch.Tensor, torch.nn.functional, torch):
        if hasattr(home, name):
            return getattr(home, name)
    return lambda target, *args, **kwargs: func(target.clone(), *args, **kwargs)


def _plain(name: str) -> str:
    if name.startswith("__") and name.endswith("__"):
        name = name[2:-2]
        return _OPERATORS.get(name, name)
    if name == "linalg_norm":
        return name  # whose arguments mean other things than those of `torch.norm`
    name = name.removeprefix("special_").removeprefix("linalg_")
    name = name[:-1] if name.endswith("_") and not name.endswith("__") else name
    return _OPERATORS.get(name, name)
