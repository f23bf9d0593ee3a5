"""What a call may not change: the model, its hooks and gradients, and torch's source of randomness."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from attrfunc.core.model.parts import model_root

__all__ = ["State"]

_TABLES = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_parameters",
    "_buffers",
    "_modules",
)


class State:
    """A model as it is, to be compared with what it is later.

    Args:
        model: The model; of a callable that is no module nothing can be told.
    """

    def __init__(self, model: Any) -> None:
        root = model_root(model)
        if root is None and isinstance(model, nn.Module):  # scripted
            root = model
        self._parts = dict(root.named_modules()) if root is not None else {}
        self._held = {name: _held(part) for name, part in self._parts.items()}
        self._tensors = [(name, tensor, _facts(tensor), tensor.detach().clone()) for name, tensor in self._all()]

    def change(self) -> str:
        """What is another thing than it was, in words; nothing if all is the same."""
        for name, part in self._parts.items():
            where = name or "the model itself"
            if _held(part) != self._held[name]:
                old, new = self._held[name], _held(part)
                changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
                return f"the model was changed: {', '.join(map(str, changed))} of {where}"
        for name, tensor, facts, value in self._tensors:
            if _facts(tensor) != facts:
                return f"the model was changed: {name} has another gradient, or requires one"
            if not _same(tensor.detach(), value):
                return f"the model was changed: {name} has other numbers"
        return ""

    def _all(self) -> list[tuple[str, Tensor]]:
        found: dict[int, tuple[str, Tensor]] = {}
        for prefix, part in self._parts.items():
            for table in (part._parameters, part._buffers):
                for key, tensor in table.items():
                    if isinstance(tensor, Tensor):
                        found.setdefault(id(tensor), (f"{prefix}.{key}" if prefix else key, tensor))
        return list(found.values())


def _held(part: nn.Module) -> dict[str, Any]:
    """What a module holds, by name: the very objects; simple values and the entries of its tables."""
    if isinstance(part, torch.jit.ScriptModule):
        return {"training": part.training}
    found: dict[str, Any] = {}
    for key, value in part.__dict__.items():
        if key in _TABLES and isinstance(value, dict):
            found[key] = tuple((name, id(held)) for name, held in value.items())
        elif isinstance(value, bool | int | float | str | type(None)):
            found[key] = value
        elif isinstance(value, list | tuple | set):
            found[key] = id(value), len(value)
        elif isinstance(value, dict):
            found[key] = id(value), tuple(map(str, value))
        else:
            found[key] = id(value)
    return found


def _facts(tensor: Tensor) -> tuple[Any, ...]:
    grad = tensor.grad if tensor.is_leaf else None
    return tensor.requires_grad, id(grad) if grad is not None else None


def _same(tensor: Tensor, value: Tensor) -> bool:
    if tensor.shape != value.shape or tensor.dtype != value.dtype:
        return False
    if tensor.is_quantized:
        return bool(torch.equal(tensor.int_repr(), value.int_repr()))
    return bool(torch.allclose(tensor, value, rtol=0, atol=0, equal_nan=tensor.is_floating_point()))
