"""Neuron conductance (Dhamdhere et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.loops.progress import Progress
from attrfunc.core.loops.quadrature import quadrature
from attrfunc.core.model.engines import Tape, on_tape, require_finite
from attrfunc.core.model.sites import Side
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.method import each_layer, method, open_problem
from attrfunc.core.score.places import Reading
from attrfunc.core.score.point import Point
from attrfunc.core.score.problem import Problem
from attrfunc.core.score.target import Index, Target, canonical, select
from attrfunc.core.score.views import Model
from attrfunc.gradient.paths.watched import Watched

__all__ = ["neuron_conductance"]


@method
@each_layer
def neuron_conductance(
    model: Model,
    x: Any,
    *,
    layer: str | nn.Module,
    neuron: Any,
    baseline: Baseline = None,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    n_steps: int = 50,
    method: str = "gausslegendre",
    multiply_by_inputs: bool = True,
    side: Side = "output",
    call: int | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """What flows from each input through one neuron to the score: integrated gradients, of that way only.

    `(x - b) * integral of (score's gradient at the neuron) * (the neuron's gradient at the input)` along the straight
    line from the baseline b to x.

    Args:
        model: A module, any callable, or a view of one, whose point is then attributed in place of the input.
        x: The input, a tensor `(B, *S)` or a structure of them.
        layer: The neuron's layer, by name or as a module.
        neuron: Which neuron, as in `attrfunc.neuron`; slices add several up, and so does a callable, which must be
            linear.
        baseline: Where the path starts; see `attrfunc.core.score.baseline`.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        n_steps: Number of points on the path.
        method: The rule that places and weighs them; see `attrfunc.core.loops.quadrature`.
        multiply_by_inputs: `False` leaves the factor `x - b` out.
        side: The neuron stands in the layer's `"output"` or `"input"`.
        call: Which call of a layer that runs several times.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Attributions in units of the score, with the structure and shapes of `x`. *Completeness*: they sum to the
        neuron's `conductance`, up to the error of the rule; summed over all neurons of a layer that nothing bypasses,
        they are integrated gradients.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If the layer does not depend on the input, the score is not finite, or torch.func cannot trace the
            model.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
        >>> x = torch.ones(5, 3)
        >>> through = [af.neuron_conductance(model, x, layer="1", neuron=i, target=1) for i in range(4)]
        >>> torch.allclose(sum(through), af.ig(model, x, target=1), atol=1e-5)
        True

    Reference:
        Dhamdhere, Sundararajan, Yan: How Important Is a Neuron?, ICLR 2019.
        https://arxiv.org/abs/1805.12233
    """
    if not isinstance(layer, str | nn.Module):
        raise ArgumentError("layer", describe(layer), "one layer, by name or as a module", "Pass the neuron's layer.")
    if neuron is None:
        raise ArgumentError("neuron", "None", "an int, a tuple, a tensor or a callable", "Say which neuron.")
    nodes, weights = quadrature(method, n_steps)
    problem = open_problem(model, x, target, args, kwargs)
    watched = Watched(problem, baseline, layer, side, call, n_steps, chunk_size=chunk_size, progress=progress)
    path = watched.path
    # The neuron's index follows the examples as a target does.
    neurons = problem.inputs.aimed(canonical(neuron, problem.inputs.rows, "neuron"))
    select(watched.end.restored(), neurons.target, neurons.rows, "neuron")  # or an error that speaks of them

    def through(rows: slice, chosen: slice) -> list[Tensor]:
        part = path.at(rows)
        points = part.points(nodes[chosen])
        index = (neurons if rows == slice(None) else neurons.at(rows)).repeated(points.count).target
        return _through(watched, part.problem, points, index)

    sums = path.weighted_sums(through, [weights], chunk_size=chunk_size, progress=progress)
    average = path.pulled([total[0].to(leaf.dtype) for total, leaf in zip(sums, path.start.leaves, strict=True)])
    pairs = zip(average, path.outer.displacement, strict=True)
    return path.outer.start.restored([mean * step if multiply_by_inputs else mean for mean, step in pairs])


def _through(watched: Watched, problem: Problem, points: Point, neuron: Index) -> list[Tensor]:
    """The score's gradient at the neuron times the neuron's gradient at the points `(K, *point)`."""
    if torch.compiler.is_compiling():
        return _in_two_runs(watched, problem, points, neuron)

    def trace(leaves: list[Tensor], tape: Tape) -> tuple[list[Tensor], Tensor]:
        layers = watched.opened(problem, points.like(leaves))
        reading = Reading(watched.place, lambda number, tensors: [tape.watch(leaf) for leaf in tensors])
        scores = layers.scored(reading.edits())
        point = reading.point()
        chosen = select(point.restored(), neuron, layers.inputs.rows, "neuron")
        slopes, shares = (tape.gradient(value, point.leaves, again=True) for value in (scores, chosen))
        through = [slope * share for slope, share in zip(slopes, shares, strict=True)]
        found = tape.slopes(point.leaves, leaves, through)
        return [
            torch.zeros_like(leaf) if slope is None else slope for slope, leaf in zip(found, leaves, strict=True)
        ], scores

    gradient, scores = on_tape(trace, points.leaves, trained=problem.twin.trained)
    require_finite(scores)
    return gradient


def _in_two_runs(watched: Watched, problem: Problem, points: Point, neuron: Index) -> list[Tensor]:
    """The same for Dynamo, which does not trace autograd.grad."""
    layers = watched.opened(problem, points)
    point, _, slopes = layers.gradient()
    weights = point.restored(slopes)

    def weighted(activation: Any) -> Tensor:
        return select(pytree.tree_map(torch.mul, activation, weights), neuron, layers.inputs.rows, "neuron")

    aimed = problem.aimed(watched.place.sites[0], weighted)
    return aimed.gradients(points)[1]
