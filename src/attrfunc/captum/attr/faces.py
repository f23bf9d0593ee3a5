"""How a class of Captum's becomes a call of a function of attrfunc: `face` makes a method of its signature.

A stub has Captum's signature, and no body. What it is called with is renamed by one table, converted, and given to the
function; a result is nested as Captum nests it, and deltas are put beside it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from attrfunc.captum.attr.convert import (
    as_args,
    as_baseline,
    as_mask,
    as_samples,
    captum_call,
    check_grad_kwargs,
    only,
    side,
)
from attrfunc.captum.attr.outputs import as_groups

__all__ = ["face"]

Stub = TypeVar("Stub", bound=Callable[..., Any])

_RENAMED = {
    "abs": "absolute",
    "layer_mask": "feature_mask",
    "perturbations_per_eval": "chunk_size",
    "show_progress": "progress",
    "sliding_window_shapes": "window",
    "strides": "stride",
    "additional_forward_args": "args",
    "attr_dim_summation": "sum_channels",
    "attribute_to_layer_input": "side",
    "attribute_to_neuron_input": "side",
    "baselines": "baseline",
    "internal_batch_size": "chunk_size",
    "neuron_selector": "neuron",
    "relu_attributions": "relu",
    "stdevs": "stdev",
}
_CONVERTED: dict[str, Callable[[Any, Any], Any]] = {
    "additional_forward_args": lambda value, inputs: as_args(value),
    "attribute_to_layer_input": lambda value, inputs: side(value),
    "attribute_to_neuron_input": lambda value, inputs: side(value),
    "baselines": as_baseline,
    "feature_mask": as_mask,
    "layer_mask": lambda value, inputs: as_groups(only(value)),
    "stdevs": as_baseline,
}


def face(function: Callable[..., Any], *, at: str = "model", deltas: bool = False) -> Callable[[Stub], Stub]:
    """A decorator of stubs.

    Args:
        function: The function of attrfunc.
        at: What it explains: the `"model"`; a view of the `"layer"`, of several that move `"joint"`ly, or of a
            `"neuron"`; or the model, where the function takes the layer or the neuron as an argument: `"inside"`, or
            `"single"` for one layer only.
        deltas: Whether the function itself gives the deltas: it takes the object and `with_deltas`, and gives a pair.

    Returns:
        The decorator.
    """
    takes_factor = "multiply_by_inputs" in inspect.signature(function).parameters

    def decorate(stub: Stub) -> Stub:
        signature = inspect.signature(stub)

        @functools.wraps(stub)
        def attribute(self: Any, *args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(self, *args, **kwargs)
            bound.apply_defaults()
            given = dict(bound.arguments)
            inputs, with_deltas = given["inputs"], given.get("return_convergence_delta", False)
            options = _options(self, given)
            if takes_factor:
                options["multiply_by_inputs"] = self._multiply_by_inputs
            if deltas:
                options |= {"explainer": self, "with_deltas": with_deltas}
            result = self._called(function, at, inputs, options)
            if deltas:
                return (self._mirrored(result[0]), result[1]) if with_deltas else self._mirrored(result[0])
            result = self._mirrored(result)
            if not with_deltas:
                return result
            score = (given["target"], given["additional_forward_args"])
            return result, self.compute_convergence_delta(result, given["baselines"], inputs, *score)

        return captum_call(attribute)  # type: ignore[return-value]

    return decorate


def _options(explainer: Any, given: dict[str, Any]) -> dict[str, Any]:
    """What a class is called with, in attrfunc's names and forms."""
    check_grad_kwargs(given.get("grad_kwargs"))
    options = {}
    for name, value in given.items():
        if name == "baselines" and explainer._draws_baselines:
            options[name] = as_samples(value, given["inputs"])
        elif name not in ("self", "inputs", "grad_kwargs", "return_convergence_delta", "kwargs"):
            converted = _CONVERTED[name](value, given["inputs"]) if name in _CONVERTED else value
            options[_RENAMED.get(name, name)] = converted
    return options
