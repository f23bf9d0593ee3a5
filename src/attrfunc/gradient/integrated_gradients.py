"""Integrated gradients (Sundararajan et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrfunc.core.baseline import Baseline
from attrfunc.core.method import each_layer, method, open_problem
from attrfunc.core.progress import Progress
from attrfunc.core.quadrature import quadrature
from attrfunc.core.segment import Segment
from attrfunc.core.target import Target
from attrfunc.core.views import Model

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
    multiply_by_inputs: bool = True,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """The gradient averaged along the straight line from the baseline, times the way.

    `(x - b) * integral of the gradient at b + t (x - b) over t in [0, 1]`.

    Args:
        model: A module, any callable, or a view of one.
        x: The input, a tensor `(B, *S)` or a structure of them.
        baseline: Where the path starts; see `attrfunc.core.baseline`.
        target: Which output is attributed; see `attrfunc.core.target`.
        args: Further positional arguments of the model; see `attrfunc.core.inputs`.
        kwargs: Keyword arguments of the model.
        n_steps: Number of points on the path.
        method: The rule that places and weighs them; see `attrfunc.core.quadrature`.
        multiply_by_inputs: `False` gives the average gradient itself.
        chunk_size: Rows evaluated at once; see `attrfunc.core.evaluate`.
        progress: Whether and how to report; see `attrfunc.core.evaluate`.

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
    """
    nodes, weights = quadrature(method, n_steps)
    problem = open_problem(model, x, target, args, kwargs)
    path = Segment(problem, baseline, n_steps)
    average = path.average_gradient(nodes, weights, chunk_size=chunk_size, progress=progress)
    return problem.restore(
        [mean * way if multiply_by_inputs else mean for mean, way in zip(average, path.way, strict=True)]
    )


ig = integrated_gradients
