"""Methods that hide parts of the photograph and look at the score, each a function from a case to a finding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import attrfunc as af
from case import PATCHES, Case, Finding, seeded

COALITIONS, PERMUTATIONS = 100, 6


def occlusion(case: Case) -> Finding:
    values = af.occlusion(case.model, case.x, window=(48, 48), stride=22, **case.compared)
    return Finding(values[:, :1], "81 windows of 48 pixels")


def of_patches(method: Callable[..., Tensor], case: Case, **options: Any) -> Tensor:
    """The value of each pixel's patch."""
    return method(case.model, case.x, feature_mask=case.patches, **options, **case.compared)[:, :1]


def of_groups(values: Tensor, mask: Tensor) -> Tensor:
    """The number that each group's elements have, which is the same for all of them."""
    groups = mask.flatten()
    return torch.zeros(int(groups.max()) + 1).scatter_reduce(0, groups, values.flatten(), "mean", include_self=False)


def efficient(case: Case, values: Tensor, effort: str, **more: Any) -> Finding:
    """A finding of a method that promises that the values of patches sum to the change of the score."""
    total = of_groups(values, case.patches).sum()
    return Finding(values, effort, ((total - case.change) / case.change).abs().item(), **more)


def feature_ablation(case: Case) -> Finding:
    return Finding(of_patches(af.feature_ablation, case), f"{PATCHES} evaluations")


def lime(case: Case) -> Finding:
    values = of_patches(af.lime, case, n_samples=COALITIONS, generator=seeded())
    return Finding(values, f"{COALITIONS} coalitions")


def shapley_values(case: Case) -> Finding:
    options = {"n_samples": PERMUTATIONS}
    values = of_patches(af.shapley_sampling, case, generator=seeded(), **options)
    errors = of_patches(af.shapley_sampling_error, case, generator=seeded(), **options)
    error, largest = errors.max().item(), values.abs().max().item()
    caution = f"rough: standard errors reach {error:.1g} nats" if error > 0.1 * largest else ""
    return efficient(case, values, f"{PERMUTATIONS} permutations", caution=caution)


def kernel_shap(case: Case) -> Finding:
    values = of_patches(af.kernel_shap, case, n_samples=COALITIONS, generator=seeded())
    return efficient(case, values, f"{COALITIONS} coalitions")


def gaussian_process_shap(case: Case) -> Finding:
    values = of_patches(af.gaussian_process_shap, case, n_samples=COALITIONS, generator=seeded())
    return efficient(case, values, f"{COALITIONS} coalitions")


def banzhaf_values(case: Case) -> Finding:
    values = of_patches(af.banzhaf_values, case, n_samples=COALITIONS, generator=seeded())
    return Finding(values, f"{COALITIONS} coalitions")
