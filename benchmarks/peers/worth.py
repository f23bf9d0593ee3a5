"""What an explanation is worth (infidelity, sensitivity), and attacks.

Perturbations are the same for everyone, fixed functions of the inputs that look like noise, so that results can be
compared; drawing them takes no longer.
"""

from __future__ import annotations

import captum.attr as ca
import captum.metrics as cm
import captum.robust as cr
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

import attrfunc as af
from benchmarks.peers.samples import copies
from benchmarks.task import Method, Task

__all__ = ["INFIDELITY", "PGD", "SENSITIVITY_MAX"]

RADIUS = 0.02


def noise(x: Tensor) -> Tensor:
    return RADIUS * torch.sin(1e3 * x)


def scores(task: Task, rows: Tensor) -> Tensor:
    return task.frozen(rows).gather(1, task.target.repeat(len(rows) // len(task.x))[:, None]).squeeze(1)


def ours_infidelity(task: Task) -> Tensor:
    # The attributions are not what is timed: any numbers will do.
    options = {"multiply_by_inputs": False, "n_samples": task.count, "perturb": lambda x, generator: noise(x)}
    return af.metrics.infidelity(task.model, task.x, task.x, target=task.target, **options)


def captum_infidelity(task: Task, rows: int | None) -> Tensor:
    perturb = lambda x: (noise(x), x - noise(x))  # noqa: E731
    options = {"target": task.target, "n_perturb_samples": task.count, "max_examples_per_batch": rows}
    return cm.infidelity(task.model, perturb, task.x, task.x, **options)


def bare_infidelity(task: Task, rows: int | None) -> Tensor:
    total: Tensor | float = 0.0
    with torch.no_grad():
        before = scores(task, task.x)
        for x in copies(task, rows):
            step, times = noise(x), len(x) // len(task.x)
            lost = before.repeat(times) - scores(task, x - step)
            said = (step * x).flatten(1).sum(1)
            total = total + (said - lost).square().view(times, -1).sum(0)
    return total / task.count


def ours_sensitivity(task: Task) -> Tensor:
    options = {"n_samples": task.count, "relative": True, "perturb": lambda x, generator: x + noise(x)}
    return af.metrics.max_sensitivity(af.saliency, radius=RADIUS, **options)(task.model, task.x, target=task.target)


def captum_sensitivity(task: Task, rows: int | None) -> Tensor:
    perturb = lambda x: x + noise(x)  # noqa: E731
    options = {"target": task.target, "n_perturb_samples": task.count, "max_examples_per_batch": rows}
    return cm.sensitivity_max(ca.Saliency(task.model).attribute, task.x, perturb, **options)


def bare_sensitivity(task: Task, rows: int | None) -> Tensor:
    largest: Tensor | None = None
    before = slopes(task, task.x)
    for x in copies(task, rows):
        change = slopes(task, x + noise(x)) - before.repeat(len(x) // len(task.x), *[1] * (x.ndim - 1))
        found = change.flatten(1).norm(dim=1).view(-1, len(task.x)).amax(0)
        largest = found if largest is None else torch.maximum(largest, found)
    return largest / before.flatten(1).norm(dim=1)


def slopes(task: Task, x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(scores(task, x).sum(), x)[0].abs()


def step_of(task: Task) -> dict[str, float]:
    """Steps that do not reach the edge of the ball, so that the last point is as good as the best."""
    return {"radius": RADIUS, "step_size": RADIUS / (2 * task.count)}


def ours_pgd(task: Task) -> Tensor:
    options = {"n_steps": task.count, "random_start": False, **step_of(task)}
    found = af.robust.pgd(task.model, task.x, label=task.target, **options)
    return reached_by(task, found)


def losses(outputs: Tensor, target: Tensor) -> Tensor:
    return cross_entropy(outputs, target, reduction="none")


def reached_by(task: Task, x: Tensor) -> Tensor:
    """The losses there: signs of gradients near zero may differ, of which Captum takes some for zero."""
    with torch.no_grad():
        return losses(task.frozen(x), task.target)


def captum_pgd(task: Task, rows: int | None) -> Tensor:
    found = cr.PGD(task.model, losses).perturb(task.x, step_num=task.count, target=task.target, **step_of(task))
    return reached_by(task, found.detach())


def bare_pgd(task: Task, rows: int | None) -> Tensor:
    point, length = task.x, step_of(task)["step_size"]
    for _ in range(task.count):
        leaf = point.detach().requires_grad_()
        slope = torch.autograd.grad(losses(task.frozen(leaf), task.target).sum(), leaf)[0]
        point = point + length * slope.sign()
        point = task.x + (point - task.x).clamp(-RADIUS, RADIUS)
    return reached_by(task, point)


INFIDELITY = Method(ours_infidelity, captum_infidelity, bare_infidelity)
SENSITIVITY_MAX = Method(ours_sensitivity, captum_sensitivity, bare_sensitivity)
PGD = Method(ours_pgd, captum_pgd, bare_pgd, tunable=False, chunked=False, check="reached")
