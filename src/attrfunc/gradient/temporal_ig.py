"""Temporal integrated gradients (Enguehard 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrfunc.core.loops.progress import Progress
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.method import each_layer, method, open_problem
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model
from attrfunc.gradient.paths.sequence import time_by_time

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
    return time_by_time(
        open_problem(model, x, target, args, kwargs),
        baseline,
        beside="past",
        dim=dim,
        n_steps=n_steps,
        method=method,
        chunk_size=chunk_size,
        progress=progress,
    )
