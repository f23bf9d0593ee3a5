"""Conductance (Dhamdhere et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrfunc.core.errors import positive
from attrfunc.core.loops.progress import Progress
from attrfunc.core.loops.quadrature import quadrature
from attrfunc.core.model.sites import Calls, Layers, Side
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.method import each_layer, method, open_problem
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model
from attrfunc.gradient.paths.watched import Watched, flow

__all__ = ["conductance"]


@method
@each_layer
def conductance(
    model: Model,
    x: Any,
    *,
    layer: Layers,
    baseline: Baseline = None,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    n_steps: int = 50,
    method: str = "gausslegendre",
    tolerance: float | None = None,
    max_steps: int = 1023,
    side: Side = "output",
    call: Calls = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """What flows through each unit of a layer while the input moves from the baseline: integrated gradients, split.

    `integral of (score's gradient at the layer) * d(activation)` along the straight line from the baseline to the
    input.

    The activation's change at each point is that of the polynomial through its values at all points, so no derivative
    of the network is taken forwards: every model that has a gradient has conductance. The changes sum to the whole
    change exactly, so the result is exact where the score is linear behind the layer, and converges as fast as the
    quadrature does on smooth networks.

    Args:
        model: A module, any callable, or a view of one. The path is that of the view: of the input, or of a layer
            before those of `layer` (embeddings, say).
        x: The input, a tensor `(B, *S)` or a structure of them.
        layer: The layer whose units are attributed, by name or as a module; a list gives a list, from one pass.
        baseline: Where the path starts; see `attrfunc.core.score.baseline`.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        n_steps: Number of points on the path.
        method: The rule that places and weighs them; see `attrfunc.core.loops.quadrature`. With the `riemann` rules an
            activation is taken to be linear between points.
        tolerance: Take as many points as each example needs for a gap of at most this; see
            `attrfunc.core.loops.quadrature`.
            Where the layer is bypassed, the gap cannot close: an example is then done when twice the points change its
            attributions by no more than this, in sum.
        max_steps: Where to stop with a tolerance.
        side: The layer's `"output"` or `"input"`.
        call: Which call of a layer that runs several times.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`. Activations and gradients at all points
            are kept, for as many examples at a time.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Attributions in units of the score, with the structure and shapes of the layer's activation. *Completeness*:
        where nothing bypasses the layer, they sum to `score(x) - score(baseline)`, up to the error of the rule.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If the layer does not depend on the input, the score is not finite, or torch.func cannot trace the
            model.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
        >>> x = torch.ones(5, 3)
        >>> units = af.conductance(model, x, layer="1", target=1)
        >>> torch.allclose(units.sum(1), af.score_change(model, x, target=1), atol=1e-5)
        True

    Reference:
        Dhamdhere, Sundararajan, Yan: How Important Is a Neuron?, ICLR 2019.
        https://arxiv.org/abs/1805.12233
    """
    nodes, weights = quadrature(method, n_steps, tolerance)
    problem = open_problem(model, x, target, args, kwargs)
    count = n_steps if tolerance is None else positive("max_steps", max_steps)
    watched = Watched(problem, baseline, layer, side, call, count, chunk_size=chunk_size, progress=progress)
    if tolerance is None:
        units = watched.conductance(nodes, weights, smooth=method == "gausslegendre")
    else:
        units = watched.refined(lambda weights, gradients, changes: flow(gradients, changes), tolerance, max_steps)
    return watched.end.restored(units)
