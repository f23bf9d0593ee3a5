"""A problem: a view opened on an input. It holds the point that is attributed and evaluates the score at other points.

Points are flat lists of floating-point tensors; `restore` gives them the structure that the user sees.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from attrfunc.core.attention import TraceableAttention
from attrfunc.core.baseline import resolve_baseline
from attrfunc.core.inputs import Inputs
from attrfunc.core.sites import Taps, Visit
from attrfunc.core.stateless import Twin
from attrfunc.core.target import select
from attrfunc.core.transforms import pullback, require_finite, transformed
from attrfunc.core.trees import Restore, floats
from attrfunc.core.views import View

__all__ = ["Problem"]


class Problem:
    """A view opened on an input, where the input itself is the point.

    Args:
        view: The view.
        inputs: The examples.
        twin: The stateless model.

    Attributes:
        shared_bytes: What an evaluation allocates once, for however many points.
    """

    def __init__(self, view: View, inputs: Inputs, twin: Twin) -> None:
        self.view, self.inputs, self.twin = view, inputs, twin
        fast = nn.MultiheadAttention | nn.TransformerEncoderLayer
        self._guarded = not twin.modules or any(isinstance(module, fast) for module in twin.modules)
        self._plain_attention = transformed((inputs.x, inputs.args, inputs.kwargs, inputs.target, view.tensors))
        self.shared_bytes = 0
        self._taps = Taps(twin, [*view.sites, *([view.output[0]] if view.output else [])])

    def ends(self, baseline: Any) -> tuple[list[Tensor], list[Tensor]]:
        """The points at the baseline and at the input."""
        return floats(resolve_baseline(baseline, self.inputs.x))[0], self.point()

    def point(self) -> list[Tensor]:
        """The point at the input."""
        return floats(self.inputs.x)[0]

    def restore(self, point: list[Tensor]) -> Any:
        """A point in the structure of the input."""
        return floats(self.inputs.x)[1](point)

    def name(self, number: int) -> str:
        """The layer that a tensor of the point belongs to; empty at the input."""
        return ""

    def at(self, block: slice) -> Problem:
        """The same problem for some of the examples."""
        return Problem(self.view, self.inputs.at(block), self.twin)

    def separable(self, point: list[Tensor]) -> bool:
        """Whether each tensor of a point has the examples in dimension 0, so that they can be evaluated apart."""
        return all(leaf.dim() > 0 and leaf.shape[0] == self.inputs.rows for leaf in point)

    def scores(self, points: list[Tensor]) -> Tensor:
        """Scores `(K, B)` of K points at once, folded into the batch.

        Args:
            points: Tensors of shape `(K, *point)`, which the model may overwrite.
        """
        times = points[0].shape[0]
        inputs = self.inputs.repeated(times)
        x = floats(inputs.x)[1]([leaf.flatten(0, 1) for leaf in points])
        return self._run(replace(inputs, x=x))[0].view(times, self.inputs.rows)

    def gradient(self) -> tuple[list[Tensor], list[Tensor]]:
        """The point at the input, and the gradient of the score there, from one forward pass."""
        point = self.point()
        value, gradient = pullback(lambda leaves: self.scores([leaf.clone()[None] for leaf in leaves]).sum(), point)
        require_finite(value)
        return point, gradient

    def _run(self, inputs: Inputs, visit: Visit | None = None) -> tuple[Tensor, list[Restore]]:
        """Scores `(rows,)` of these inputs. `visit` sees, and may change, the activations at the attributed layers."""
        output, restores = self._outputs(inputs, visit)
        name = "selector" if self.view.output else "target"
        return select(output, inputs.target, inputs.rows, name), restores

    def run(self, x: Any) -> None:
        """Run the network once at `x`, for what can be seen on the way."""
        self._outputs(replace(self.inputs, x=x))

    def _outputs(self, inputs: Inputs, visit: Visit | None = None, *, stop: bool = False) -> tuple[Any, list[Restore]]:
        """What the score is selected from: the model's output, or the activation of the neuron's layer.

        With `stop`, the run may end where every tapped layer has been visited.
        """
        neuron: list[Tensor] = []

        def reach(number: int, tensors: list[Tensor]) -> list[Tensor]:
            if number == len(self.view.sites):
                neuron.extend(tensors)
                return [leaf.clone() for leaf in tensors]  # what goes on may be changed in place
            return visit(number, tensors) if visit else tensors

        cut = self.view.output is not None
        with TraceableAttention(self._plain_attention) if self._guarded or self._plain_attention else nullcontext():
            output, restores = self._taps.run(inputs.positional(), inputs.kwargs, reach, stop=stop or cut)
        return restores.pop()(neuron) if cut else output, restores
