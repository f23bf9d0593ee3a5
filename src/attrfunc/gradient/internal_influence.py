"""Internal influence (Leino et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrfunc.core.errors import positive
from attrfunc.core.loops.chunks import weighted_sum
from attrfunc.core.loops.progress import Progress
from attrfunc.core.loops.quadrature import quadrature
from attrfunc.core.model.sites import Calls, Layers, Side
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.method import each_layer, method, open_problem
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model
from attrfunc.gradient.paths.watched import Watched

__all__ = ["internal_influence"]


@method
@each_layer
def internal_influence(
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
    """The score's gradient at a layer, averaged while the input moves from the baseline.

    `integral of (score's gradient at the layer)` along the straight line from the baseline to the input.

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
        method: The rule that places and weighs them; see `attrfunc.core.loops.quadrature`.
        tolerance: Take as many points as each example needs for its `conductance` at this layer to be right to this,
            as explained there.
        max_steps: Where to stop with a tolerance.
        side: The layer's `"output"` or `"input"`.
        call: Which call of a layer that runs several times.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Gradients in units of the score per unit of the activation, with the structure and shapes of the layer's
        activation. Times the activation's change along a path on which the gradient is constant, they are the
        conductance (*distributional faithfulness*: they weigh the network's own behaviour along the path only).

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If the layer does not depend on the input, the score is not finite, or torch.func cannot trace the
            model.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
        >>> influence = af.internal_influence(model, torch.ones(5, 3), layer="1", target=1)
        >>> torch.allclose(influence, model[2].weight[1].expand(5, 4))  # linear behind the layer
        True

    Reference:
        Leino, Sen, Datta, Fredrikson, Li: Influence-Directed Explanations for Deep Convolutional Networks, ITC 2018.
        https://arxiv.org/abs/1802.03788
    """
    nodes, weights = quadrature(method, n_steps, tolerance)
    problem = open_problem(model, x, target, args, kwargs)
    count = n_steps if tolerance is None else positive("max_steps", max_steps)
    watched = Watched(problem, baseline, layer, side, call, count, chunk_size=chunk_size, progress=progress)
    if tolerance is None:
        return watched.end.restored(watched.gradient_sum(nodes, weights))
    mean = lambda weights, gradients, changes: [weighted_sum(weights[None], leaf)[0] for leaf in gradients]  # noqa: E731
    return watched.end.restored(watched.refined(mean, tolerance, max_steps))
