"""Feature ablation and occlusion."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from math import ceil

import captum.attr as ca
import torch
from torch import Tensor

import attrfunc as af
from benchmarks.task import Method, Task

__all__ = ["ablation", "occlusion"]

Cell = int | tuple[int, ...] | None


def ablation(cell: Cell = None) -> Method:
    """Ablation of the cells of a grid, or of all elements; at a layer its units are set to zero."""

    def mask(task: Task) -> Tensor | None:
        point = af.activation(task.where, task.x) if task.layer else task.x
        return None if cell is None else af.masks.grid_mask(point, cell)

    def ours(task: Task) -> Tensor:
        baseline = af.activation_baseline() if task.layer else None
        return af.feature_ablation(task.where, task.x, target=task.target, baseline=baseline, feature_mask=mask(task))

    def captum(task: Task, rows: int | None) -> Tensor:
        options = {"target": task.target, "perturbations_per_eval": (rows or len(task.x)) // len(task.x)}
        if task.layer:
            method = ca.LayerFeatureAblation(task.model, task.place)
            return method.attribute(task.x, layer_mask=mask(task), **options)
        return ca.FeatureAblation(task.model).attribute(task.x, feature_mask=mask(task), **options)

    def bare(task: Task, rows: int | None) -> Tensor:
        before, behind = task.split()
        with torch.no_grad():
            point = before(task.x)
            given = mask(task)
            ids = (
                torch.arange(point[0].numel(), device=point.device).view(1, *point.shape[1:])
                if given is None
                else given
            )
            groups = torch.arange(int(ids.max()) + 1, device=ids.device)
            kept = lambda chosen: ids != chosen.view(-1, *[1] * ids.dim())  # noqa: E731
            losses = loss(task, behind, point, (kept(chosen) for chosen in split(groups, rows, point)))
            return losses.T[:, ids[0]].expand(point.shape)

    return Method(ours, captum, bare)


def occlusion(window: tuple[int, ...], stride: tuple[int, ...]) -> Method:
    """Occlusion of images by a window over all channels."""

    def ours(task: Task) -> Tensor:
        return af.occlusion(task.where, task.x, window=window, stride=stride, target=task.target)

    def captum(task: Task, rows: int | None) -> Tensor:
        at_once = (rows or len(task.x)) // len(task.x)
        options = {"sliding_window_shapes": (task.x.shape[1], *window), "strides": (1, *stride)}
        method = ca.Occlusion(task.model)
        return method.attribute(task.x, target=task.target, perturbations_per_eval=at_once, **options)

    def bare(task: Task, rows: int | None) -> Tensor:
        places = torch.ones(0, 1, 1, *task.x.shape[2:], dtype=torch.bool)
        spans = zip(task.x.shape[2:], window, stride, strict=True)
        starts = [[k * step for k in range(ceil((size - width) / step) + 1)] for size, width, step in spans]
        for top, left in product(*starts):
            place = torch.ones(1, 1, 1, *task.x.shape[2:], dtype=torch.bool)
            place[..., top : top + window[0], left : left + window[1]] = False
            places = torch.cat([places, place])
        places = places.to(task.x.device)
        with torch.no_grad():
            losses = loss(task, task.frozen, task.x, split(places, rows, task.x))
        covered = (~places).float().flatten(1)
        mean = (losses.T @ covered) / covered.sum(0)
        return mean.view(len(task.x), 1, *task.x.shape[2:]).expand(task.x.shape)

    return Method(ours, captum, bare)


def split(perturbations: Tensor, rows: int | None, point: Tensor) -> tuple[Tensor, ...]:
    """As many at once as give this number of rows."""
    return perturbations.split(max(1, rows // len(point)) if rows else len(perturbations))


def loss(task: Task, network: torch.nn.Module, point: Tensor, kept: Iterable[Tensor]) -> Tensor:
    """What the score loses where something is not kept: (perturbations, examples)."""
    score = lambda rows: network(rows).gather(1, task.target.repeat(len(rows) // len(point))[:, None])  # noqa: E731
    found = [score(torch.where(part, point, 0.0).flatten(0, 1)).view(-1, len(point)) for part in kept]
    return score(point).view(1, -1) - torch.cat(found)
