"""Temporal integrated gradients (Enguehard 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, ModelError, describe
from attrfunc.core.loops.chunks import Work, added, in_chunks, joined
from attrfunc.core.loops.plan import planned
from attrfunc.core.loops.progress import Progress
from attrfunc.core.loops.quadrature import quadrature
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.method import each_layer, method, open_problem
from attrfunc.core.score.point import Point
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model

__all__ = ["temporal_ig"]


@method
@each_layer
def temporal_ig(
    model: Model,
    x: Any,
    *,
    dim: int = 1,
    baseline: Baseline = None,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    n_steps: int = 20,
    method: str = "gausslegendre",
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """The gradient along a path that goes from the baseline to the input one time after the other.

    At time t, `(x_t - b_t) * integral of the gradient by it`, where what came before is as in the input, what comes
    after is as in the baseline, and time t itself moves on a straight line. So what a time adds is told beside the past
    that it had, and never beside a future that it did not know.

    Args:
        model: A module, any callable, or a view of one.
        x: Sequences, a tensor `(B, *S)` with a dimension of time, or a structure of them of equally many times.
        dim: The dimension of time: 1 in `(B, T, features)`, -1 in `(B, channels, T)`.
        baseline: Where the path starts; see `attrfunc.core.score.baseline`.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        n_steps: Number of points on each of the T parts of the path: `n_steps * T` gradients are taken.
        method: The rule that places and weighs them; see `attrfunc.core.loops.quadrature`.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Attributions in units of the score, with the structure and shapes of `x` (or of the layer's activation; for a
        list of layers, a list). *Completeness*: those until time t sum to the score of the input until then, and the
        baseline from there on, less the baseline's, up to the error of the rule; all to `score(x) - score(baseline)`.

    Raises:
        ArgumentError: If an argument cannot be right, or a tensor has no such dimension.
        ModelError: If the score is not finite, examples are not scored apart, or torch.func cannot trace the model.

    Example:
        >>> rnn = torch.nn.GRU(3, 4, batch_first=True)
        >>> score = lambda sequence: rnn(sequence)[0][:, -1].sum(1)
        >>> x = torch.randn(5, 7, 3)
        >>> attributions = af.temporal_ig(score, x)
        >>> af.completeness_gap(score, x, attributions).abs().max() < 1e-4
        tensor(True)

    Reference:
        Enguehard: Time Interpret: a Unified Model Interpretability Library for Time Series, 2023.
        https://arxiv.org/abs/2306.02968
    """
    nodes, weights = quadrature(method, n_steps)
    problem = planned(open_problem(model, x, target, args, kwargs), chunk_size, share=False)
    start, end = problem.endpoints(baseline)
    rows = problem.inputs.rows
    if not problem.plan.apart or any(leaf.dim() == 0 or leaf.shape[0] != rows for leaf in end.leaves):
        raise ModelError(
            "each example is a sequence of its own, but examples are not apart: their scores depend on each other, or "
            "the layer's activation does not have them in dimension 0. Choose another layer."
        )
    times = _times(end, dim)

    def visit(rows: slice, chosen: slice) -> list[Tensor]:
        part, numbers = problem.at(rows), range(times * n_steps)[chosen]
        now = torch.tensor([number // n_steps for number in numbers])
        place = torch.tensor([nodes[number % n_steps] for number in numbers], dtype=torch.float64)
        weight = torch.tensor([weights[number % n_steps] for number in numbers], dtype=torch.float64)
        present = (torch.arange(times) == now[:, None]).double()  # which time moves (K, T)
        seen = (torch.arange(times) < now[:, None]) + present * place[:, None]
        pairs = [(low[rows], high[rows] - low[rows]) for low, high in zip(start.leaves, end.leaves, strict=True)]
        _, slopes = part.gradients(end.like([low + _over(seen, way, dim) * way for low, way in pairs]))
        shares = present * weight[:, None]
        return [(_wide(slope) * _over(shares, _wide(slope[0]), dim)).sum(0)[None] for slope in slopes]

    chunks = in_chunks(Work.of(problem), times * n_steps, visit, added, chunk_size=chunk_size, progress=progress)
    ways = [high - low for low, high in zip(start.leaves, end.leaves, strict=True)]
    return end.restored([mean[0].to(way.dtype) * way for mean, way in zip(joined(chunks, dim=1), ways, strict=True)])


def _times(point: Point, dim: int) -> int:
    """How many times the sequences have."""
    lengths = set()
    for leaf in point.leaves:
        if not isinstance(dim, int) or isinstance(dim, bool) or not -leaf.dim() < dim < leaf.dim() or dim == 0:
            raise ArgumentError(
                "dim",
                f"{describe(dim)} for a tensor of shape {tuple(leaf.shape)}",
                "a dimension behind that of the examples",
                "Pass dim=1 for (B, T, features), dim=-1 for (B, channels, T).",
            )
        lengths.add(leaf.shape[dim])
    if len(lengths) != 1:
        got = ", ".join(str(tuple(leaf.shape)) for leaf in point.leaves)
        fix = "Give what has no time, or another one, in args=."
        raise ArgumentError("x", f"tensors of shapes {got}", f"equally many times in dimension {dim}", fix)
    return lengths.pop()


def _over(values: Tensor, leaf: Tensor, dim: int) -> Tensor:
    """Numbers `(K, T)` beside points `(K, *leaf)`."""
    shape = [1] * leaf.dim()
    shape[dim] = values.shape[1]
    return values.to(leaf.device, leaf.dtype).view(len(values), *shape)


def _wide(values: Tensor) -> Tensor:
    """In single precision at least."""
    return values.float() if values.dtype.itemsize < 4 else values
