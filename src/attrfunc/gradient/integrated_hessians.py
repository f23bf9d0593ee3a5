"""Integrated Hessians (Janizek et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, ModelError, warn
from attrfunc.core.loops.chunks import Work, added, in_chunks, joined, weighted_sum
from attrfunc.core.loops.progress import Progress
from attrfunc.core.model.engines import Tape, functional, known, no_saved_tensor_hooks, on_tape
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.method import each_layer, method, open_problem
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model
from attrfunc.gradient.paths.double import double_quadrature
from attrfunc.gradient.paths.segment import Segment

__all__ = ["integrated_hessians"]

MOST = 2**30  # numbers in the result: 4 GiB of them in single precision
GAP = 0.1  # the share of the score's change that may be missing without a warning


@method
@each_layer
def integrated_hessians(
    model: Model,
    x: Any,
    *,
    baseline: Baseline = None,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    n_steps: int = 50,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Tensor:
    """What pairs of features bring together: the integrated gradients of integrated gradients.

    For `i != j` it is `(x_i - b_i) (x_j - b_j)` times the mean over s and t in [0, 1] of `s t` times the second
    derivative at `b + s t (x - b)`; for `i = j` the mean of `(x_i - b_i)` times the first derivative there is added.
    Both are means over `s t` alone, so that n points do what n * n would.

    The score has to be smooth. The second derivative of a ReLU is zero wherever there is one, so that networks of ReLUs
    lose their interactions: put softplus in place of ReLU, as the paper does. Where much is lost, a warning says so.
    For the expectation over a distribution of baselines, map over them:
    `torch.vmap(lambda b: af.integrated_hessians(model, x, baseline=b))(baselines).mean(0)`.

    Args:
        model: A module, any callable, or a view of one.
        x: The input, a tensor `(B, *S)` or a structure of them.
        baseline: Where the paths start; see `attrfunc.core.score.baseline`.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        n_steps: Number of points on the path. Each costs one backward pass for each of the F features.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Interactions `(B, F, F)` in units of the score, symmetric, where F counts the elements of one example, row by
        row and tensor by tensor (of the layer's activation; for a list of layers, a list). *Completeness*: those of
        feature i sum to its integrated gradient, and all to `score(x) - score(baseline)`.

    Raises:
        ArgumentError: If an argument cannot be right, or there are too many features for all their pairs.
        ModelError: If the score is not finite, examples are not scored apart, or the model has no second derivative.

    Example:
        >>> pairs = af.integrated_hessians(lambda x: x[:, 0] * x[:, 1] + x[:, 2], torch.ones(1, 3))
        >>> (pairs[0] * 4).round().abs() / 4
        tensor([[0.2500, 0.2500, 0.0000],
                [0.2500, 0.2500, 0.0000],
                [0.0000, 0.0000, 1.0000]])

    Reference:
        Janizek, Sturmfels, Lee: Explaining Explanations: Axiomatic Feature Interactions for Deep Networks, JMLR 2021.
        https://arxiv.org/abs/2002.04138
    """
    nodes, weights = double_quadrature(n_steps)
    if torch.compiler.is_compiling():
        raise ModelError(
            "a compiler does not trace second derivatives. Call integrated_hessians outside of torch.compile."
        )
    problem = open_problem(model, x, target, args, kwargs)
    # Fused attention has no second derivative.
    problem = replace(problem, plan=replace(problem.plan, plain_attention=True))
    path = Segment.of(problem, baseline, 2, chunk_size, share=False)
    for _ in range(2 if functional() else 0):
        path.problem.twin.restore()  # copies that are first made on a tape, two levels further in, end with that
    features = _features(path)
    factors = path.factors([weights, [node * weight for node, weight in zip(nodes, weights, strict=True)]])

    def visit(rows: slice, chosen: slice) -> list[Tensor]:
        first, second = _derivatives(path.at(rows), nodes[chosen], features, factors[:, chosen])
        return [first[None], second[None]]  # the examples are in dimension 1

    work = Work.of(path.problem)
    first, second = joined(in_chunks(work, n_steps, visit, added, chunk_size=chunk_size, progress=progress), dim=1)
    step = torch.cat([leaf.flatten(1) if leaf.dim() > 1 else leaf[:, None] for leaf in path.displacement], 1)
    wide = step.to(first.dtype)
    pairs = wide[:, :, None] * wide[:, None, :] * second[0] + torch.diag_embed(wide * first[0])
    _warn_of_a_gap(path, pairs)
    return pairs.to(step.dtype)


def _features(path: Segment) -> int:
    """How many numbers an example of the point has."""
    rows = path.problem.inputs.rows
    if not path.problem.plan.apart or any(leaf.dim() == 0 or leaf.shape[0] != rows for leaf in path.start.leaves):
        raise ModelError(
            "interactions are those of features of one example, but examples are not apart here: their scores depend "
            "on each other, or the layer's activation does not have them in dimension 0. Choose another layer, or "
            "attribute one example at a time."
        )
    count = sum(leaf.shape[1:].numel() for leaf in path.start.leaves)
    if rows * count**2 > MOST:
        raise ArgumentError(
            "x",
            f"{rows} example(s) of {count} features, which have {rows * count**2:,} pairs",
            f"at most {MOST:,} pairs",
            "Attribute at a layer of fewer units, fewer examples at a time, or af.shapley_interactions of groups.",
        )
    return count


def _derivatives(path: Segment, nodes: Sequence[float], features: int, factors: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted sums over some points of the first derivatives `(B, F)`, and of the second `(B, F, F)`."""
    points = path.points(nodes)

    def flat(leaves: Sequence[Tensor]) -> Tensor:
        return torch.cat([leaf.flatten(2) if leaf.dim() > 2 else leaf[..., None] for leaf in leaves], 2)

    def run(leaves: list[Tensor], tape: Tape) -> list[Tensor]:
        _, gradients = path.problem.gradients(points.like(leaves))
        first = flat(gradients)
        rows = []
        for feature in range(features):
            second = tape.gradient(first[..., feature], leaves, again=feature < features - 1)
            rows.append(weighted_sum(factors[1:], flat(second))[0])
        return [weighted_sum(factors[:1], first)[0], torch.stack(rows, 1)]

    # What a checkpoint runs again in a backward pass, it would run with fused attention.
    with no_saved_tensor_hooks():
        first, second = on_tape(run, points.leaves, closed=path.problem.closed)
    return first, second


def _warn_of_a_gap(path: Segment, pairs: Tensor) -> None:
    """Warn where the interactions miss a part of the score's change, as those of ReLUs do."""
    if torch.compiler.is_compiling():
        return
    with torch.no_grad():
        change = path.score_change().to(pairs.dtype)
        missed = (pairs.sum((1, 2)) - change).abs()
        size = change.abs() + pairs.abs().sum((1, 2))
        if known((missed > GAP * size).any()):
            warn(
                f"the interactions miss more than {GAP:.0%} of the score's change. If the model has ReLUs, which have "
                "no second derivative, put softplus in their place; otherwise raise n_steps."
            )
