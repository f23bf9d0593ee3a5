"""One method, written three times: attrfunc, Captum, and by hand with `torch.autograd.grad`.

Every function takes a `Task`; Captum's and the hand-written ones also take the number of rows that are evaluated at
once (None: all of them), which is searched before a case is timed. attrfunc is always called as its users call it.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import captum.attr as ca
import numpy as np
import torch
from torch import Tensor, nn

import attrfunc as af

warnings.filterwarnings("ignore", "Input Tensor 0 did not already require gradients", module="captum")


@dataclass(frozen=True)
class Task:
    """What is to be computed: attributions of `x` (or of a layer) for `target`, or for the first `classes` classes.

    `frozen` is a copy of the network whose parameters ask for no gradient, for the hand-written functions.
    """

    model: nn.Module
    frozen: nn.Module
    x: Tensor
    target: Tensor
    layer: str | None = None
    n_steps: int = 50
    classes: int | None = None

    @property
    def place(self) -> nn.Module:
        return self.model.get_submodule(self.layer) if self.layer else self.model

    def split(self) -> tuple[nn.Module, nn.Module]:
        """The frozen network before and after the layer; a layer is for `nn.Sequential` only."""
        if self.layer is None:
            return nn.Identity(), self.frozen
        cut = [name for name, _ in self.frozen.named_children()].index(self.layer) + 1
        return self.frozen[:cut], self.frozen[cut:]

    def double(self) -> Task:
        """The same in float64, on a model of its own."""
        model = copy.deepcopy(self.model).double()
        return replace(self, model=model, frozen=copy.deepcopy(model).requires_grad_(False), x=self.x.double())

    def warm_up(self) -> Task:
        """The smallest task that takes the same path through the code."""
        classes = self.classes and 2
        return replace(self, x=self.x[:1], target=self.target[:1], n_steps=2, classes=classes)


Peer = Callable[[Task, int | None], Tensor]


@dataclass(frozen=True)
class Method:
    """The same method in the three ways. `tunable`: there is a number of rows to choose."""

    ours: Callable[[Task], Tensor]
    captum: Peer
    bare: Peer | None
    tunable: bool = True

    def for_all_classes(self) -> Method:
        """Every class: by `vmap` in attrfunc, a loop of calls in Captum, and by hand a loop of backward passes.

        As its documentation advises for many targets, `vmap` takes 16 at a time.
        """

        def ours(task: Task) -> Tensor:
            one = lambda target: self.ours(replace(task, target=target))  # noqa: E731
            return torch.vmap(one, chunk_size=16)(torch.arange(task.classes))

        def captum(task: Task, rows: int | None) -> Tensor:
            return torch.stack([self.captum(replace(task, target=c), rows) for c in range(task.classes)])

        return replace(self, ours=ours, captum=captum)


def where(task: Task) -> object:
    return af.layer(task.model, task.layer) if task.layer else task.model


def ours_ig(task: Task) -> Tensor:
    return af.ig(where(task), task.x, target=task.target, n_steps=task.n_steps)


def captum_ig(task: Task, rows: int | None) -> Tensor:
    method = ca.LayerIntegratedGradients(task.model, task.place) if task.layer else ca.IntegratedGradients(task.model)
    return method.attribute(task.x, target=task.target, n_steps=task.n_steps, internal_batch_size=rows)


def ours_saliency(task: Task) -> Tensor:
    return af.saliency(where(task), task.x, target=task.target)


def captum_saliency(task: Task, rows: int | None) -> Tensor:
    return ca.Saliency(task.model).attribute(task.x, target=task.target)


def bare_gradients(task: Task, rows: Tensor, target: Tensor) -> Tensor:
    """Gradients at `rows`: (*rows.shape), or (classes, *rows.shape) with the forward run once for all classes."""
    rows = rows.detach().requires_grad_()
    out = task.split()[1](rows)
    if task.classes is None:
        return torch.autograd.grad(out.gather(1, target[:, None]).sum(), rows)[0]
    scores = out.sum(0)[: task.classes]
    return torch.stack([torch.autograd.grad(score, rows, retain_graph=True)[0] for score in scores])


def path(task: Task) -> tuple[Tensor, Tensor]:
    nodes, weights = np.polynomial.legendre.leggauss(task.n_steps)
    return torch.from_numpy((nodes + 1) / 2).to(task.x), torch.from_numpy(weights / 2).to(task.x)


def chunks(task: Task, rows: int | None) -> Iterator[tuple[Tensor, Tensor]]:
    points = max(1, rows // len(task.x)) if rows else task.n_steps
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


IG = Method(ours_ig, captum_ig, bare_ig)
SALIENCY = Method(ours_saliency, captum_saliency, bare_saliency, tunable=False)
