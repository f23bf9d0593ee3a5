"""What `Lime` does by default: its kernel, and the way from features to inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import attrfunc as af
from attrfunc.captum.forms import Inputs
from attrfunc.core.errors import ArgumentError, describe
from attrfunc.perturbation.similarity import exponential_weight

__all__ = [
    "ExponentialKernel", "default_from_interp_rep_transform", "default_perturb_func",
    "get_exp_kernel_similarity_function",
]  # fmt: skip


class ExponentialKernel:
    """The exponential kernel as Captum calls it, sample by sample; `kernel` is the same for `attrfunc.lime`."""

    def __init__(self, distance_mode: Literal["cosine", "euclidean"], kernel_width: float) -> None:
        self.kernel = af.surrogates.exponential_kernel(distance_mode, width=kernel_width, space="input")
        self._distance, self._width = distance_mode, kernel_width

    def __call__(self, original_inp: Inputs, perturbed_inp: Inputs, __: Any, **kwargs: Any) -> float:
        """The weight of one perturbed input."""
        return exponential_weight(original_inp, perturbed_inp, self._distance, self._width)


def get_exp_kernel_similarity_function(
    distance_mode: Literal["cosine", "euclidean"] = "cosine", kernel_width: float = 1.0
) -> Callable[..., float]:
    """A `similarity_func`: the exponential kernel of the distance between inputs; see `attrfunc.surrogates`."""
    return ExponentialKernel(distance_mode, kernel_width)


def default_perturb_func(original_inp: Inputs, **kwargs: Any) -> Tensor:
    """Features `(1, num_interp_features)`, each of them 1 half of the time and else 0."""
    device = pytree.tree_leaves(original_inp)[0].device
    return torch.randint(2, (1, _needed(kwargs, "num_interp_features")), device=device)


def default_from_interp_rep_transform(curr_sample: Tensor, original_inputs: Inputs, **kwargs: Any) -> Any:
    """The inputs where a group's feature is not 0, and else the baselines."""
    mask, baselines = _needed(kwargs, "feature_mask"), _needed(kwargs, "baselines")
    if isinstance(original_inputs, Tensor):
        return torch.where(curr_sample[0][mask].bool(), original_inputs, baselines)
    parts = zip(original_inputs, baselines, mask, strict=True)
    return tuple(torch.where(curr_sample[0][ids].bool(), high, low) for high, low, ids in parts)


def _needed(kwargs: dict[str, Any], name: str) -> Any:
    if name not in kwargs:
        raise ArgumentError("kwargs", describe(list(kwargs)), name, f"Pass {name}= to attribute.")
    return kwargs[name]
