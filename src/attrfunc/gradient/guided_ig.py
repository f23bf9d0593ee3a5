"""Guided integrated gradients (Kapishnikov et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, ModelError, describe, positive
from attrfunc.core.loops.examples import baseline_at, by_examples
from attrfunc.core.loops.plan import planned
from attrfunc.core.loops.progress import Progress
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.method import each_layer, method, open_problem
from attrfunc.core.score.point import Point
from attrfunc.core.score.problem import Problem
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model

__all__ = ["guided_ig"]


@method
@each_layer
def guided_ig(
    model: Model,
    x: Any,
    *,
    baseline: Baseline = None,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    n_steps: int = 200,
    fraction: float = 0.25,
    max_distance: float = 0.02,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """The gradient summed along a path that moves the features with the smallest derivatives first.

    Each step takes an equal part of the way from the baseline, in the sum of absolute changes: the `fraction` of the
    features with the smallest derivatives moves, as far as it may, then the next, until the part is taken. The path
    avoids steep places, which are noise where features are many. No feature may be further than `max_distance` from
    the straight line: at step t, between the places `t - max_distance` and `t + max_distance` on it.

    Args:
        model: A module, any callable, or a view of one.
        x: The input, a tensor `(B, *S)` or a structure of them; each example has a path of its own.
        baseline: Where the path starts; see `attrfunc.core.score.baseline`.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        n_steps: Number of steps, each with one gradient after the other.
        fraction: Which share of the features moves at once, above 0 and at most 1.
        max_distance: How far features may be from the straight line, as a share of it, from 0 (integrated gradients by
            the left rule) to 1 (anywhere).
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Attributions in units of the score, with the structure and shapes of `x` (or of the layer's activation; for a
        list of layers, a list). *Completeness*: they sum to `score(x) - score(baseline)`, up to the error of steps of
        `1 / n_steps`, which `completeness_gap` measures.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If the score is not finite, examples are not scored apart, or torch.func cannot trace the model.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
        >>> x = torch.ones(5, 3)
        >>> attributions = af.guided_ig(model, x, target=1)
        >>> af.completeness_gap(model, x, attributions, target=1).abs().max() < 0.02
        tensor(True)

    Reference:
        Kapishnikov, Venugopalan, Avci, Wedin, Terry, Bolukbasi: Guided Integrated Gradients: an Adaptive Path Method
        for Removing Noise, CVPR 2021.
        https://arxiv.org/abs/2106.09788
    """
    steps, share = positive("n_steps", n_steps), _within("fraction", fraction)
    distance = _within("max_distance", max_distance)
    if share == 0:
        raise ArgumentError("fraction", "0", "a number above 0 and at most 1", "The paper's is 0.25.")

    def attribute(part: Problem, rows: slice) -> Any:
        start, end = part.endpoints(baseline_at(baseline, x, rows, problem.inputs.rows))
        if not part.plan.apart or any(leaf.dim() == 0 or leaf.shape[0] != part.inputs.rows for leaf in end.leaves):
            raise ModelError(
                "each example has a path of its own, but examples are not apart: their scores depend on each other, or "
                "the layer's activation does not have them in dimension 0. Choose another layer, or af.ig."
            )
        return end.restored(_along(part, start, end, steps, share, distance))

    problem = planned(open_problem(model, x, target, args, kwargs), chunk_size, share=False)
    return by_examples(problem, attribute, chunk_size, progress)


def _along(problem: Problem, start: Point, end: Point, steps: int, fraction: float, distance: float) -> list[Tensor]:
    """The attributions, from one step after another."""
    low, high = _flat(start.leaves), _flat(end.leaves)
    way, place = high - low, torch.zeros_like(low)  # where each feature is between both ends
    total = torch.zeros_like(low)
    for step in range(steps):
        point = end.like([leaf[None] for leaf in _unflat(low + place * way, end)])
        slope = _flat([leaf[0] for leaf in problem.gradients(point)[1]])
        at = (step + 1) / steps
        nearest, furthest = max(at - distance, 0.0), min(at + distance, 1.0)
        following = _moved(place, way.abs(), slope.abs(), at, nearest, furthest, fraction)
        total = total + slope * (following - place) * way
        place = following
    return [leaf.to(like.dtype) for leaf, like in zip(_unflat(total, end), end.leaves, strict=True)]


def _moved(
    place: Tensor, sizes: Tensor, slope: Tensor, at: float, nearest: float, furthest: float, fraction: float
) -> Tensor:
    """Where features are after a step: all of the way that is left of `1 - at` is left.

    Args:
        place: Where they are `(B, F)`, from 0 at the baseline to 1 at the input.
        sizes: How long the way of each is.
        slope: The size of its derivative.
        at: How far the step goes.
        nearest: No feature may be nearer to the baseline,
        furthest: and none further.
        fraction: The share of the features that moves at once.
    """
    count = sizes.shape[1]
    block = max(1, math.floor(fraction * (count - 1)) + 1)
    place = place.clamp(min=nearest)
    left = (sizes * (1 - place)).sum(1) - (1 - at) * sizes.sum(1)  # of the way, to be taken in this step
    # Those that are there already come last.
    order = slope.masked_fill((place >= furthest) | (sizes == 0), math.inf).argsort(1)
    room = ((furthest - place).clamp(min=0) * sizes).gather(1, order)
    blocks = torch.nn.functional.pad(room, (0, -count % block)).unflatten(1, (-1, block)).sum(2)
    before = blocks.cumsum(1) - blocks
    share = ((left[:, None] - before) / blocks.masked_fill(blocks == 0, 1)).clamp(0, 1)  # how far each block moves
    ordered = share.repeat_interleave(block, 1)[:, :count]
    each = torch.zeros_like(ordered).scatter(1, order, ordered)
    return place + each * (furthest - place).clamp(min=0)


def _flat(leaves: Sequence[Tensor]) -> Tensor:
    """All features of each example `(B, F)`, in single precision at least."""
    flat = torch.cat([leaf.flatten(1) if leaf.dim() > 1 else leaf[:, None] for leaf in leaves], 1)
    return flat.float() if flat.dtype.itemsize < 4 else flat


def _unflat(flat: Tensor, like: Point) -> list[Tensor]:
    parts = flat.split([leaf.shape[1:].numel() for leaf in like.leaves], 1)
    return [part.reshape(leaf.shape).to(leaf.dtype) for part, leaf in zip(parts, like.leaves, strict=True)]


def _within(name: str, value: float) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 1:
        raise ArgumentError(name, describe(value), "a number from 0 to 1", f"Leave out {name} for the paper's.")
    return float(value)
