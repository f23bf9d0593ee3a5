"""LIME of the cells of a grid, with the same coalitions for everyone."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import captum.attr as ca
import torch
from captum._utils.models.linear_model import SkLearnLinearRegression
from torch import Tensor

import attrfunc as af
from benchmarks.peers.perturbation import Cell, split
from benchmarks.task import Method, Task

__all__ = ["lime"]

FEWEST = 3
"""Coalitions for each group at least: fewer do not determine a linear model in a smoke run."""

warnings.filterwarnings("ignore", "You are providing multiple inputs for Lime", module="captum")


def lime(cell: Cell) -> Method:
    """Least squares with the exponential kernel of the cosine between inputs, Captum's default."""

    def design(task: Task) -> tuple[Tensor, Tensor]:
        mask = af.masks.grid_mask(task.x, cell)
        groups = int(mask.max()) + 1
        shape = max(task.count, FEWEST * groups), groups
        coalitions = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.5
        return mask, coalitions.to(task.x.device)

    def ours(task: Task) -> Tensor:
        mask, coalitions = design(task)
        return af.lime(
            task.where,
            task.x,
            target=task.target,
            feature_mask=mask,
            sampling=lambda *_: coalitions,
            similarity=af.surrogates.exponential_kernel(width=1.0, space="input"),
            linear_model=af.surrogates.least_squares(),
        )

    def captum(task: Task, rows: int | None) -> Tensor:
        mask, coalitions = design(task)

        def perturb(x: Tensor, **kwargs: object) -> Iterator[Tensor]:
            yield from coalitions.long()[:, None]

        method = ca.Lime(task.model, SkLearnLinearRegression(), perturb_func=perturb)
        options = {"n_samples": len(coalitions), "perturbations_per_eval": rows or 1}
        return method.attribute(task.x, target=task.target, feature_mask=mask, **options)

    def bare(task: Task, rows: int | None) -> Tensor:
        mask, coalitions = design(task)
        scores, weights, flat = [], [], task.x.flatten(1)
        with torch.no_grad():
            for some in split(coalitions, rows, task.x):
                points = torch.where(some[:, mask], task.x, 0.0)
                output = task.frozen(points.flatten(0, 1))
                target = task.target.repeat(len(some))[:, None]
                scores.append(output.gather(1, target).view(len(some), -1))
                cosine = torch.cosine_similarity(points.flatten(2), flat, dim=2)
                weights.append(torch.exp(-((1 - cosine) ** 2) / 2))
        root = torch.cat(weights).double().T.sqrt()[:, :, None]
        design_matrix = torch.cat([torch.ones_like(coalitions[:, :1]), coalitions], 1).double()
        found = torch.linalg.lstsq(root * design_matrix, root * torch.cat(scores).double().T[:, :, None]).solution
        return found[:, 1:, 0].to(task.x.dtype)[:, mask[0]].expand(task.x.shape)

    return Method(ours, captum, bare, check="single")
