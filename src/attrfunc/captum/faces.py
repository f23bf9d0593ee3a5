"""How a class of Captum's becomes a call of a function of attrfunc: `face` makes a method of its signature.

A stub has Captum's signature, and no body. What it is called with is renamed by one table, converted, and given to the
function; a result is nested as Captum nests it, and deltas are put beside it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from typing import Any, TypeVar

from attrfunc.captum.bars import evaluations
from attrfunc.captum.convert import (
    RENAMED,
    as_activation,
    as_args,
    as_baseline,
    as_contribution,
    as_groups,
    as_mask,
    as_samples,
    as_window,
    captum_call,
    check_grad_kwargs,
    only,
    rows_of,
    side,
)
from attrfunc.core.errors import positive

__all__ = ["converted", "face"]

Stub = TypeVar("Stub", bound=Callable[..., Any])

_CONVERTED: dict[str, Callable[[Any, Any], Any]] = {  # of a value that was given, and the inputs
    "additional_forward_args": lambda value, inputs: as_args(value),
    "attribute_to_layer_input": lambda value, inputs: side(value),
    "attribute_to_neuron_input": lambda value, inputs: side(value),
    "baselines": as_baseline,
    "custom_attribution_func": lambda value, inputs: as_contribution(value),
    "feature_mask": as_mask,
    "layer_baselines": lambda value, inputs: as_activation(value),
    "layer_mask": lambda value, inputs: as_groups(only(value)),
    "perturbations_per_eval": lambda value, inputs: (
        None if value is None else positive("chunk_size", value) * rows_of(inputs)
    ),
    "sliding_window_shapes": as_window,
    "stdevs": as_baseline,
    "strides": lambda value, inputs: only(value),
}
_OWN = {"self", "inputs", "dataloader", "inp", "grad_kwargs", "return_convergence_delta", "kwargs"}


def face(function: Callable[..., Any], at: str = "model") -> Callable[[Stub], Stub]:
    """A decorator of stubs.

    Args:
        function: The function of attrfunc, or one of the shim. One that takes `with_deltas` gives a pair, attributions
            and deltas; one that takes `explainer` is given the object, `further` its keyword arguments beyond the
            signature, `multiply_by_inputs` whether the object does.
        at: What it explains: the `"model"`; a view of the `"layer"` or layers, of several that move `"joint"`ly or
            are `"cut"` from each other, or of a `"neuron"`; or the model, where the function takes the layer or the
            neuron as an argument: `"inside"`. `"one layer"` and `"one inside"` take no list.

    Returns:
        The decorator.
    """
    takes = inspect.signature(function).parameters

    def decorate(stub: Stub) -> Stub:
        signature = inspect.signature(stub)
        first = list(signature.parameters)[1]

        @functools.wraps(stub)
        def attribute(self: Any, *args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(self, *args, **kwargs)
            chosen = set(bound.arguments)
            bound.apply_defaults()
            given = dict(bound.arguments)
            if "perturbations_per_eval" in given.keys() - chosen:
                given["perturbations_per_eval"] = None  # as the library likes
            inputs, further = given[first], given.get("kwargs", {})
            with_deltas = (given | further).get("return_convergence_delta", False)
            own = {"explainer": self, "further": further, "with_deltas": with_deltas}
            own["multiply_by_inputs"] = self._multiply_by_inputs
            options = _options(self, given, inputs) | {name: own[name] for name in own.keys() & takes}
            found = self._called(function, at, inputs, options)
            found, deltas = found if "with_deltas" in takes else (found, None)
            found = self._mirrored(found)
            if with_deltas and deltas is None:
                score = (given["target"], given["additional_forward_args"])
                deltas = self.compute_convergence_delta(found, given["baselines"], inputs, *score)
            return (found, deltas) if with_deltas else found

        made: Any = captum_call(attribute)
        made.__wrapped__ = stub  # one step behind, as Captum's methods have it
        return made

    return decorate


def _options(explainer: Any, given: dict[str, Any], inputs: Any) -> dict[str, Any]:
    """What a class is called with, in attrfunc's names and forms."""
    check_grad_kwargs(given.get("grad_kwargs"))
    options = {}
    for name, value in given.items():
        if name == "baselines" and explainer._draws_baselines:
            options[name] = as_samples(value, inputs)
        elif name == "show_progress" and value:
            rows = rows_of(inputs) if "inputs" in given else 1
            options["progress"] = evaluations(f"{explainer.get_name()} attribution", rows)
        elif name not in _OWN:
            options |= converted({name: value}, inputs)
    return options


def converted(given: dict[str, Any], inputs: Any, names: Collection[str] | None = None) -> dict[str, Any]:
    """Arguments of a class in attrfunc's names and forms: all, or these alone."""
    options = {}
    for name, value in given.items():
        own = names is None or name in names
        options[RENAMED.get(name, name) if own else name] = (
            _CONVERTED[name](value, inputs) if own and name in _CONVERTED else value
        )
    return options
