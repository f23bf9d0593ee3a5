"""DeepLIFT from a baseline of zeros, and averaged over a distribution."""

from __future__ import annotations

import captum.attr as ca
import torch
from torch import Tensor

import attrfunc as af
from benchmarks.task import Method, Task

__all__ = ["DEEP_LIFT", "DEEP_LIFT_SHAP", "HYPOTHETICAL"]


def ours_deep_lift(task: Task) -> Tensor:
    return af.deep_lift(task.model, task.x, target=task.target)


def captum_deep_lift(task: Task, rows: int | None) -> Tensor:
    return ca.DeepLift(task.model).attribute(task.x, target=task.target)


def ours_shap(task: Task) -> Tensor:
    return af.deep_lift_shap(task.model, task.x, baselines=task.baselines, target=task.target)


def captum_shap(task: Task, rows: int | None) -> Tensor:
    return ca.DeepLiftShap(task.model).attribute(task.x, task.baselines, target=task.target)


def on_letters(attributions: Tensor, x: Tensor) -> Tensor:
    """The difference between the letters of a place, on the one that stands there."""
    return attributions.sum(1, keepdim=True) * x


def tangermeme_shap(task: Task, rows: int | None) -> Tensor:
    from tangermeme.deep_lift_shap import deep_lift_shap

    references = shuffled(task).expand(len(task.x), -1, *task.x.shape[1:])
    target = int(task.target[0])  # the same for all
    return deep_lift_shap(task.model, task.x, target=target, references=references, device=str(task.x.device))


def shuffled(task: Task) -> Tensor:
    """Sequences of letters, as baselines; tangermeme takes nothing else."""
    count, length = len(task.baselines), task.x.shape[-1]
    letters = torch.randint(4, (count, length), generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.one_hot(letters, 4).mT.to(task.x)


def ours_letters(task: Task) -> Tensor:
    found = af.deep_lift_shap(task.model, task.x, baselines=shuffled(task), target=task.target)
    return on_letters(found, task.x)


def captum_letters(task: Task, rows: int | None) -> Tensor:
    return on_letters(ca.DeepLiftShap(task.model).attribute(task.x, shuffled(task), target=task.target), task.x)


DEEP_LIFT = Method(ours_deep_lift, captum_deep_lift, None, tunable=False)
DEEP_LIFT_SHAP = Method(ours_shap, captum_shap, None, tunable=False)
HYPOTHETICAL = Method(ours_letters, captum_letters, None, tunable=False, other=tangermeme_shap, library="tangermeme")
