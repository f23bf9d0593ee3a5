"""Shapley values from permutations, and exactly."""

from __future__ import annotations

import captum.attr as ca
import torch
from torch import Tensor

import attrfunc as af
from benchmarks.task import Method, Task

__all__ = ["exact_shapley", "permutation_shapley"]

Cell = int | tuple[int, ...]


def permutation_shapley(cell: Cell) -> Method:
    """As many permutations of the cells of a grid. Captum evaluates the input anew at the end of each of them."""

    def ours(task: Task) -> Tensor:
        mask = af.masks.grid_mask(task.x, cell)
        return af.shapley_sampling(task.model, task.x, target=task.target, n_samples=task.count, feature_mask=mask)

    def captum(task: Task, rows: int | None) -> Tensor:
        return called(ca.ShapleyValueSampling(task.model), task, cell, rows, n_samples=task.count)

    return Method(ours, captum, None, check="means")


def exact_shapley(cell: Cell) -> Method:
    """All coalitions of the cells of a grid. Captum walks all permutations of them."""

    def ours(task: Task) -> Tensor:
        mask = af.masks.grid_mask(task.x, cell)
        return af.shapley_values(task.model, task.x, target=task.target, feature_mask=mask)

    def captum(task: Task, rows: int | None) -> Tensor:
        return called(ca.ShapleyValues(task.model), task, cell, rows)

    return Method(ours, captum, None)


def called(method: ca.ShapleyValueSampling, task: Task, cell: Cell, rows: int | None, **options: int) -> Tensor:
    at_once = (rows or len(task.x)) // len(task.x)
    mask = af.masks.grid_mask(task.x, cell)
    with torch.no_grad():
        return method.attribute(
            task.x, target=task.target, feature_mask=mask, perturbations_per_eval=at_once, **options
        )
