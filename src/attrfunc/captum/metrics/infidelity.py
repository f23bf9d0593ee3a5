"""Infidelity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import attrfunc as af
from attrfunc.captum.convert import as_args, as_baseline, captum_call
from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.score.baseline import resolve_baseline
from attrfunc.core.score.target import Target
from attrfunc.core.trees import batch_size, map_rows

__all__ = ["infidelity", "infidelity_perturb_func_decorator"]

Perturbation = Callable[..., Any]


def infidelity_perturb_func_decorator(multiply_by_inputs: bool = True) -> Callable[[Perturbation], Perturbation]:
    """Make a function that gives perturbed inputs one that gives perturbations beside them.

    Args:
        multiply_by_inputs: Whether attributions have been multiplied by inputs, less baselines: perturbations are then
            divided by these (by 1 where they are 0).

    Returns:
        The decorator.
    """

    def decorator(perturb_func: Perturbation) -> Perturbation:
        def perturb(inputs: Any, baselines: Any = None) -> tuple[Any, Any]:
            moved = perturb_func(inputs) if baselines is None else perturb_func(inputs, baselines)
            moved = _like(moved, inputs)
            start = resolve_baseline(as_baseline(baselines, inputs), inputs)

            def change(leaf: Tensor, new: Tensor, low: Tensor) -> Tensor:
                way = leaf - low
                return (leaf - new) / torch.where(way == 0, 1.0, way) if multiply_by_inputs else leaf - new

            return _mapped(change, inputs, moved, start), moved

        return perturb

    return decorator


@captum_call
def infidelity(
    forward_func: Callable[..., Tensor],
    perturb_func: Perturbation,
    inputs: Any,
    attributions: Any,
    baselines: Any = None,
    additional_forward_args: Any = None,
    target: Target = None,
    n_perturb_samples: int = 10,
    max_examples_per_batch: int | None = None,
    normalize: bool = False,
) -> Tensor:
    """The mean squared error of what attributions say of perturbations; see `attrfunc.metrics.infidelity`.

    Args:
        forward_func: The model.
        perturb_func: Gives perturbations and perturbed inputs of inputs, and of baselines if there are any.
        inputs: The inputs.
        attributions: What is measured.
        baselines: What `perturb_func` gets.
        additional_forward_args: Further arguments of the model.
        target: The target.
        n_perturb_samples: How many perturbations there are of each example.
        max_examples_per_batch: Rows evaluated at once.
        normalize: Scale attributions to the least error.

    Returns:
        One number for each example.
    """
    found: Tensor = af.metrics.infidelity(
        forward_func,
        inputs,
        as_baseline(attributions, inputs),
        args=as_args(additional_forward_args),
        target=target,
        perturb=_Queue(perturb_func, baselines, n_perturb_samples, max_examples_per_batch),
        n_samples=n_perturb_samples,
        multiply_by_inputs=False,
        normalize=normalize,
        chunk_size=max_examples_per_batch,
    )
    return found


class _Queue:
    """Perturbations of the batch, one after the other, from a function that is given several copies of it at once.

    The copies of an example stand behind each other, so that a function may perturb each in another way.
    """

    def __init__(self, function: Perturbation, baselines: Any, count: Any, limit: int | None) -> None:
        self._function, self._baselines, self._limit = function, baselines, limit
        self._left = count if isinstance(count, int) else 1
        self._waiting: list[tuple[Any, Any]] = []

    def __call__(self, x: Any, _: object) -> tuple[Any, Any]:
        if not self._waiting:
            rows = batch_size(x)
            times = max(1, min(self._left, max(1, self._limit // max(rows, 1)) if self._limit else self._left))
            self._left -= times
            self._waiting = self._drawn(x, rows, times)
        return self._waiting.pop(0)

    def _drawn(self, x: Any, rows: int, times: int) -> list[tuple[Any, Any]]:
        repeat = lambda leaf: leaf.repeat_interleave(times, 0)  # noqa: E731
        copies = pytree.tree_map_only(Tensor, repeat, x)
        start = map_rows(repeat, self._baselines, rows) if rows > 1 else self._baselines
        given = self._function(copies) if self._baselines is None else self._function(copies, start)
        if not isinstance(given, tuple) or len(given) != 2:
            fix = "Decorate one that gives perturbed inputs alone by infidelity_perturb_func_decorator()."
            got = f"a callable that returns {describe(given)}"
            raise ArgumentError("perturb_func", got, "perturbations and perturbed inputs", fix)
        both = [_like(part, x) for part in given]
        shapes = [leaf.shape for leaf in pytree.tree_leaves(copies)]
        if any([getattr(leaf, "shape", None) for leaf in pytree.tree_leaves(part)] != shapes for part in both):
            expected = f"perturbations and perturbed inputs of shapes {[tuple(shape) for shape in shapes]}"
            fix = "Let it return one of each for every example that it is given."
            raise ArgumentError("perturb_func", f"a callable that returns {describe(given)}", expected, fix)
        leaves = [pytree.tree_leaves(part) for part in both]
        specs = [pytree.tree_structure(part) for part in both]

        def sample(number: int) -> tuple[Any, Any]:
            parts = [[leaf[number::times] for leaf in part] for part in leaves]
            return pytree.tree_unflatten(parts[0], specs[0]), pytree.tree_unflatten(parts[1], specs[1])

        return [sample(number) for number in range(times)]


def _like(given: Any, inputs: Any) -> Any:
    """A tuple of one as the tensor, where the inputs are a tensor, and the other way round."""
    if isinstance(inputs, Tensor) and isinstance(given, tuple | list) and len(given) == 1:
        return given[0]
    if isinstance(inputs, tuple) and isinstance(given, Tensor):
        return (given,)
    return tuple(given) if isinstance(given, list) else given


def _mapped(function: Callable[..., Tensor], *trees: Any) -> Any:
    leaves = [pytree.tree_leaves(tree) for tree in trees]
    spec = pytree.tree_structure(trees[0])
    return pytree.tree_unflatten([function(*parts) for parts in zip(*leaves, strict=True)], spec)
