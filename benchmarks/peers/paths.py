"""Layers that are watched while the input moves: conductance, internal influence, neuron conductance.

Captum's conductance takes n_steps + 1 points, and attrfunc's the activations at both ends besides its n_steps points.
"""

from __future__ import annotations

import captum.attr as ca
import torch
from torch import Tensor

import attrfunc as af
from benchmarks.peers.gradients import chunks, watched
from benchmarks.task import Method, Result, Task

__all__ = ["CONDUCTANCE", "INTERNAL_INFLUENCE", "NEURON_CONDUCTANCE"]


def several(task: Task, results: list[Tensor]) -> Result:
    return results[0] if isinstance(task.layer, str) else results


def layers(task: Task) -> str | list[str]:
    return task.layer if isinstance(task.layer, str) else task.layers


def ours_conductance(task: Task) -> Result:
    return af.conductance(task.model, task.x, layer=layers(task), target=task.target, n_steps=task.count)


def captum_conductance(task: Task, rows: int | None) -> Result:
    options = {"target": task.target, "n_steps": task.count, "internal_batch_size": rows}
    places = map(task.model.get_submodule, task.layers)
    return several(task, [ca.LayerConductance(task.model, place).attribute(task.x, **options) for place in places])


def bare_conductance(task: Task, rows: int | None) -> Result:
    """The trapezoid rule for `integral of gradient * d(activation)`, at n_steps + 1 evenly spaced points."""
    count = max(1, rows // len(task.x)) if rows else task.count + 1
    totals: list[Tensor | float] = [0.0] * len(task.layers)
    last: list[tuple[Tensor, Tensor]] = []
    for nodes in torch.linspace(0, 1, task.count + 1).to(task.x).split(count):
        points = (nodes.view(-1, *[1] * task.x.ndim) * task.x).flatten(0, 1)
        found = [
            tuple(leaf.unflatten(0, (len(nodes), -1)) for leaf in both)
            for both in zip(*watched(task, points), strict=True)
        ]
        if last:
            found = [tuple(map(torch.cat, zip(*pair, strict=True))) for pair in zip(last, found, strict=True)]
        for i, (activation, gradient) in enumerate(found):
            totals[i] = totals[i] + ((gradient[1:] + gradient[:-1]) / 2 * activation.diff(dim=0)).sum(0)
        last = [(activation[-1:], gradient[-1:]) for activation, gradient in found]
    return several(task, totals)


def ours_influence(task: Task) -> Tensor:
    return af.internal_influence(task.model, task.x, layer=task.layer, target=task.target, n_steps=task.count)


def captum_influence(task: Task, rows: int | None) -> Tensor:
    method = ca.InternalInfluence(task.model, task.place)
    return method.attribute(task.x, target=task.target, n_steps=task.count, internal_batch_size=rows)


def bare_influence(task: Task, rows: int | None) -> Tensor:
    total: Tensor | float = 0.0
    for alphas, weights in chunks(task, rows):
        points = (alphas.view(-1, *[1] * task.x.ndim) * task.x).flatten(0, 1)
        gradient = watched(task, points)[1][0].unflatten(0, (len(alphas), -1))
        total = total + torch.tensordot(weights, gradient, 1)
    return total


def ours_neuron(task: Task) -> Tensor:
    options = {"layer": task.layer, "neuron": task.neuron, "target": task.target, "n_steps": task.count}
    return af.neuron_conductance(task.model, task.x, **options)


def captum_neuron(task: Task, rows: int | None) -> Tensor:
    # Its default rule, riemann_trapezoid, has weights that sum to (n - 1) / n.
    options = {"target": task.target, "n_steps": task.count, "method": "gausslegendre", "internal_batch_size": rows}
    return ca.NeuronConductance(task.model, task.place).attribute(task.x, task.neuron, **options)


CONDUCTANCE = Method(ours_conductance, captum_conductance, bare_conductance, check="fine")
INTERNAL_INFLUENCE = Method(ours_influence, captum_influence, bare_influence)
NEURON_CONDUCTANCE = Method(ours_neuron, captum_neuron, None)
