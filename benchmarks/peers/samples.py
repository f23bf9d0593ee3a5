"""Averages over random samples: SmoothGrad and gradient SHAP."""

from __future__ import annotations

from collections.abc import Iterator

import captum.attr as ca
import torch
from torch import Tensor

import attrfunc as af
from benchmarks.peers.gradients import bare_gradients
from benchmarks.task import Method, Task

__all__ = ["GRADIENT_SHAP", "SMOOTH_IG", "SMOOTH_SALIENCY"]

PATH = 10
"""Points of each path of smoothed integrated gradients."""


def ours_smooth(task: Task) -> Tensor:
    return af.smooth(af.saliency, n_samples=task.count, stdev=task.stdev)(task.model, task.x, target=task.target)


def captum_smooth(task: Task, rows: int | None) -> Tensor:
    return tunnel(ca.Saliency(task.model), task, rows)


def ours_smooth_ig(task: Task) -> Tensor:
    smoothed = af.smooth(af.ig, n_samples=task.count, stdev=task.stdev)
    return smoothed(task.model, task.x, target=task.target, n_steps=PATH)


def captum_smooth_ig(task: Task, rows: int | None) -> Tensor:
    return tunnel(ca.IntegratedGradients(task.model), task, rows, n_steps=PATH)


def tunnel(method: object, task: Task, rows: int | None, **options: object) -> Tensor:
    at_once = rows and max(1, rows // len(task.x))
    options |= {"nt_samples": task.count, "nt_samples_batch_size": at_once, "stdevs": task.stdev}
    return ca.NoiseTunnel(method).attribute(task.x, target=task.target, **options)


def ours_shap(task: Task) -> Tensor:
    return af.gradient_shap(task.model, task.x, baselines=task.baselines, n_samples=task.count, target=task.target)


def captum_shap(task: Task, rows: int | None) -> Tensor:
    options = {"baselines": task.baselines, "n_samples": task.count, "target": task.target}
    return ca.GradientShap(task.model).attribute(task.x, **options)


def copies(task: Task, rows: int | None) -> Iterator[Tensor]:
    """The examples, so many times as give this number of rows."""
    most = max(1, rows // len(task.x)) if rows else task.count
    for done in range(0, task.count, most):
        yield task.x.repeat(min(most, task.count - done), *[1] * (task.x.ndim - 1))


def mean(task: Task, sums: list[Tensor]) -> Tensor:
    return torch.stack(sums).sum(0) / task.count


def summed(task: Task, rows: Tensor) -> Tensor:
    return rows.unflatten(0, (-1, len(task.x))).sum(0)


def bare_smooth(task: Task, rows: int | None) -> Tensor:
    sums = []
    for x in copies(task, rows):
        target = task.target.repeat(len(x) // len(task.x))
        sums.append(summed(task, bare_gradients(task, x + task.stdev * torch.randn_like(x), target).abs()))
    return mean(task, sums)


def bare_shap(task: Task, rows: int | None) -> Tensor:
    sums = []
    for x in copies(task, rows):
        target = task.target.repeat(len(x) // len(task.x))
        start = task.baselines[torch.randint(len(task.baselines), (len(x),), device=x.device)]
        node = torch.rand(len(x), *[1] * (x.ndim - 1), dtype=x.dtype, device=x.device)
        sums.append(summed(task, bare_gradients(task, start + node * (x - start), target) * (x - start)))
    return mean(task, sums)


SMOOTH_SALIENCY = Method(ours_smooth, captum_smooth, bare_smooth, check="noiseless")
SMOOTH_IG = Method(ours_smooth_ig, captum_smooth_ig, None, check="noiseless")
GRADIENT_SHAP = Method(ours_shap, captum_shap, bare_shap, tunable=False, check="narrow")
