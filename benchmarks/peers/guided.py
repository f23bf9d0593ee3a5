"""Guided backpropagation, deconvolution and guided Grad-CAM, on networks whose every ReLU Captum sees.

By hand, each ReLU is replaced by an `autograd.Function` once, and what is timed is a forward and a backward pass.
"""

from __future__ import annotations

import copy
from typing import Any
from weakref import WeakKeyDictionary

import captum.attr as ca
import torch
from torch import Tensor, nn

import attrfunc as af
from benchmarks.peers.gradients import bare_grad_cam
from benchmarks.task import Method, Task

__all__ = ["DECONVOLUTION", "GUIDED_BACKPROP", "GUIDED_GRAD_CAM"]


def ours_guided(task: Task) -> Tensor:
    return af.guided_backprop(task.model, task.x, target=task.target)


def ours_deconvolution(task: Task) -> Tensor:
    return af.deconvolution(task.model, task.x, target=task.target)


def ours_grad_cam(task: Task) -> Tensor:
    return af.guided_grad_cam(task.model, task.x, layer=task.layer, target=task.target)


def captum_guided(task: Task, rows: int | None) -> Tensor:
    return ca.GuidedBackprop(task.model).attribute(task.x, target=task.target)


def captum_deconvolution(task: Task, rows: int | None) -> Tensor:
    return ca.Deconvolution(task.model).attribute(task.x, target=task.target)


def captum_grad_cam(task: Task, rows: int | None) -> Tensor:
    return ca.GuidedGradCam(task.model, task.place).attribute(task.x, target=task.target)


class _Guided(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(value := x.relu())
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (value,) = ctx.saved_tensors
        return gradient.relu() * (value > 0)


class _Deconvolved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.relu()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.relu()


class _Module(nn.Module):
    def __init__(self, function: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x)


_REPLACED: WeakKeyDictionary[nn.Module, dict[type, nn.Module]] = WeakKeyDictionary()


def replaced(network: nn.Module, function: type[torch.autograd.Function]) -> nn.Module:
    """A copy of the network with this function for each ReLU, made once."""
    copies = _REPLACED.setdefault(network, {})
    if function not in copies:
        copies[function] = copy.deepcopy(network)
        for parent in list(copies[function].modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.ReLU):
                    setattr(parent, name, _Module(function))
    return copies[function]


def by_hand(task: Task, function: type[torch.autograd.Function]) -> Tensor:
    rows = task.x.detach().requires_grad_()
    scores = replaced(task.frozen, function)(rows).gather(1, task.target[:, None])
    return torch.autograd.grad(scores.sum(), rows)[0]


def bare_guided(task: Task, rows: int | None) -> Tensor:
    return by_hand(task, _Guided)


def bare_deconvolution(task: Task, rows: int | None) -> Tensor:
    return by_hand(task, _Deconvolved)


def bare_guided_grad_cam(task: Task, rows: int | None) -> Tensor:
    heat = bare_grad_cam(task, rows).relu()
    return by_hand(task, _Guided) * nn.functional.interpolate(heat, task.x.shape[2:])


ONCE = {"tunable": False, "chunked": False}

GUIDED_BACKPROP = Method(ours_guided, captum_guided, bare_guided, **ONCE)
DECONVOLUTION = Method(ours_deconvolution, captum_deconvolution, bare_deconvolution, **ONCE)
GUIDED_GRAD_CAM = Method(ours_grad_cam, captum_grad_cam, bare_guided_grad_cam, **ONCE)
