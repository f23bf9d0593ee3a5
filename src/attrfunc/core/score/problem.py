"""A problem: a view opened on an input. It reads the point that is attributed, and evaluates the score at others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import _pop_mode_temporarily
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, ModelError
from attrfunc.core.model.attention import TraceableAttention
from attrfunc.core.model.engines import (
    Tape,
    functional,
    known,
    no_saved_tensor_hooks,
    on_tape,
    require_finite,
    value_and_gradient,
)
from attrfunc.core.model.guard import Written
from attrfunc.core.model.sites import Site, run
from attrfunc.core.model.twin import Twin
from attrfunc.core.model.visible import scored, shifted
from attrfunc.core.score.baseline import ActivationBaseline, resolve_baseline
from attrfunc.core.score.cut import filled
from attrfunc.core.score.inputs import Inputs
from attrfunc.core.score.places import AtLayers, Edits, Reading
from attrfunc.core.score.point import Point
from attrfunc.core.score.target import BatchScore, Index, computes, select
from attrfunc.core.score.views import View
from attrfunc.core.trees import Rows, floats, map_rows

__all__ = ["Mode", "Plan", "Problem"]

Mode = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Plan:
    """How points are evaluated; what is not known to be right is not done.

    Attributes:
        apart: Whether the score of each example depends on it alone, and all that is looked at has the examples first.
        fixed: Whether the batch has to stay as it is: no other number of rows is right, or known to be.
        shares_prefix: Whether what lies before the layers runs once for several points, which are mapped by vmap.
        shared_bytes: What it allocates.
        row_bytes: What a forward and a backward pass of one example allocate; 0 if that is not known.
        plain_attention: Whether fused attention is written out, since a transform has no rule for it.
        unread: Whether nothing but the attributed layers reads the input.
        channels_last: Whether the input, images, is handed to the model with its channels last in memory.
        one_by_one: Whether the model is to see one example at a time.
    """

    apart: bool = False
    fixed: bool = False
    shares_prefix: bool = False
    shared_bytes: int = 0
    row_bytes: int = 0
    plain_attention: bool = False
    unread: bool = False
    channels_last: bool = False
    one_by_one: bool = False

    @property
    def folds(self) -> bool:
        """Whether several points may be one larger batch, and batches may be split."""
        return self.apart and not self.fixed


@dataclass(frozen=True)
class Problem:
    """A view opened on an input.

    Attributes:
        view: The view.
        inputs: The examples.
        twin: The stateless model.
        plan: How points are evaluated.
        edits: What is put at further sites.
        mode: Makes the context that the model and the selection of its score run in, if there is one.
        levels: Whether gradients are taken by torch.func in any case.
        closed: Whether nothing that a plain gradient goes through is the user's, as is known.
        recorded: Whether what is evaluated is recorded for such a gradient, which nobody else sees.
    """

    view: View
    inputs: Inputs
    twin: Twin
    plan: Plan
    edits: Edits = ()
    mode: Mode | None = None
    levels: bool = False
    closed: bool = False
    recorded: bool = False

    @property
    def whole(self) -> bool:
        """Whether the score is one number for the whole batch."""
        return isinstance(self.inputs.target, BatchScore)

    def point(self) -> Point:
        """The point at the input."""
        return self.view.place.read(self)

    def observe(self) -> tuple[Point, Tensor]:
        """The point at the input, and the scores `(B,)` there, from one forward pass."""
        if not isinstance(self.view.place, AtLayers):
            return self.point(), self.scored()
        if self.splits(self.inputs.rows):
            seen = [part.observe() for part in self.singles()]
            return Point.joined([point for point, _ in seen]), torch.cat([scores for _, scores in seen])
        reading = Reading(self.view.place)
        scores = self._run(self.inputs, reading.edits())
        return reading.point(), scores

    def endpoints(self, baseline: Any) -> tuple[Point, Point]:
        """The points at the baseline and at the input.

        Raises:
            ArgumentError: If the baseline does not fit.
            ModelError: If one of several layers feeds another: to replace both would cut the first off.
        """
        at_layer = isinstance(baseline, ActivationBaseline)
        if at_layer and not isinstance(self.view.place, AtLayers):
            raise ArgumentError(
                "baseline",
                "an activation_baseline for a view of the input",
                "a baseline of the input",
                "Pass its value itself, or a view of a layer: af.layer(model, ...).",
            )
        end = self.point()
        if at_layer:
            start = end.like(floats(resolve_baseline(baseline.value, end.restored()))[0])
        else:
            x = resolve_baseline(baseline, self.inputs.x)
            there = self.view.place.read(replace(self, inputs=replace(self.inputs, x=x)), stop=True)
            start = end.like(there.leaves)  # what is not attributed stays as it is at the input
        if [leaf.shape for leaf in start.leaves] != [leaf.shape for leaf in end.leaves]:
            raise ModelError(
                f"the activation at layer {end.parts[0].name!r} has another shape at the baseline than at the input, "
                "so there is no path between them. Choose another layer."
            )
        if self.view.place.joint is True:
            self._require_parallel(start, end)
        return start, end

    def scores(self, points: Point) -> Tensor:
        """Scores `(K, B)` of K points `(K, *point)`, which the model may overwrite; `(K, 1)` if whole."""
        count, place = points.count, self.view.place
        if count > 1 and self.plan.shares_prefix:
            return torch.func.vmap(lambda *leaves: self._at(points.like(leaves)))(*points.leaves)
        if count > 1 and not self.plan.folds:
            return torch.stack([self._at(points.one(number)) for number in range(count)])
        read = bool(place.sites) and not self.plan.unread  # or another input is put in its place
        inputs, folded = self.inputs.repeated(count, read=read), points.folded()
        if self.splits(inputs.rows):
            rows = [slice(number, number + 1) for number in range(inputs.rows)]
            singles = [place.put(inputs.at(row), folded.like([leaf[row] for leaf in folded.leaves])) for row in rows]
            return torch.cat([self._run(*single) for single in singles]).view(count, -1)
        return self._run(*place.put(inputs, folded, unread=self.plan.unread)).view(count, -1)

    def singles(self) -> list[Problem]:
        """The same problem for each example by itself."""
        return [self.at(slice(number, number + 1)) for number in range(self.inputs.rows)]

    def splits(self, rows: int) -> bool:
        """Whether so many rows are run one by one."""
        return self.plan.one_by_one and self.plan.folds and rows > 1 and not self.edits

    def gradients(self, points: Point) -> tuple[Tensor, list[Tensor]]:
        """Scores `(K, B)` of K points, and their gradients `(K, *point)`.

        Raises:
            ModelError: If a score is not finite, or there is no way for its gradient.
        """
        scores, slopes = self._sloped(points, lambda part, leaves: part.scores(points.like(leaves)))
        return scores, self._filled(points, scores, slopes)

    def _sloped(
        self, point: Point, score: Callable[[Problem, list[Tensor]], Tensor]
    ) -> tuple[Tensor, list[Tensor | None]]:
        """Scores, which are finite, and their gradients, None where there is no way."""
        part = self._recorded(point.leaves)
        trained = None if self.edits or self.view.sites else self.twin.trained
        options: Any = {"levels": self.levels, "closed": part.closed, "trained": trained}
        scores, slopes = value_and_gradient(lambda leaves: score(part, leaves), point.leaves, **options)
        require_finite(scores)
        return scores, slopes

    def _recorded(self, tensors: Sequence[Tensor] = ()) -> Problem:
        """The same problem, to be recorded; it is not closed if a plain gradient goes through one of these tensors."""
        closed = self.closed and not any(tensor.requires_grad for tensor in tensors)
        return replace(self, closed=closed, recorded=closed and not (self.levels or self.mode or functional()))

    def _filled(self, points: Point, scores: Tensor, slopes: Sequence[Tensor | None]) -> list[Tensor]:
        """Zeros where the score does not depend on a tensor at any of these points."""
        found = [slope for slope in slopes if slope is not None]
        if len(found) == len(slopes):
            return found
        for number in range(points.count):
            filled(
                self, points.one(number), scores[number], [None if slope is None else slope[number] for slope in slopes]
            )
        pairs = zip(slopes, points.leaves, strict=True)
        return [torch.zeros_like(leaf) if slope is None else slope for slope, leaf in pairs]

    def gradient(self) -> tuple[Point, Tensor, list[Tensor]]:
        """The point at the input, its scores `(B,)`, and their gradient there, from one forward pass."""
        place = self.view.place
        if not isinstance(place, AtLayers):
            point = self.point()
            scores, found = self._sloped(point, lambda part, leaves: part._at(point.like(leaves)))
            return point, scores, filled(self, point, scores, found)
        if torch.compiler.is_compiling():
            return self._traced_gradient()

        def trace(_: list[Tensor], tape: Tape) -> tuple[list[Tensor], Tensor, list[Tensor | None]]:
            reading = Reading(place, lambda number, tensors: [tape.watch(leaf) for leaf in tensors])
            scores = part._run(self.inputs, reading.edits())
            kept.append(reading.point())
            leaves = kept[0].leaves
            return leaves, scores, tape.slopes([scores], leaves, [torch.ones_like(scores)])

        part = self._recorded()
        kept: list[Point] = []
        device = pytree.tree_leaves(self.inputs.x)[0].device
        options: Any = {"levels": self.levels, "closed": self.closed, "trained": None}
        leaves, scores, found = on_tape(trace, [], device=device, **options)
        require_finite(scores)
        point = kept[0].like(leaves)
        return point, scores, filled(self, point, scores, found)

    def _traced_gradient(self) -> tuple[Point, Tensor, list[Tensor]]:
        """Dynamo does not trace autograd.grad. The prefix that runs twice here is one to the compiler."""
        place = self.view.place
        assert isinstance(place, AtLayers)
        point = self.point()

        def scores(deltas: list[Tensor]) -> Tensor:
            add = lambda number, tensors: list(map(shifted, tensors, deltas[point.parts[number].places]))  # noqa: E731
            return self._run(self.inputs, Reading(place, add).edits())

        values, found = value_and_gradient(scores, [torch.zeros_like(leaf) for leaf in point.leaves])
        pairs = zip(found, point.leaves, strict=True)
        return point, values, [torch.zeros_like(leaf) if slope is None else slope for slope, leaf in pairs]

    def pulled(self, gradient: list[Tensor]) -> list[Tensor]:
        """This gradient at the activations, brought back to the input (a single tensor) through what lies before."""
        part = self._recorded(gradient)

        def weighted(x: list[Tensor]) -> Tensor:
            activations = replace(part, inputs=replace(self.inputs, x=x[0])).point().leaves
            pairs = zip(gradient, activations, strict=True)
            return torch.stack([(slope * activation).sum() for slope, activation in pairs]).sum()

        (slope,) = value_and_gradient(weighted, [self.inputs.x], closed=part.closed)[1]
        return [torch.zeros_like(self.inputs.x) if slope is None else slope]

    def at(self, rows: Rows) -> Problem:
        """The same problem for some of the examples."""
        if isinstance(rows, slice) and rows == slice(None):
            return self
        return replace(self, inputs=self.inputs.at(rows))

    def repeated(self, times: int) -> Problem:
        """The same problem for the batch behind itself."""
        return replace(self, inputs=self.inputs.repeated(times))

    def varied(self, x: Any) -> Problem:
        """The same problem at K other inputs, which lie behind each other in the batch."""
        times = pytree.tree_leaves(x)[0].shape[0] // max(self.inputs.rows, 1)
        return replace(self, inputs=replace(self.inputs.repeated(times), x=x))

    def aimed(self, site: Site, selector: Index) -> Problem:
        """The same point with another score: what is selected from the activation at a layer."""
        return replace(self, view=replace(self.view, output=(site, selector)), inputs=self.inputs.aimed(selector))

    def under(self, mode: Mode, *, opens_attention: bool = False) -> Problem:
        """The same problem, whose scores are evaluated under a mode: one that sees, and may change, each operation.

        Args:
            mode: The mode.
            opens_attention: Whether it writes fused attention out by itself, always in the same operations.
        """
        plain = self.plan.plain_attention and not opens_attention
        return replace(self, mode=mode, twin=self.twin.folded(()), plan=replace(self.plan, plain_attention=plain))

    def shared_scores(self, point: Point) -> Tensor:
        """Scores `(B,)` of all examples at one point `(1, *S)` of the input, at which the network runs once."""
        rows, one = self.inputs.rows, self.at(slice(0, 1))
        inputs, edits = one.view.place.put(one.inputs, point)

        def finish(output: Any) -> Tensor:
            spread = map_rows(lambda leaf: leaf.expand(rows, *leaf.shape[1:]), output, 1)
            return self._selected(spread, self.inputs)

        scores: Tensor = one._evaluated(inputs, edits, finish)
        return scores

    def shares_runs(self) -> bool:
        """Whether nothing but the point tells the runs of two examples apart."""
        if torch.compiler.is_compiling() or self.view.sites or self.whole or self.inputs.rows < 2:
            return False
        count = len(pytree.tree_leaves((self.inputs.args, self.inputs.kwargs)))
        return self.plan.folds and not any(self.inputs.batched[:count])

    def scored(self, edits: Edits = ()) -> Tensor:
        """Scores `(B,)` at the input, with edits at further sites."""
        if not edits and self.splits(self.inputs.rows):
            return torch.cat([part.scored() for part in self.singles()])
        return self._run(self.inputs, edits)

    def output(self, inputs: Inputs, edits: Edits = (), *, stop: bool = False) -> Any:
        """What the score is selected from: the model's output, or the activation of the neuron's layer."""
        return self._evaluated(inputs, edits, lambda output: output, stop=stop)

    def _at(self, point: Point) -> Tensor:
        """Scores of these examples at one point."""
        inputs, edits = self.view.place.put(self.inputs, point, unread=self.plan.unread)
        return self._run(inputs, edits)

    def _run(self, inputs: Inputs, edits: Edits = ()) -> Tensor:
        """Scores `(rows,)` of these inputs, with edits at the attributed layers."""
        scores: Tensor = self._evaluated(inputs, edits, lambda output: self._selected(output, inputs))
        if scores.is_complex():
            raise ModelError(
                f"the score has dtype {scores.dtype}, of which there is no larger and smaller. Explain a real number "
                "of it: target=lambda output: output[:, 0].abs(), say."
            )
        if self.view.differentiated and not scores.is_floating_point():
            raise ModelError(
                f"the score has dtype {scores.dtype}, which has no gradient. Attribute to a floating-point output."
            )
        return scores if scores.is_floating_point() else scores.to(torch.get_default_dtype())

    def _evaluated(self, inputs: Inputs, edits: Edits, finish: Callable[[Any], Any], *, stop: bool = False) -> Any:
        """What is made of the output of one run, which starts from the model's own state and the user's arguments."""
        activation: list[Any] = []

        def read(value: Any) -> Any:
            tensors, restore = floats(value)
            activation.append(value)
            return restore([leaf.clone() for leaf in tensors])  # what goes on may be changed in place

        edits = (*self.edits, *edits)  # what is put at a place is what is read there
        if self.view.output is not None:
            edits, stop = (*edits, (self.view.output[0], read)), True
        inside = bool(edits) or self.mode is not None
        guarded = self._guards_attention(inside)
        while True:
            attention = TraceableAttention(self.plan.plain_attention) if guarded else nullcontext()
            hooks = no_saved_tensor_hooks() if inside else nullcontext()
            self.twin.restore(shares=self.recorded)
            args, kwargs = self.twin.copied((inputs.args, inputs.kwargs))
            x = inputs.positional(channels_last=self.plan.channels_last)
            try:
                with self.mode() if self.mode else nullcontext(), attention, hooks:
                    if edits:
                        output = run(self.twin, (*x, *args), kwargs, edits, stop=stop)
                    else:
                        output = self.twin.run((*x, *args), kwargs)
                    return finish(activation[0] if activation else output)
            except Written:  # it starts anew, with a copy of what it was about to write into
                activation.clear()

    def _guards_attention(self, inside: bool) -> bool:
        """Whether to keep attention from a way that has no gradient, runs no hooks, and pads otherwise.

        With plain gradients torch does so by itself, and methods that take none explain what the model gives without.
        """
        if self.plan.plain_attention:
            return True
        plain = not inside and (torch.is_grad_enabled() or not self.view.differentiated) and not functional()
        return not plain and self.twin.may_skip()

    def _selected(self, output: Any, inputs: Inputs) -> Tensor:
        """The scores. A mode sees the operations of a target that computes; indices only rearrange, in some ten."""
        name = "selector" if self.view.output else "target"
        target = inputs.target
        with nullcontext() if self.mode is None or computes(target) else _pop_mode_temporarily():
            scores = select(output, target, inputs.rows, name)
        return scored(scores)

    def _require_parallel(self, start: Point, end: Point) -> None:
        """Raise if one of the layers feeds another: to replace both would cut the first off from the score."""

        def replace_and_compare(number: int, tensors: list[Tensor]) -> list[Tensor]:
            part = end.parts[number]
            for now, then in zip(tensors, end.leaves[part.places], strict=True):
                if known(((now - then).abs() > 1e-4 * (1 + then.abs())).any()):
                    raise ModelError(
                        f"layer {part.name!r} depends on another layer of the list, so they cannot be one point. "
                        "Attribute to them one by one: each by itself, or a list without joint=True."
                    )
            return [leaf.clone() for leaf in start.leaves[part.places]]

        place = self.view.place
        assert isinstance(place, AtLayers)
        self._run(self.inputs, Reading(place, replace_and_compare).edits())
