"""Attributions of outputs that are not one number for each example, and of inputs that are not one batch.

Where the output is that of a whole batch, of any shape, each of its numbers has attributions of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError
from attrfunc.core.loops.plan import CoupledError, coupling
from attrfunc.core.model.guard import Written
from attrfunc.core.model.twin import Twin
from attrfunc.core.score.target import batch_score, canonical, select
from attrfunc.core.score.views import View, as_view
from attrfunc.perturbation.feature_permutation import PermFunc, moving

__all__ = ["Outputs", "output_of", "promoted"]


@dataclass(frozen=True)
class Outputs:
    """A call of a function of attrfunc that replaces features, for a model whose output may have any shape.

    Attributes:
        function: The function.
        forward: What the user's model is called by.
        inputs: Its inputs.
        options: The function's options.
        flat: Whether the outputs of the result are one dimension, or have the output's own.
        mapped: Whether the function may be mapped over the numbers of an output; else it takes one for the batch.
        typed: Whether differences have the scores' dtype: integers, and double precision of Python's numbers.
    """

    function: Callable[..., Any]
    forward: Callable[..., Any]
    inputs: Any
    options: dict[str, Any]
    flat: bool
    mapped: bool = True
    typed: bool = True

    def attributed(self, model: Any) -> Any:
        """Attributions of a view of the model: of each example's score, or else of each number of the output."""
        try:
            with coupling("refused"):
                return self._typed(self.function(model, self.inputs, **self.options))
        except CoupledError:  # so these are numbers of the whole batch, too
            found = self._of_each(model)
            return self._typed(self.function(model, self.inputs, **self.options) if found is None else found)
        except ArgumentError as error:
            found = self._promoted(model) if error.argument == "baseline" else None
            if found is not None:
                return found
            ways = {"target": self._of_each, "x": self._of_several_batches}
            found = ways[error.argument](model) if error.argument in ways else None
            if found is None:
                raise
            return self._typed(found)

    def _of_each(self, model: Any) -> Any:
        """Attributions of each number of an output that is not one for each example."""
        if isinstance(model, View) and model.output is not None:
            return None
        output, target = self._output(), self.options["target"]
        try:
            values = _values(output, target)
        except ArgumentError:
            return None
        rows, shape = pytree.tree_leaves(self.inputs)[0].shape[0], values.shape
        if values.numel() == 0 or not (self.mapped or values.numel() == 1):
            return None
        if target is None and len(shape) > 1 and shape[0] == rows:
            places = torch.unravel_index(torch.arange(shape[1:].numel()), shape[1:])
            one = lambda *place: self.function(model, self.inputs, **(self.options | {"target": place}))  # noqa: E731
            found = torch.vmap(one, out_dims=1, randomness="same")(*places)
            return pytree.tree_map(lambda leaf: self._shaped(leaf.flatten(0, 1), shape), found)

        def of(place: Tensor) -> Any:
            score = batch_score(lambda output: _values(output, target).reshape(-1).gather(0, place.reshape(1)))
            return self.function(model, self.inputs, **(self.options | {"target": score}))

        if values.numel() == 1:  # without a loop, and as the layer is where it has no examples
            found = of(torch.tensor(0))
            return pytree.tree_map(Tensor.double, found) if self.typed and isinstance(output, float) else found
        found = torch.vmap(of, randomness="same")(torch.arange(values.numel()))
        return pytree.tree_map(lambda leaf: self._shaped(leaf.squeeze(1), shape), found)

    def _of_several_batches(self, model: Any) -> Any:
        """The same for inputs whose batch sizes differ, lists of sparse features say: one example holds them all."""
        leaves = pytree.tree_leaves(self.inputs)
        if model is not self.forward or "feature_mask" not in self.options or not all(leaf.dim() for leaf in leaves):
            return None
        options, target = dict(self.options), self.options["target"]
        args = options.pop("args")
        values, forward = _values(self._output(), target), self.forward
        if values.numel() == 0:
            return None

        def whole(*rows: Tensor) -> Tensor:
            outputs = [forward(*(leaf[row] for leaf in rows), *args) for row in range(rows[0].shape[0])]
            return torch.stack([_values(output, target).reshape(-1) for output in outputs])

        if options["chunk_size"] is not None:
            options["chunk_size"] = max(options["chunk_size"] // max(leaves[0].shape[0], 1), 1)
        options["feature_mask"] = _masks(options["feature_mask"], leaves)
        if "baseline" in options:
            options["baseline"] = pytree.tree_map_only(Tensor, lambda part: part[None], options["baseline"])
        if "perm_func" in options:
            options["perm_func"] = _within(options["perm_func"], options.get("generator"))
        lifted = tuple(leaf[None] for leaf in leaves)
        one = lambda place: self.function(whole, lifted, **(options | {"target": place}))  # noqa: E731
        found = torch.vmap(one, randomness="same")(torch.arange(values.numel()))
        parts = [
            part[:, 0, 0] if leaf.shape[0] else part.new_zeros(len(part), *leaf.shape[1:])
            for part, leaf in zip(found, leaves, strict=True)
        ]
        found = tuple(self._shaped(part, values.shape) for part in parts)
        return found[0] if isinstance(self.inputs, Tensor) else found

    def _promoted(self, model: Any) -> Any:
        """Attributions of integers that are replaced by fractions: these make all of them fractions, as in Captum."""
        inputs = promoted(self.inputs, self.options["baseline"])
        if inputs is self.inputs:
            return None
        try:
            return replace(self, inputs=inputs).attributed(model)
        except (RuntimeError, ArgumentError):
            return None  # an embedding takes no fractions

    def _output(self) -> Any:
        return output_of(self.forward, self.inputs, self.options["args"])

    def _shaped(self, leaf: Tensor, shape: torch.Size) -> Tensor:
        return leaf if self.flat or not shape else leaf.unflatten(0, shape)

    def _typed(self, found: Any) -> Any:
        """Differences of integers are integers, as in Captum, whose averages are not."""
        leaves = pytree.tree_leaves(found)
        if not self.typed or not all(bool((leaf == leaf.round()).all()) for leaf in leaves):
            return found
        output = self._output()
        dtype = output.dtype if isinstance(output, Tensor) else torch.tensor(output).dtype if _number(output) else None
        if dtype is None or dtype.is_floating_point or dtype.is_complex or dtype == torch.bool:
            return found
        return pytree.tree_map(lambda leaf: leaf.to(dtype), found)


def _number(output: Any) -> bool:
    """Whether a model gave a number of Python."""
    return isinstance(output, int | float) and not isinstance(output, bool)


def _values(output: Any, target: Any) -> Tensor:
    """The numbers that a target chooses of an output, whose rows need not be those of the input."""
    if isinstance(output, int | float):
        output = torch.tensor(output, dtype=torch.float64 if isinstance(output, float) else None)
    if target is None or callable(target):
        values = output if target is None else target(output)
        if not isinstance(values, Tensor):
            raise ArgumentError("target", type(values).__name__, "a tensor", "Pass a callable that gives one.")
        return values
    rows = output.shape[0] if isinstance(output, Tensor) and output.dim() else 0
    return select(output, canonical(target, rows), rows)


def promoted(inputs: Any, baselines: Any) -> Any:
    """Inputs of integers as numbers that hold their baselines."""
    leaves, spec = pytree.tree_flatten(inputs)
    parts = list(baselines) if isinstance(baselines, tuple) else [baselines] * len(leaves)
    if len(parts) != len(leaves):
        return inputs
    kinds = [torch.result_type(leaf, part) if _fraction(part) else leaf.dtype for leaf, part in zip(leaves, parts)]  # noqa: B905
    if all(leaf.dtype == kind for leaf, kind in zip(leaves, kinds, strict=True)):
        return inputs
    return pytree.tree_unflatten([leaf.to(kind) for leaf, kind in zip(leaves, kinds, strict=True)], spec)


def _fraction(part: Any) -> bool:
    if isinstance(part, Tensor):
        return part.is_floating_point() and not bool((part == part.round()).all())
    return isinstance(part, float) and not part.is_integer()


def _within(perm_func: PermFunc | None, generator: torch.Generator | None) -> PermFunc:
    """Permutes the rows of one example that holds a batch."""

    def permuted(leaf: Tensor, mask: Tensor) -> Tensor:
        (rows,) = leaf
        if perm_func is not None:
            return perm_func(rows, mask[0])[None]
        draw = lambda: torch.rand(len(rows), generator=generator, device=rows.device)  # noqa: E731
        return torch.where(mask[0], rows[moving(len(rows), draw, rows.device)], rows)[None]

    return permuted


def _masks(mask: Any, leaves: list[Tensor]) -> tuple[Tensor, ...]:
    """Masks of one example that holds the batch, alike in all of its rows."""
    if mask is not None:
        return tuple(part[None] if part.dim() == leaf.dim() else part for part, leaf in zip(mask, leaves, strict=True))
    sizes = [leaf.shape[1:].numel() for leaf in leaves]
    numbers = torch.arange(sum(sizes), device=leaves[0].device).split(sizes)
    return tuple(part.view(1, 1, *leaf.shape[1:]) for part, leaf in zip(numbers, leaves, strict=True))


def output_of(forward: Callable[..., Any], inputs: Any, args: tuple[Any, ...]) -> Any:
    """What a model gives for inputs, run once on a twin: the model itself stays as it is."""
    view = as_view(forward)
    twin = Twin(view.model, view.tensors)
    while True:
        twin.restore()
        copied = pytree.tree_map(torch.clone, inputs)
        try:
            return twin.run((*(copied if isinstance(copied, tuple) else (copied,)), *twin.copied((args,))[0]), {})
        except Written:  # it is run anew, with a copy of what it was about to write into
            continue
