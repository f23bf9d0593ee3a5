"""A method that is called on several variations of an input as one larger batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, AttributionError
from attrfunc.core.loops.plan import planned
from attrfunc.core.model.folding import Pair
from attrfunc.core.model.sites import find_sites
from attrfunc.core.model.twin import Twin
from attrfunc.core.score.baseline import ActivationBaseline, resolve_baseline
from attrfunc.core.score.inputs import Inputs
from attrfunc.core.score.problem import Plan, Problem
from attrfunc.core.score.target import canonical
from attrfunc.core.score.views import Model, View, as_view
from attrfunc.core.trees import batch_size, floats, join_rows, map_rows, repeat_rows

__all__ = ["Batches"]

FOLLOWERS = {"target", "neuron", "args", "kwargs", "feature_mask"}


def plan_of(model: Model, x: Any, options: dict[str, Any]) -> tuple[Plan, tuple[Pair, ...]]:
    """How several samples may go to the method: as one batch, in which memory format, and what the twin may fold.

    Args:
        model: The model.
        x: The input.
        options: What the method is called with.
    """
    view = replace(as_view(model), differentiated=False)
    index = _total if options.get("target") is None and view.output is None else options.get("target")
    rows, name = batch_size(x), "target" if view.output is None else "selector"
    index = canonical(index if view.output is None else view.output[1], rows, name)
    inputs = Inputs.of(x, options.get("args", ()), options.get("kwargs"), index)
    layer, side, call = (options.get(name) for name in ("layer", "side", "call"))
    sites = () if layer is None else find_sites(view.model, layer, side or "output", call, "layer")
    try:
        problem = planned(Problem(view, inputs, Twin(view.model, view.tensors), Plan()), sites=sites, share=False)
    except (AttributionError, RuntimeError, TypeError, IndexError):
        return Plan(), ()  # the method calls the model in a way of its own
    return problem.plan, problem.twin.folds


def _total(output: Any) -> Tensor:
    """What all floating-point outputs of an example sum to."""
    leaves, _ = floats(output)
    return torch.stack([leaf.reshape(len(leaf), -1).sum(1) for leaf in leaves]).sum(0)


@dataclass
class Batches:
    """Calls a method on several samples at once, with what follows the examples repeated.

    Attributes:
        method: The method.
        model: The model.
        options: What the method is called with.
        rows: Number of examples.
        channels_last: Whether images go to the method with their channels last in memory.
        folds: Convolutions and batch norms that the method may compute as one.
        spec: How its attributions are nested, once it has been called.
    """

    method: Callable[..., Any]
    model: Model
    options: dict[str, Any]
    rows: int
    channels_last: bool = False
    folds: tuple[Pair, ...] = ()
    spec: Any = None

    @classmethod
    def planned(
        cls,
        method: Callable[..., Any],
        model: Model,
        x: Any,
        options: dict[str, Any],
        *,
        samples: int,
        chunk_size: int | None,
    ) -> tuple[Batches, Plan, int | None]:
        """How a method is called on so many samples of each example, and how many rows it may be given at once.

        Args:
            method: The method.
            model: The model.
            x: The input.
            options: What the method is called with.
            samples: How many samples there are.
            chunk_size: How many rows the user allows.
        """
        rows = batch_size(x)
        # Draws inside the method must not depend on how many samples it is given.
        size = rows if options.get("generator") is not None else chunk_size
        several = samples > 1 and (size is None or size > rows)
        plan, folds = plan_of(model, x, options) if several else (Plan(), ())
        return cls(method, model, options, rows, plan.channels_last, folds), plan, size

    def attribute(self, noisy: Sequence[Any], baselines: Sequence[Any]) -> list[Tensor]:
        """The attributions of noisy inputs, behind each other; a baseline of None leaves that of the options."""
        times, options = len(noisy), dict(self.options)
        if baselines[0] is not None:
            options["baseline"] = join_rows(baselines)
        elif times > 1 and isinstance(options.get("baseline"), ActivationBaseline):
            options["baseline"] = ActivationBaseline(self._repeated(options["baseline"].value, times))
        elif times > 1 and "baseline" in options:  # a callable sees one sample at a time
            options["baseline"] = join_rows([resolve_baseline(options["baseline"], one) for one in noisy])
        if times > 1:
            for name in FOLLOWERS & options.keys():
                index = name in ("target", "neuron")
                options[name] = self._repeated(
                    canonical(options[name], self.rows, name) if index else options[name], times
                )
        leaves, self.spec = pytree.tree_flatten(self.method(self._model(times), self._joined(noisy), **options))
        for leaf in leaves:
            if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
                got = f"attributions of type {type(leaf).__name__}"
                raise ArgumentError("method", got, "floating-point tensors", "Pass a method that gives these.")
        return [leaf.contiguous() for leaf in leaves]

    def _joined(self, noisy: Sequence[Any]) -> Any:
        joined = join_rows(noisy)
        return joined.contiguous(memory_format=torch.channels_last) if self.channels_last else joined

    def _model(self, times: int) -> Model:
        """The model; a neuron of each example follows these."""
        model = replace(as_view(self.model), folds=self.folds) if self.folds else self.model
        if times == 1 or not isinstance(model, View) or model.output is None:
            return model
        site, selector = model.output
        index = canonical(selector, self.rows, "selector")
        return replace(model, output=(site, self._repeated(index, times)))

    def _repeated(self, tree: Any, times: int) -> Any:
        return map_rows(lambda leaf: repeat_rows(leaf, times), tree, self.rows)
