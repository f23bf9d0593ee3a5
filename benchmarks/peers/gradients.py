"""Saliency, Grad-CAM and integrated gradients."""

from __future__ import annotations

from collections.abc import Iterator

import captum.attr as ca
import numpy as np
import torch
from torch import Tensor

import attrfunc as af
from benchmarks.task import Method, Task

__all__ = ["GRAD_CAM", "IG", "SALIENCY", "bare_gradients", "chunks", "scores_at", "watched"]


def ours_ig(task: Task) -> Tensor:
    return af.ig(task.where, task.x, target=task.target, n_steps=task.count)


def captum_ig(task: Task, rows: int | None) -> Tensor:
    method = ca.LayerIntegratedGradients(task.model, task.place) if task.layer else ca.IntegratedGradients(task.model)
    return method.attribute(task.x, target=task.target, n_steps=task.count, internal_batch_size=rows)


def ours_saliency(task: Task) -> Tensor:
    return af.saliency(task.where, task.x, target=task.target)


def captum_saliency(task: Task, rows: int | None) -> Tensor:
    return ca.Saliency(task.model).attribute(task.x, target=task.target)


def ours_grad_cam(task: Task) -> Tensor:
    return af.grad_cam(task.model, task.x, layer=task.layer, target=task.target)


def captum_grad_cam(task: Task, rows: int | None) -> Tensor:
    return ca.LayerGradCam(task.model, task.place).attribute(task.x, target=task.target)


def bare_gradients(task: Task, rows: Tensor, target: Tensor) -> Tensor:
    """Gradients at `rows`: (*rows.shape), or (classes, *rows.shape) with the forward run once for all classes."""
    rows = rows.detach().requires_grad_()
    out = task.split()[1](rows)
    if task.classes is None:
        return torch.autograd.grad(out.gather(1, target[:, None]).sum(), rows)[0]
    scores = out.sum(0)[: task.classes]
    return torch.stack([torch.autograd.grad(score, rows, retain_graph=True)[0] for score in scores])


def scores_at(task: Task, rows: Tensor) -> Tensor:
    """Scores of copies of the examples behind each other."""
    target = task.target.repeat(len(rows) // len(task.x))
    return task.frozen(rows).gather(1, target[:, None]).sum()


def watched(task: Task, rows: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Activations at the layers and the score's gradients there; no graph is recorded before the first of them."""
    seen: list[Tensor] = []

    def keep(module: object, args: object, out: Tensor) -> Tensor:
        seen.append(out if out.requires_grad else out.requires_grad_())
        return seen[-1].clone()

    handles = [task.frozen.get_submodule(name).register_forward_hook(keep) for name in task.layers]
    try:
        gradients = torch.autograd.grad(scores_at(task, rows), seen)
    finally:
        for handle in handles:
            handle.remove()
    return [activation.detach() for activation in seen], list(gradients)


def path(task: Task) -> tuple[Tensor, Tensor]:
    nodes, weights = np.polynomial.legendre.leggauss(task.count)
    return torch.from_numpy((nodes + 1) / 2).to(task.x), torch.from_numpy(weights / 2).to(task.x)


def chunks(task: Task, rows: int | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Nodes and weights, as many at once as give this number of rows."""
    points = max(1, rows // len(task.x)) if rows else task.count
    return zip(*(values.split(points) for values in path(task)), strict=True)


def bare_ig(task: Task, rows: int | None) -> Tensor:
    before, _ = task.split()
    with torch.no_grad():
        point = before(task.x)
        base = before(torch.zeros_like(task.x[:1]))
    difference = point - base
    total: Tensor | float = 0.0
    for alphas, weights in chunks(task, rows):
        line = base + alphas.view(-1, *[1] * point.ndim) * difference
        grads = bare_gradients(task, line.flatten(0, 1), task.target.repeat(len(alphas)))
        grads = grads.unflatten(-point.ndim, (len(alphas), len(point)))
        total = total + torch.tensordot(weights, grads, ([0], [grads.ndim - point.ndim - 1]))
    return total * difference


def bare_saliency(task: Task, rows: int | None) -> Tensor:
    return bare_gradients(task, task.x, task.target).abs()


def bare_grad_cam(task: Task, rows: int | None) -> Tensor:
    (activation,), (gradient,) = watched(task, task.x)
    return (gradient.mean((2, 3), keepdim=True) * activation).sum(1, keepdim=True)


IG = Method(ours_ig, captum_ig, bare_ig)
SALIENCY = Method(ours_saliency, captum_saliency, bare_saliency, tunable=False, chunked=False)
GRAD_CAM = Method(ours_grad_cam, captum_grad_cam, bare_grad_cam, tunable=False, chunked=False)
