"""Guided backpropagation and deconvolution by hand: another backward pass in the ReLUs of a copy."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from attrfunc.diagnosis.hand import Hand, Leaves

__all__ = ["Calls", "rectified"]

_MAY_RECTIFY = {
    *("clamp", "clamp_min", "clamp_max", "clip", "maximum", "minimum", "max", "min", "fmax", "fmin", "where"),
    *("threshold", "hardtanh", "masked_fill", "sign", "silu", "mish", "hardswish", "softplus", "multi_head_attention"),
    *("gt", "lt", "ge", "le", "__gt", "__lt", "__ge", "__le", "__setitem", "multi_head_attention_forward"),
}


class _Guided(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, guided: bool) -> Tensor:
        ctx.save_for_backward(x)
        ctx.guided = guided
        return x * (x > 0)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        kept = slope.clamp(min=0)
        return (kept * (x > 0) if ctx.guided else kept), None


class _Rectifier(nn.Module):
    def __init__(self, guided: bool) -> None:
        super().__init__()
        self.guided = guided

    def forward(self, x: Tensor) -> Tensor:
        with torch._C.DisableTorchFunction():  # its own operations are no calls of the model's
            found: Tensor = _Guided.apply(x, self.guided)  # type: ignore[no-untyped-call]
        return found


class Calls(TorchFunctionMode):
    """Writes down which functions of torch's a model calls.

    Attributes:
        names: Their names, without what tells variants apart.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note the name, and call."""
        self.names.add(getattr(func, "__name__", "?").partition(".")[0].rstrip("_"))
        return func(*args, **(kwargs or {}))


def rectified(hand: Hand, guided: bool) -> Leaves | None:
    """The gradient with other rules in ReLUs; None where some of the rectifiers are no modules of torch's.

    Args:
        hand: The model on its batch.
        guided: Guided backpropagation; else deconvolution.
    """
    model = hand.fresh()
    if not isinstance(model, nn.Module) or hasattr(model, "_orig_mod"):  # compiled: what it calls is not seen
        return None
    for name, part in list(model.named_modules()):
        if type(part) is nn.ReLU:
            parent = model.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], _Rectifier(guided))
    with torch.enable_grad():
        points = [leaf.detach().clone().requires_grad_() for leaf in hand.end]
        calls = Calls()
        with calls:
            scores = hand.at(points, model)
        if calls.names & _MAY_RECTIFY or any("elu" in name for name in calls.names):
            return None
        found = torch.autograd.grad(scores.sum(), points, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(points, found, strict=True)]
