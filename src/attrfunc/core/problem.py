"""A problem: a view opened on an input. It holds the point that is attributed and evaluates the score at other points.

Points are flat lists of tensors; `restore` gives them the structure that the user sees. A layer's are floating-point;
the input's are whatever the input holds, and floating-point for a method that differentiates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import _pop_mode_temporarily
from torch.utils import _pytree as pytree

from attrfunc.core.attention import TraceableAttention
from attrfunc.core.baseline import ActivationBaseline, resolve_baseline
from attrfunc.core.errors import ArgumentError, ModelError
from attrfunc.core.inputs import Inputs
from attrfunc.core.sites import Site, Taps, Visit
from attrfunc.core.stateless import Twin
from attrfunc.core.target import BatchScore, select
from attrfunc.core.transforms import pullback, require_finite, transformed
from attrfunc.core.trees import Restore, Rows, floats, map_rows
from attrfunc.core.views import View
from attrfunc.core.visible import scored

__all__ = ["Held", "Mode", "Problem"]

Held = Sequence[tuple[Site, Any]]
Mode = Callable[[], AbstractContextManager[Any]]


class Problem:
    """A view opened on an input, where the input itself is the point.

    Args:
        view: The view.
        inputs: The examples.
        twin: The stateless model.
        held: Activations, in their structure, that replace what is computed at further places.
        mode: Makes the context that the model and the selection of its score run in.

    Attributes:
        whole: Whether the score is one number for the whole batch.
        shared_bytes: What an evaluation allocates once, for however many points.
    """

    def __init__(self, view: View, inputs: Inputs, twin: Twin, held: Held = (), mode: Mode = nullcontext) -> None:
        self.view, self.inputs, self.twin, self.held, self._mode = view, inputs, twin, held, mode
        fast = nn.MultiheadAttention | nn.TransformerEncoderLayer
        self._guarded = not twin.modules or any(isinstance(module, fast) for module in twin.modules)
        self._plain_attention = transformed((inputs.x, inputs.args, inputs.kwargs, inputs.target, view.tensors))
        self.whole = isinstance(inputs.target, BatchScore)
        self.shared_bytes = 0
        last = [view.output[0]] if view.output else []
        self._taps = Taps(twin, [*view.sites, *(site for site, _ in held), *last])

    def ends(self, baseline: Any, *, measure: bool = True) -> tuple[list[Tensor], list[Tensor]]:
        """The points at the baseline and at the input.

        Args:
            baseline: The baseline.
            measure: Look for the best way to evaluate many points.
        """
        if isinstance(baseline, ActivationBaseline):
            raise ArgumentError(
                "baseline",
                "an activation_baseline for a view of the input",
                "a baseline of the input",
                "Pass its value itself, or a view of a layer: af.layer(model, ...).",
            )
        return pytree.tree_leaves(resolve_baseline(baseline, self.inputs.x)), self.point()

    def point(self) -> list[Tensor]:
        """The point at the input."""
        return pytree.tree_leaves(self.inputs.x)

    def observe(self) -> tuple[list[Tensor], Tensor]:
        """The point at the input, and the scores `(B,)` there."""
        point = self.point()
        return point, self.scores([leaf.clone()[None] for leaf in point])[0]

    def restore(self, point: list[Tensor]) -> Any:
        """A point in the structure of the input."""
        return pytree.tree_unflatten(point, pytree.tree_structure(self.inputs.x))

    def structured_as(self, other: Problem) -> None:
        """Give points the structure that another problem of the same view has seen."""

    def name(self, number: int) -> str:
        """The layer that a tensor of the point belongs to; empty at the input."""
        return ""

    def at(self, rows: Rows) -> Problem:
        """The same problem for some of the examples."""
        return self._like(self.view, self.inputs.at(rows))

    def varied(self, x: Any) -> Problem:
        """The same problem at K other inputs, which lie behind each other in the batch."""
        times = pytree.tree_leaves(x)[0].shape[0] // self.inputs.rows
        return self._like(self.view, replace(self.inputs.repeated(times), x=x))

    def aimed(self, site: Site, selector: Callable[[Any], Tensor]) -> Problem:
        """The same point with another score: what is selected from the activation at a layer."""
        return self._like(replace(self.view, output=(site, selector)), replace(self.inputs, target=selector))

    def under(self, mode: Mode, *, opens_attention: bool = False) -> Problem:
        """The same problem, whose scores are evaluated under a mode: one that sees, and may change, each operation.

        Args:
            mode: The mode.
            opens_attention: Whether it writes fused attention out by itself, always in the same operations.
        """
        part = self._like(self.view, self.inputs)
        part._mode = mode
        part._plain_attention = part._plain_attention and not opens_attention
        return part

    def _like(self, view: View, inputs: Inputs) -> Problem:
        return Problem(view, inputs, self.twin, mode=self._mode)

    def folded(self, points: list[Tensor]) -> tuple[Inputs, Held]:
        """What a run at K points `(K, *point)` takes, with the points behind each other in the batch."""
        inputs = self.inputs.repeated(points[0].shape[0])
        return replace(inputs, x=self.restore([leaf.flatten(0, 1) for leaf in points])), ()

    def separable(self, point: list[Tensor]) -> bool:
        """Whether each tensor of a point has the examples in dimension 0, so that they can be evaluated apart."""
        return not self.whole and all(leaf.dim() > 0 and leaf.shape[0] == self.inputs.rows for leaf in point)

    def scores(self, points: list[Tensor]) -> Tensor:
        """Scores `(K, B)` of K points at once, folded into the batch; `(K, 1)`, one by one, if whole.

        Args:
            points: Tensors of shape `(K, *point)`, which the model may overwrite.
        """
        if self.whole:
            parts = [[leaf[k] for leaf in points] for k in range(points[0].shape[0])]
            return torch.stack([self._run(replace(self.inputs, x=self.restore(part)))[0] for part in parts])
        inputs, _ = self.folded(points)
        return self._run(inputs)[0].view(points[0].shape[0], self.inputs.rows)

    def shared_scores(self, point: list[Tensor]) -> Tensor:
        """Scores `(B,)` of all examples at one point `(1, *S)`, at which the network runs once."""
        rows, one = self.inputs.rows, self.at(slice(0, 1))
        with self._mode():
            output, _ = one._outputs(replace(one.inputs, x=self.restore(point)))
            output = map_rows(lambda leaf: leaf.expand(rows, *leaf.shape[1:]), output, 1)
            return self._selected(output, self.inputs)

    def shares_runs(self) -> bool:
        """Whether nothing but the point tells the runs of two examples apart."""
        if torch.compiler.is_compiling() or len(self.view.sites) > 0 or self.whole:
            return False
        others = pytree.tree_leaves((self.inputs.args, self.inputs.kwargs))
        rows = self.inputs.rows
        batched = any(isinstance(leaf, Tensor) and leaf.dim() > 0 and leaf.shape[0] == rows for leaf in others)
        return rows > 1 and not batched

    def gradient(self) -> tuple[list[Tensor], list[Tensor]]:
        """The point at the input, and the gradient of the score there, from one forward pass."""
        point = self.point()
        value, gradient = pullback(lambda leaves: self.scores([leaf.clone()[None] for leaf in leaves]).sum(), point)
        require_finite(value)
        return point, gradient

    def _run(
        self, inputs: Inputs, visit: Visit | None = None, given: Mapping[int, Any] | None = None
    ) -> tuple[Tensor, list[Restore]]:
        """Scores `(rows,)` of these inputs. `visit` sees, and may change, the activations at the attributed layers."""
        with self._mode():
            output, restores = self._outputs(inputs, visit, given=given)
            scores = self._selected(output, inputs)
        if self.view.differentiated and not scores.is_floating_point():
            raise ModelError(
                f"the score has dtype {scores.dtype}, which has no gradient. Attribute to a floating-point output."
            )
        return scores if scores.is_floating_point() else scores.to(torch.get_default_dtype()), restores

    def _selected(self, output: Any, inputs: Inputs) -> Tensor:
        """The scores. A mode sees the operations of a callable target; indices only rearrange, in some twenty."""
        name = "selector" if self.view.output else "target"
        seen = self._mode is nullcontext or callable(inputs.target)
        with nullcontext() if seen else _pop_mode_temporarily():
            scores = select(output, inputs.target, inputs.rows, name)
        return scored(scores)

    def run(self, x: Any) -> None:
        """Run the network once at `x`, for what can be seen on the way."""
        self._outputs(replace(self.inputs, x=x))

    def _outputs(
        self,
        inputs: Inputs,
        visit: Visit | None = None,
        *,
        stop: bool = False,
        given: Mapping[int, Any] | None = None,
    ) -> tuple[Any, list[Restore]]:
        """What the score is selected from: the model's output, or the activation of the neuron's layer.

        With `stop`, the run may end where every tapped layer has been visited. `given` are the outputs that attributed
        layers are to have.
        """
        neuron: list[Tensor] = []
        own, others = len(self.view.sites), len(self.held)

        def reach(number: int, tensors: list[Tensor]) -> list[Tensor]:
            if own <= number < own + others:
                return [leaf.clone() for leaf in floats(self.held[number - own][1])[0]]
            if number == own + others:
                neuron.extend(tensors)
                return [leaf.clone() for leaf in tensors]  # what goes on may be changed in place
            return visit(number, tensors) if visit else tensors

        cut = self.view.output is not None
        with TraceableAttention(self._plain_attention) if self._guarded or self._plain_attention else nullcontext():
            fixed = {**(given or {}), **{own + i: value for i, (_, value) in enumerate(self.held)}}
            output, restores = self._taps.run(inputs.positional(), inputs.kwargs, reach, stop=stop or cut, given=fixed)
        return restores.pop()(neuron) if cut else output, restores[:own]
