"""Sensitivity."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import attrfunc as af
from attrfunc.captum.convert import RENAMED, captum_call
from attrfunc.captum.faces import converted
from attrfunc.core.errors import ArgumentError, describe

__all__ = ["default_perturb_func", "sensitivity_max"]


def default_perturb_func(inputs: Any, perturb_radius: float = 0.02) -> tuple[Tensor, ...]:
    """Inputs with uniform noise.

    Args:
        inputs: The inputs.
        perturb_radius: The largest change of an element.

    Returns:
        Perturbed inputs, always a tuple.
    """
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    return tuple(leaf + perturb_radius * (2 * torch.rand_like(leaf) - 1) for leaf in tensors)


@captum_call
def sensitivity_max(
    explanation_func: Callable[..., Any],
    inputs: Any,
    perturb_func: Callable[..., Any] = default_perturb_func,
    perturb_radius: float = 0.02,
    n_perturb_samples: int = 10,
    norm_ord: Any = "fro",
    max_examples_per_batch: int | None = None,
    **kwargs: Any,
) -> Tensor:
    """The largest change of attributions near the inputs, by their norm; see `attrfunc.metrics.max_sensitivity`.

    Args:
        explanation_func: Gives attributions of inputs, which it gets as a tuple: a class's `attribute`.
        inputs: The inputs.
        perturb_func: Gives perturbed inputs of inputs, and of `perturb_radius` if it has that argument.
        perturb_radius: The largest change of an element.
        n_perturb_samples: How many perturbations there are of each example.
        norm_ord: `"fro"`, or the order of a vector norm over all elements.
        max_examples_per_batch: Rows explained at once.
        kwargs: Further arguments of `explanation_func`. `target`, `additional_forward_args` and `baselines` follow the
            examples.

    Returns:
        One number for each example. Where all attributions are 0 they are not divided.
    """
    order = 2.0 if norm_ord in ("fro", None) else norm_ord
    x = inputs if isinstance(inputs, tuple) else (inputs,)
    # Other baselines are a distribution, which is one for all.
    following = {"additional_forward_args", *(("baselines",) if _follow(kwargs.get("baselines"), x) else ())}
    options, back = converted(kwargs, x, following), {RENAMED[name]: name for name in following}

    def explain(_: object, x: Any, /, **given: Any) -> Any:
        return explanation_func(x, **{back.get(name, name): value for name, value in given.items()})

    def perturb(x: Any, _: object) -> Any:
        given = x if len(x) > 1 else x[0]
        wanted = len(inspect.signature(perturb_func).parameters) > 1
        moved = perturb_func(given, perturb_radius) if wanted else perturb_func(given)
        return tuple(moved) if isinstance(moved, tuple | list) else (moved,)

    if not callable(explanation_func):
        got = describe(explanation_func)
        raise ArgumentError("explanation_func", got, "a callable", "Pass Saliency(model).attribute.")
    radius = perturb_radius if perturb_func is default_perturb_func else 1.0  # else it is the function's own
    sampling: dict[str, Any] = {"n_samples": n_perturb_samples, "norm": order, "chunk_size": max_examples_per_batch}
    explain.__name__ = getattr(explanation_func, "__name__", "explanation_func")
    measure = af.metrics.max_sensitivity(explain, radius=radius or 1.0, perturb=perturb, **sampling)
    largest = measure(_total, x, **options)
    before = explain(None, x, **options)
    leaves = before if isinstance(before, tuple | list) else (before,)
    flat = torch.cat([leaf.detach().reshape(len(leaf), leaf.shape[1:].numel()) for leaf in leaves], dim=1)
    size = torch.linalg.vector_norm(flat, ord=order, dim=1)
    return largest / torch.where(size > 0, size, 1.0)


def _follow(baselines: Any, inputs: tuple[Tensor, ...]) -> bool:
    """Whether baselines are one for each example, or one for all."""
    given = baselines if isinstance(baselines, tuple) else (baselines,)
    pairs = zip(given, inputs, strict=False)
    return all(not isinstance(one, Tensor) or one.dim() == 0 or len(one) in (1, len(leaf)) for one, leaf in pairs)


def _total(*inputs: Any, **_: Any) -> Tensor:
    """Stands for a model, which the explanation function knows by itself."""
    leaf: Tensor = inputs[0]
    return leaf.reshape(len(leaf), -1).double().sum(1)
