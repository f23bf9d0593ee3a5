"""Sequential integrated gradients (Enguehard 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrfunc.core.loops.progress import Progress
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.method import each_layer, method, open_problem
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model
from attrfunc.gradient.paths.sequence import time_by_time

__all__ = ["sequential_ig"]


@method
@each_layer
def sequential_ig(
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
    """Integrated gradients of each time, or word, beside all others as they are.

    At time t, `(x_t - b_t) * integral of the gradient by it`, where time t alone moves from its baseline to the input.
    So the model always reads the sentence itself, with one word on its way in, and never one that is half baseline.

    Args:
        model: A module, any callable, or a view of one.
        x: Sequences, a tensor `(B, *S)` with a dimension of time, or a structure of them of equally many times.
        dim: The dimension of time: 1 in `(B, T, features)`, -1 in `(B, channels, T)`.
        baseline: Where the path starts; see `attrfunc.core.score.baseline`.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        n_steps: Number of points of each time: `n_steps * T` gradients are taken.
        method: The rule that places and weighs them; see `attrfunc.core.loops.quadrature`.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Attributions in units of the score, with the structure and shapes of `x` (or of the layer's activation; for a
        list of layers, a list). *Completeness* of each time: its attributions sum to what the score loses when that
        time alone is set to the baseline, up to the error of the rule. All together sum to no change of the score; the
        paper divides those of an example by their Euclidean norm, for comparison with others.

    Raises:
        ArgumentError: If an argument cannot be right, or a tensor has no such dimension.
        ModelError: If the score is not finite, examples are not scored apart, or torch.func cannot trace the model.

    Example:
        >>> rnn = torch.nn.GRU(3, 4, batch_first=True)
        >>> score = lambda sequence: rnn(sequence)[0][:, -1].sum(1)
        >>> x = torch.randn(5, 7, 3)
        >>> without = x.clone()
        >>> without[:, 2] = 0
        >>> of_one = af.sequential_ig(score, x)[:, 2].sum(1)
        >>> torch.allclose(of_one, score(x) - score(without), atol=1e-4)
        True

    Reference:
        Enguehard: Sequential Integrated Gradients: a Simple but Effective Method for Explaining Language Models, 2023.
        https://arxiv.org/abs/2305.15853
    """
    return time_by_time(
        open_problem(model, x, target, args, kwargs),
        baseline,
        beside="all",
        dim=dim,
        n_steps=n_steps,
        method=method,
        chunk_size=chunk_size,
        progress=progress,
    )
