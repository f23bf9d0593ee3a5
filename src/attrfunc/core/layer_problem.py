"""The problem of a layer view: activations are the point, the rest of the network is the score."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.baseline import ActivationBaseline, resolve_baseline
from attrfunc.core.errors import ModelError
from attrfunc.core.inputs import Inputs
from attrfunc.core.meter import Meter
from attrfunc.core.problem import Held, Mode, Problem
from attrfunc.core.sites import Visit
from attrfunc.core.stateless import Twin
from attrfunc.core.transforms import differentiated, inside, known, pullback, require_finite
from attrfunc.core.trees import Restore, floats
from attrfunc.core.views import View
from attrfunc.core.visible import shifted

__all__ = ["LayerProblem"]

log = logging.getLogger("attrfunc")


class LayerProblem(Problem):
    """A view opened on an input, where the activations at one or several layers are the point."""

    def __init__(self, view: View, inputs: Inputs, twin: Twin, held: Held = (), mode: Mode = nullcontext) -> None:
        super().__init__(view, inputs, twin, held, mode)
        self._structure: list[tuple[slice, Restore]] = []
        self.shares_prefix = False  # until its cost is known, which it never is to a compiler
        self.unread = False  # nothing but the layers themselves reads the input

    def ends(self, baseline: Any, *, measure: bool = True) -> tuple[list[Tensor], list[Tensor]]:
        """The layers' activations at the baseline and at the input."""
        at_layer = isinstance(baseline, ActivationBaseline)
        resolved = self.inputs.x if at_layer else resolve_baseline(baseline, self.inputs.x)
        if torch.compiler.is_compiling() or not measure:
            end = self.point()
        else:
            with Meter() as meter:
                end = self._record(self.inputs.x, meter)
            self.shares_prefix = meter.prefix_is_worth_sharing()
            if self.shares_prefix:
                self._plain_attention = self._plain_attention or meter.fused_attention()
                self.shared_bytes = meter.before or 0
        if at_layer:
            start = floats(resolve_baseline(baseline.value, self.restore(end)))[0]
        else:
            structure = self._structure
            start = self._record(resolved, stop=True)
            self._structure = structure  # what is not attributed stays as it is at the input
        if self.view.joint:
            self._require_parallel(start, end)
        return start, end

    def point(self) -> list[Tensor]:
        """The layers' activations at the input."""
        return self._record(self.inputs.x)

    def observe(self) -> tuple[list[Tensor], Tensor]:
        """The layers' activations at the input, and the scores `(B,)`, from one forward pass."""
        point: dict[int, list[Tensor]] = {}
        scores, restores = self._run(self.inputs.fresh(), _kept(point))
        return self._flat(point, restores), scores

    def restore(self, point: list[Tensor]) -> Any:
        """A point in the structure of the layers' activations."""
        parts = [restore(point[places]) for places, restore in self._structure]
        return parts if self.view.several else parts[0]

    def structured_as(self, other: Problem) -> None:
        """Give points the structure that another problem of the same view has seen."""
        assert isinstance(other, LayerProblem)
        self._structure = other._structure

    def name(self, number: int) -> str:
        """The layer that a tensor of the point belongs to."""
        places = zip(self.view.sites, self._structure, strict=True)
        return next(site.name for site, (part, _) in places if number < part.stop)

    def places(self) -> list[slice]:
        """Where the tensors of each layer stand in a point."""
        return [places for places, _ in self._structure]

    def _like(self, view: View, inputs: Inputs) -> Problem:
        part = LayerProblem(view, inputs, self.twin, mode=self._mode)
        part._structure, part._plain_attention, part.unread = self._structure, self._plain_attention, self.unread
        if view is self.view:
            part.shares_prefix, part.shared_bytes = self.shares_prefix, self.shared_bytes
        return part

    def folded(self, points: list[Tensor]) -> tuple[Inputs, Held]:
        """What a run at K points `(K, *point)` takes: the activations are held there."""
        times = points[0].shape[0]
        flat = [leaf.flatten(0, 1) if times > 1 else leaf[0] for leaf in points]
        parts = zip(self.view.sites, self._structure, strict=True)
        held = [(site, restore(flat[places])) for site, (places, restore) in parts]
        return self._repeated(times), held

    def scores(self, points: list[Tensor]) -> Tensor:
        """Scores `(K, B)` of K points; by `vmap`, where what lies before the layers is worth running only once."""
        if self.shares_prefix:
            try:
                return torch.func.vmap(self._replaced)(points)
            except RuntimeError as error:
                log.debug("vmap failed, so the whole network runs on every path point: %s", error)
                self.shares_prefix = False
        times = points[0].shape[0]
        if self.whole or any(leaf.dim() < 2 or leaf.shape[1] != self.inputs.rows for leaf in points):
            return torch.stack([self._replaced([leaf[k] for leaf in points]) for k in range(times)])
        scores = self._replaced([leaf.flatten(0, 1) for leaf in points], self._repeated(times))
        return scores.view(times, self.inputs.rows)

    def _repeated(self, times: int) -> Inputs:
        """The inputs of a run with activations in place; they cost nothing where nothing reads them."""
        return self.inputs.blank().repeated(times) if self.unread else self.inputs.repeated(times).fresh()

    def pull_to_input(self, gradient: list[Tensor]) -> list[Tensor]:
        """This gradient at the activations, brought back to the input (a single tensor) through what lies before."""

        def weighted(x: list[Tensor]) -> Tensor:
            pairs = zip(gradient, self._record(x[0]), strict=True)
            return torch.stack([(slope * activation).sum() for slope, activation in pairs]).sum()

        return pullback(weighted, [self.inputs.x])[1]

    def gradient(self) -> tuple[list[Tensor], list[Tensor]]:
        """The activations at all layers, and the score's gradient with respect to each, from one forward pass."""
        if torch.compiler.is_compiling():
            # Dynamo does not trace autograd.grad. The prefix that runs twice here is one to the compiler.
            point = self._record(self.inputs.x)
            zeros = [torch.zeros_like(leaf) for leaf in point]
            return point, pullback(lambda deltas: self._shifted(deltas)[0].sum(), zeros)[1]

        wanted = torch.is_grad_enabled()

        def trace(zero: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
            scores, point = self._shifted(zero)
            score = scores.sum() + zero
            graph = wanted and differentiated(inside(score))
            gradient = torch.autograd.grad(score, point, create_graph=graph, allow_unused=True, materialize_grads=True)
            return point, list(gradient), score

        # Adding a zero ties the activations to this level of torch.func before their shapes are known.
        device = pytree.tree_leaves(self.inputs.x)[0].device
        with torch.enable_grad():  # as in pullback
            (point, gradient, score), _ = torch.func.vjp(trace, torch.zeros((), device=device))  # type: ignore[misc]
        require_finite(score)
        if wanted:
            return point, gradient
        return [leaf.detach() for leaf in point], [leaf.detach() for leaf in gradient]

    def _shifted(self, shift: Tensor | list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Scores with `shift` added to the activations, and the activations."""
        point: dict[int, list[Tensor]] = {}

        def add(number: int, tensors: list[Tensor]) -> list[Tensor]:
            if isinstance(shift, list):
                shifts = shift[self._structure[number][0]]
            else:
                shifts = [shift.to(leaf) for leaf in tensors]
            point[number] = [shifted(leaf, delta) for leaf, delta in zip(tensors, shifts, strict=True)]
            return [leaf.clone() for leaf in point[number]]  # what goes on may be changed in place

        scores, restores = self._run(self.inputs.fresh(), add)
        return scores, self._flat(point, restores)

    def _replaced(self, point: list[Tensor], inputs: Inputs | None = None) -> Tensor:
        """Scores with the activations replaced by `point`."""
        given = {number: restore(point[places]) for number, (places, restore) in enumerate(self._structure)}
        visit = lambda number, _: point[self._structure[number][0]]  # noqa: E731
        return self._run(inputs or self._repeated(1), visit, given)[0]

    def _record(self, x: Any, meter: Meter | None = None, *, stop: bool = False) -> list[Tensor]:
        """The activations at `x`; the meter, if given, is told when the first of them is reached."""
        point: dict[int, list[Tensor]] = {}
        _, restores = self._outputs(replace(self.inputs, x=x).fresh(), _kept(point, meter), stop=stop)
        return self._flat(point, restores)

    def _flat(self, point: dict[int, list[Tensor]], restores: list[Restore]) -> list[Tensor]:
        """The layers' tensors in one list, in the order in which the layers were named."""
        flat: list[Tensor] = []
        self._structure = []
        for number, restore in enumerate(restores):
            self._structure.append((slice(len(flat), len(flat) + len(point[number])), restore))
            flat += point[number]
        return flat

    def _require_parallel(self, start: list[Tensor], end: list[Tensor]) -> None:
        """Raise if one of the layers feeds another: to replace both would cut the first off from the score."""

        def replace_and_compare(number: int, tensors: list[Tensor]) -> list[Tensor]:
            places = self._structure[number][0]
            for now, then in zip(tensors, end[places], strict=True):
                if known(((now - then).abs() > 1e-4 * (1 + then.abs())).any()):
                    name = self.view.sites[number].name
                    raise ModelError(
                        f"layer {name!r} depends on another layer of the list, so they cannot be one point. Attribute "
                        "to them one by one: each by itself, or a list without joint=True."
                    )
            return [leaf.clone() for leaf in start[places]]

        self._run(self.inputs.fresh(), replace_and_compare)


def _kept(point: dict[int, list[Tensor]], meter: Meter | None = None) -> Visit:
    """A visit that keeps the activations, and tells the meter, if given, when the first of them is reached."""

    def keep(number: int, tensors: list[Tensor]) -> list[Tensor]:
        if meter is not None:
            meter.mark()
        point[number] = tensors
        return [leaf.clone() for leaf in tensors]  # what goes on may be changed in place

    return keep
