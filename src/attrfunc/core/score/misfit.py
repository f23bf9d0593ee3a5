"""What torch says where a model does not take the input, in words of what the user passed."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.model.parts import model_root
from attrfunc.core.score.views import View

__all__ = ["misfit"]

_DTYPE = re.compile(
    r"same dtype|scalar type|Input type \(.*\) and (weight|bias) type|expected .* but (got|found) .*dtype"
)
_SHAPE = re.compile(
    r"cannot be multiplied|size mismatch|must match|Expected \d+D|expected input|to have \d+ channels|"
    r"shape '.*' is invalid|Dimension out of range|inconsistent tensor size|input.size\(-1\)"
)


def misfit(error: Exception, view: View, x: Any) -> ArgumentError | None:
    """What is wrong with an input that a model does not take; None where an error is about something else.

    Args:
        error: What the model raised.
        view: The view of the model.
        x: The input.
    """
    message = str(error)
    if isinstance(error, TypeError):
        if isinstance(x, list) and ("list" in message or "positional argument" in message):
            return ArgumentError(
                "x", describe(x), "a tuple, which is spread over the model's arguments", "Pass tuple(x)."
            )
        return _refused(error)
    leaves = [leaf for leaf in pytree.tree_leaves(x) if isinstance(leaf, Tensor)]
    if not leaves:
        return None
    if _DTYPE.search(message):
        dtype = _dtype(view.model)
        bound = [tensor for tensor in (view.tensors or {}).values() if tensor.dtype != dtype]
        if bound and dtype is not None:
            return ArgumentError(
                "tensors", describe(bound[0]), f"the model's dtype {dtype}", "Bind all of its tensors in another one."
            )
        given = {leaf.dtype for leaf in leaves}
        if dtype is not None and given and given != {dtype}:
            return ArgumentError(
                "x", describe(leaves[0]), f"the model's dtype {dtype}", f"Pass x.to({dtype}), or convert the model."
            )
    if _SHAPE.search(message):
        shapes = ", ".join(str(tuple(leaf.shape)) for leaf in leaves)
        return ArgumentError(
            "x",
            f"shape {shapes}",
            "a shape that the model takes, with the examples in dimension 0",
            f"The model says: {message.splitlines()[0]}. Give a single example a batch dimension: x[None].",
        )
    return None


def _refused(error: TypeError) -> ArgumentError | None:
    """What Python says where a model was called with other arguments than it takes, before any of its code ran."""
    trace, message = error.__traceback__, str(error)
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    called = trace is not None and trace.tb_frame.f_code.co_name in ("_call_impl", "inner", "run")
    keyword = re.search(r"unexpected keyword argument (.*)|missing \d+ required keyword-only", message)
    if not called or not (keyword or re.search(r"positional argument|multiple values for", message)):
        return None
    name = "kwargs" if keyword else "args"
    return ArgumentError(
        name, "arguments that the model does not take", "those of its forward", f"Python says: {message}."
    )


def _dtype(model: Any) -> torch.dtype | None:
    """The dtype of a model's parameters, if they share one."""
    root = model_root(model)
    found = {p.dtype for p in root.parameters() if p.is_floating_point()} if root is not None else set()
    return found.pop() if len(found) == 1 else None
