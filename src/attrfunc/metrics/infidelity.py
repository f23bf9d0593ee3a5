"""Infidelity (Yeh et al. 2019)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, ModelError, describe
from attrfunc.core.loops.chunks import Work
from attrfunc.core.loops.plan import planned
from attrfunc.core.loops.progress import Progress
from attrfunc.core.loops.samples import Draws, Moments, sampled
from attrfunc.core.model.engines import require_finite
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.method import method, open_problem
from attrfunc.core.score.point import Point
from attrfunc.core.score.problem import Problem
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model
from attrfunc.metrics.explanation import fitting, require_apart
from attrfunc.perturbation.precision import wide

__all__ = ["infidelity"]

Perturb = Callable[[Any, torch.Generator | None], Any]


@method
def infidelity(
    model: Model,
    x: Any,
    attributions: Any,
    *,
    baseline: Baseline = None,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    stdev: Any = 0.1,
    perturb: Perturb | None = None,
    n_samples: int = 10,
    multiply_by_inputs: bool = True,
    normalize: bool = False,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Tensor:
    """How far the changes of the score under perturbations are from what the attributions say of them.

    `E[(sum(I * slope) - (score(x) - score(x - I)))^2]` over perturbations I. The slope is the attribution divided by
    `x - b`, which it was multiplied by; where the two are equal it is 0.

    Args:
        model: A module, any callable, or a view of one; no gradient is taken.
        x: The input, a tensor `(B, *S)` or a structure of them.
        attributions: What is measured; see `attrfunc.metrics.explanation`.
        baseline: What the method's attributions are relative to; see `attrfunc.core.score.baseline`.
        target: Which output was attributed; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        stdev: Standard deviation of normal perturbations; see `attrfunc.core.loops.samples`.
        perturb: Draws others: `(point, generator) -> I`, with the structure and shapes of `x` (or of the activation),
            one perturbation for each example. A pair `(I, x')` says what is evaluated in place of `x - I`.
        n_samples: How many are drawn for each example.
        multiply_by_inputs: Whether attributions are in units of the score; `False` says that they are slopes
            themselves, as those of `saliency(absolute=False)` and of `ig(multiply_by_inputs=False)`.
        normalize: Scale the attributions of each example by the factor that makes its infidelity least.
        generator: The source of randomness; see `attrfunc.core.loops.samples`.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Squared errors `(B,)`, in units of the score squared. It is 0 for the gradient of a linear score, whatever the
        perturbations. If all of I is `x - b`, it is the squared completeness gap.

    Raises:
        ArgumentError: If an argument cannot be right: perturbations of another shape, say.
        ModelError: If a score is not finite, or examples are not scored apart.

    Example:
        >>> model, x = torch.nn.Linear(3, 2), torch.ones(5, 3)
        >>> af.metrics.infidelity(model, x, af.ig(model, x, target=1), target=1).max() < 1e-10
        tensor(True)

    Reference:
        Yeh, Hsieh, Suggala, Inouye, Ravikumar: On the (In)fidelity and Sensitivity of Explanations, NeurIPS 2019,
        https://arxiv.org/abs/1901.09392.
    """
    problem = planned(open_problem(model, x, target, args, kwargs, differentiate=False), chunk_size)
    point, slopes = _slopes(problem, attributions, baseline if multiply_by_inputs else None, multiply_by_inputs)
    draws, moments = Draws(point.restored(), stdev if perturb is None else 0.0, generator), Moments(second=False)
    before = wide(problem.scores(point.like([leaf[None] for leaf in point.leaves])))
    require_finite(before)

    def evaluate(count: int) -> list[Tensor]:
        drawn = [_drawn(point, draws, perturb, generator) for _ in range(count)]
        steps = [torch.stack(leaves) for leaves in zip(*(step for step, _ in drawn), strict=True)]
        if drawn[0][1] is None:
            moved = [leaf - step for leaf, step in zip(point.leaves, steps, strict=True)]
        else:
            moved = [torch.stack(leaves) for leaves in zip(*(new or [] for _, new in drawn), strict=True)]
        after = wide(problem.scores(point.like(moved)))
        require_finite(after)
        products = [_products(wide(step), slope) for step, slope in zip(steps, slopes, strict=True)]
        said, lost = torch.stack(products).sum(0), before - after
        return [(said - lost).square(), said * lost, said.square(), lost.square()]

    sampled(evaluate, n_samples, Work.of(problem), moments.take, chunk_size=chunk_size, progress=progress)
    error, product, square, total = moments.result("smoothgrad")
    if not normalize:
        return error
    # The factor product / square; attributions that say nothing of any perturbation have none, and stay as they are.
    return (total - product.square() / torch.where(square > 0, square, 1.0)).clamp(min=0)


def _slopes(problem: Problem, attributions: Any, baseline: Baseline, multiplied: bool) -> tuple[Point, list[Tensor]]:
    """The point, and what the attributions say that the score changes per unit of it."""
    start, end = problem.endpoints(baseline) if multiplied else (problem.point(), problem.point())
    if problem.whole:
        fix = "Measure a score of each example: an int, say."
        raise ArgumentError("target", "a batch_score", "a score for each example", fix)
    require_apart(problem, end)
    if not all(leaf.is_floating_point() for leaf in end.leaves):
        raise ModelError(
            "the input holds integers, which cannot be moved by noise. Measure at the embedding: af.layer(model, ...)."
        )
    parts = fitting(attributions, end, problem.inputs.rows)
    if not multiplied:
        return end, parts
    ways = [wide(high) - wide(low) for high, low in zip(end.leaves, start.leaves, strict=True)]
    slopes = [part / torch.where(way == 0, 1.0, way) for part, way in zip(parts, ways, strict=True)]
    return end, [torch.where(way == 0, 0.0, slope) for slope, way in zip(slopes, ways, strict=True)]


def _drawn(
    point: Point, draws: Draws, perturb: Perturb | None, generator: torch.Generator | None
) -> tuple[list[Tensor], list[Tensor] | None]:
    """One perturbation of each example, and the perturbed examples, if these are given beside it."""
    leaves = point.leaves
    if perturb is None:
        moved = pytree.tree_leaves(draws.noisy())
        return [leaf - one for one, leaf in zip(moved, leaves, strict=True)], None
    x = point.restored()
    given = perturb(x, generator)
    if isinstance(given, tuple) and len(given) == 2 and all(_is_like(one, x) for one in given):
        step, moved = given
        return [_like(a, b) for a, b in zip(pytree.tree_leaves(step), leaves, strict=True)], [
            _like(a, b) for a, b in zip(pytree.tree_leaves(moved), leaves, strict=True)
        ]
    if not _is_like(given, x):
        expected = f"perturbations of the shapes that are explained, {[tuple(leaf.shape) for leaf in leaves]}"
        fix = "Let it return what is taken off x, one perturbation for each example: x - I is evaluated."
        raise ArgumentError("perturb", f"a callable that returns {describe(given)}", expected, fix)
    return [_like(step, leaf) for step, leaf in zip(pytree.tree_leaves(given), leaves, strict=True)], None


def _products(steps: Tensor, slope: Tensor) -> Tensor:
    """Inner products `(K, B)` of perturbations `(K, B, *S)` with slopes `(B, *S)`."""
    count, rows = steps.shape[:2]
    width = slope.shape[1:].numel()
    return torch.einsum("kbf,bf->kb", steps.reshape(count, rows, width), slope.reshape(rows, width))


def _is_like(given: Any, x: Any) -> bool:
    found, spec = pytree.tree_flatten(given)
    leaves, expected = pytree.tree_flatten(x)
    right = spec == expected and all(isinstance(one, Tensor) for one in found)
    return right and [one.shape for one in found] == [leaf.shape for leaf in leaves]


def _like(given: Tensor, leaf: Tensor) -> Tensor:
    return given.to(leaf.device, leaf.dtype)
