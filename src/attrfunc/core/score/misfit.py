"""What torch and Python say where a model does not take what it is given, in words of what the user passed."""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.model.parts import model_root
from attrfunc.core.score import target as targets
from attrfunc.core.score.views import View

__all__ = ["misfit"]

_DTYPE = re.compile(
    r"same dtype|scalar type|Input type \(.*\) and (weight|bias) type|expected .* but (got|found) .*dtype"
)
_SHAPE = re.compile(
    r"cannot be multiplied|size mismatch|must match|Expected \d+D|expected input|to have \d+ channels|"
    r"shape '.*' is invalid|Dimension out of range|inconsistent tensor size|input.size\(-1\)"
)
_DEVICE = re.compile(r"same device|expected device|on device .* but got")
_IDENTIFIER = "index out of range in self"


def misfit(error: Exception, view: View, x: Any, options: Mapping[str, Any]) -> ArgumentError | None:
    """What is wrong with arguments that a model does not take; None where an error is about something else.

    Args:
        error: What the model, or a callable target, raised.
        view: The view that was opened.
        x: The input.
        options: What the method was called with besides.
    """
    message = str(error).partition("\n")[0]
    if any(frame.filename == targets.__file__ for frame in traceback.extract_tb(error.__traceback__)):
        return _of_target(message, view, options)
    if isinstance(error, TypeError):
        return _of_call(message, view.model, x, options)
    leaves = [leaf for leaf in pytree.tree_leaves(x) if isinstance(leaf, Tensor)]
    if not leaves:
        return None
    if "'indices'" in message:
        fix = "Look at the baseline, which replaces them (0 is a number, 0.5 is none), and at what a mask draws."
        return ArgumentError("x", "numbers that are not whole where an embedding is read", "integers", fix)
    if _IDENTIFIER in message:
        expected = "numbers of entries that the model's embeddings have"
        fix = "Look at the input, at the baseline (a padding token, say) and at further arguments."
        return ArgumentError("x", "an identifier beyond the end of an embedding, on the way", expected, fix)
    if _DTYPE.search(message) and view.tensors:
        told = _unlike(view.model, None, {"kwargs": dict(view.tensors)}, "dtype")
        if told is not None:
            fix = "Bind all of its tensors in that one, or all in another."
            return ArgumentError("tensors", told.got, told.expected, fix)
    if _DTYPE.search(message) or _DEVICE.search(message):
        told = _unlike(view.model, x, options, "dtype" if _DTYPE.search(message) else "device")
        if told is not None:
            return told
    if _SHAPE.search(message):
        shapes = ", ".join(str(tuple(leaf.shape)) for leaf in leaves)
        return ArgumentError(
            "x",
            f"shape {shapes}{_beside(options)}",
            "a shape that the model takes, with the examples in dimension 0",
            f"The model says: {message}. Give a single example a batch dimension: x[None].",
        )
    return None


def _of_target(message: str, view: View, options: Mapping[str, Any]) -> ArgumentError:
    """The error of a callable target, or of a neuron's selector."""
    name, target = ("selector", view.output[1]) if view.output else ("target", options.get("target"))
    expected = "a callable that makes of the output one number per row"
    fix = f"It says: {message}. Call it by itself on an output of a batch to see where."
    return ArgumentError(name, f"{describe(target)}, which raised an error", expected, fix)


def _of_call(message: str, model: Any, x: Any, options: Mapping[str, Any]) -> ArgumentError | None:
    """Arguments that the model's signature has no place for."""
    if isinstance(x, list) and ("list" in message or "positional argument" in message):
        return ArgumentError("x", describe(x), "a tuple, which is spread over the model's arguments", "Pass tuple(x).")
    root = model_root(model)
    args, kwargs = options.get("args") or (), options.get("kwargs") or {}
    try:
        signature = inspect.signature(root.forward if root is not None and model is root else model)
    except (TypeError, ValueError):
        return None
    inputs = x if isinstance(x, tuple) else (x,)
    try:
        signature.bind(*inputs, *args, **kwargs)
    except TypeError as misfitting:
        blamed = "kwargs" if any(repr(name) in str(misfitting) for name in kwargs) else "args" if args else "x"
        got = {"kwargs": f"names {sorted(kwargs)}", "args": describe(args), "x": describe(x)}[blamed]
        fix = f"The model says: {misfitting}. A tuple x is spread over its arguments; `args` and `kwargs` follow."
        return ArgumentError(blamed, got, f"what the model takes, {signature}", fix)
    if not isinstance(x, Tensor) and f"must be Tensor, not {type(x).__name__}" in message:
        fix = "Pass a tensor or a tuple of them; `lambda x: model(**x)` takes a dict as keyword arguments."
        return ArgumentError("x", describe(x), "what the model takes", fix)
    return None


def _beside(options: Mapping[str, Any]) -> str:
    """What the model was given besides the input."""
    given = [name for name in ("args", "kwargs") if options.get(name)]
    return "".join(f", beside {name} {describe(options[name])}" for name in given)


def _unlike(model: Any, x: Any, options: Mapping[str, Any], kind: str) -> ArgumentError | None:
    """An argument of another dtype, or on another device, than all parameters of the model."""
    root = model_root(model)
    found = {getattr(p, kind) for p in root.parameters() if p.is_floating_point()} if root is not None else set()
    given = {"x": x, "args": options.get("args"), "kwargs": options.get("kwargs")}
    leaves = [(name, leaf) for name in given for leaf in pytree.tree_leaves(given[name]) if isinstance(leaf, Tensor)]
    unlike = [(name, leaf) for name, leaf in leaves if getattr(leaf, kind) not in found]
    if len(found) != 1 or not unlike:
        return None
    # Integers may be right as they are, where a floating-point number is not.
    name, leaf = min(unlike, key=lambda entry: not entry[1].is_floating_point())
    own = found.pop()
    text = repr(str(own)) if kind == "device" else str(own)
    got = f"{describe(leaf)} on {leaf.device}" if kind == "device" else describe(leaf)
    return ArgumentError(name, got, f"the model's {kind} {own}", f"Pass {name}.to({text}), or convert the model.")
