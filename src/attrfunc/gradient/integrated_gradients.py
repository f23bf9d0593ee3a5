"""Integrated gradients (Sundararajan et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from attrfunc.core.errors import positive
from attrfunc.core.loops.chunks import added
from attrfunc.core.loops.progress import Progress
from attrfunc.core.loops.quadrature import nested_weights, quadrature
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.method import each_layer, method, open_problem
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model
from attrfunc.gradient.paths.segment import Segment
from attrfunc.gradient.paths.tolerance import level_count, refine

__all__ = ["ig", "integrated_gradients"]


@method
@each_layer
def integrated_gradients(
    model: Model,
    x: Any,
    *,
    baseline: Baseline = None,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    n_steps: int = 50,
    method: str = "gausslegendre",
    tolerance: float | None = None,
    max_steps: int = 1023,
    multiply_by_inputs: bool = True,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """The gradient averaged along the straight line from the baseline, times the way.

    `(x - b) * integral of the gradient at b + t (x - b) over t in [0, 1]`.

    Args:
        model: A module, any callable, or a view of one.
        x: The input, a tensor `(B, *S)` or a structure of them.
        baseline: Where the path starts; see `attrfunc.core.score.baseline`.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        n_steps: Number of points on the path.
        method: The rule that places and weighs them; see `attrfunc.core.loops.quadrature`.
        tolerance: Take as many points as each example needs for a gap of at most this; see
            `attrfunc.core.loops.quadrature`.
        max_steps: Where to stop with a tolerance.
        multiply_by_inputs: `False` gives the average gradient itself.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Attributions in units of the score, with the structure and shapes of `x` (or of the layer's activation; for a
        list of layers, a list). *Completeness*: they sum to `score(x) - score(baseline)`, up to the error of the rule,
        which `completeness_gap` measures.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If the score is not finite, or torch.func cannot trace the model.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
        >>> x = torch.ones(5, 3)
        >>> attributions = af.ig(model, x, baseline=0.5, target=1)
        >>> af.completeness_gap(model, x, attributions, baseline=0.5, target=1).abs().max() < 1e-5
        tensor(True)

    Reference:
        Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks, ICML 2017.
        https://arxiv.org/abs/1703.01365
    """
    nodes, weights = quadrature(method, n_steps, tolerance)
    problem = open_problem(model, x, target, args, kwargs)
    path = Segment.of(problem, baseline, n_steps if tolerance is None else positive("max_steps", max_steps), chunk_size)
    if tolerance is None:
        sums = path.gradient_sums(nodes, [weights], chunk_size=chunk_size, progress=progress)
        average = [total[0].to(leaf.dtype) for total, leaf in zip(sums, path.start.leaves, strict=True)]
    else:
        average = _refined(path, tolerance, max_steps, chunk_size=chunk_size, progress=progress)
    average, outer = path.pulled(average), path.outer
    pairs = zip(average, outer.displacement, strict=True)
    return outer.start.restored([mean * step if multiply_by_inputs else mean for mean, step in pairs])


def _refined(
    path: Segment, tolerance: float, max_steps: int, *, chunk_size: int | None, progress: Progress
) -> list[Tensor]:
    """The average gradient, with as many points as each example needs.

    A point weighs differently at each level, so there is a running sum for each level that is still to come.
    """
    levels, change = level_count(max_steps), path.score_change()

    def evaluate(rows: Tensor, level: int, nodes: Sequence[float]) -> list[Tensor]:
        weights = [nested_weights(level, later) for later in range(levels)]
        return path.at(rows).gradient_sums(nodes, weights, chunk_size=chunk_size, progress=progress)

    def estimate(rows: Tensor, level: int, sums: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        means = [total[level] for total in sums]
        parts = zip(means, path.displacement, strict=True)
        return means, sum((mean * step[rows]).flatten(1).sum(1) for mean, step in parts) - change[rows]

    average = refine(
        path.problem.inputs.rows,
        evaluate,
        estimate,
        added,
        tolerance=tolerance,
        max_steps=max_steps,
        separable=path.problem.plan.folds,
    )
    return [mean.to(leaf.dtype) for mean, leaf in zip(average, path.start.leaves, strict=True)]


ig = integrated_gradients
