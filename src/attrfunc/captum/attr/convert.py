"""Captum's arguments in attrfunc's form, and attrfunc's results and errors in Captum's.

This is where the arguments that the classes share are documented.

inputs: A tensor, or a tuple of tensors that is spread over the model's positional arguments.
baselines: `None` (zeros), a number, a tensor, or a tuple of these.
target: As in `attrfunc.core.score.target`.
additional_forward_args: What the model is called with after the inputs: a tuple, or one argument of any other type.
grad_kwargs: Options for `torch.autograd.grad`. Those that only say how to handle the graph or unused inputs are
    accepted without effect; those that would change the result are refused.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from attrfunc.captum.attr.outputs import as_groups
from attrfunc.captum.attr.unbatched import as_batch_of_one, named
from attrfunc.core.errors import ArgumentError
from attrfunc.core.model.sites import Side
from attrfunc.core.trees import floats

__all__ = [
    "Baselines",
    "CallError",
    "Inputs",
    "Layers",
    "as_args",
    "as_baseline",
    "as_mask",
    "as_samples",
    "captum_call",
    "check_grad_kwargs",
    "only",
    "per_example",
    "side",
]

P = ParamSpec("P")
R = TypeVar("R")

Inputs = Tensor | tuple[Tensor, ...]
Baselines = None | float | Tensor | tuple[Tensor | float, ...]
Layers = nn.Module | list[nn.Module]

_INSIDE: ContextVar[bool] = ContextVar("inside", default=False)  # of a call of another class

_NAMES = {
    "x": "inputs",
    "baseline": "baselines",
    "args": "additional_forward_args",
    "chunk_size": "internal_batch_size",
    "where": "layer",
    "selector": "neuron_selector",
    "neuron": "neuron_selector",
    "stdev": "stdevs",
}


class CallError(ArgumentError, AssertionError):
    """An argument that cannot be right, also for scripts that catch the `AssertionError` which Captum raises for it."""


def captum_call(function: Callable[P, R]) -> Callable[P, R]:
    """Make a method of a class behave as Captum's do: no graph to parameters; errors name the class's arguments."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        outermost = not _INSIDE.get()
        token = _INSIDE.set(True)
        try:
            with torch.no_grad():
                return function(*args, **kwargs)
        except ArgumentError as error:
            found = _without_batch(function, args, kwargs, error) if outermost else None
            if found is not None:
                return found
            if error.settled:
                raise  # a class that this one calls has named its own argument
            own = type(args[0])
            argument = (_NAMES | getattr(own, "_names", {})).get(error.argument, error.argument)
            fix = error.fix.replace(f"{error.argument}=", f"{argument}=")
            name = f"{own.__name__}.{function.__name__}"
            raise CallError(argument, error.got, error.expected, fix).within(name, settled=True) from error
        finally:
            _INSIDE.reset(token)

    return call


def _without_batch(function: Callable[..., Any], args: Any, kwargs: Any, error: ArgumentError) -> Any:
    """What a call gives whose inputs have no batch dimension, if that is why it failed."""
    if error.argument not in ("target", "x", "inputs") or function.__name__ != "attribute" or hasattr(args[0], "layer"):
        return None
    arguments = named(function, args, kwargs)
    with torch.no_grad():
        try:
            return as_batch_of_one(function, arguments, as_args(arguments.get("additional_forward_args")))
        except (ArgumentError, RuntimeError, TypeError, ValueError, IndexError):
            return None  # the first error says what is wrong


def as_args(additional_forward_args: Any) -> tuple[Any, ...]:
    """The model's further positional arguments."""
    if additional_forward_args is None:
        return ()
    return additional_forward_args if isinstance(additional_forward_args, tuple) else (additional_forward_args,)


def as_baseline(baselines: Any, inputs: Any) -> Any:
    """Baselines nested as the inputs are: one alone and a tuple of one mean the same."""
    if isinstance(inputs, tuple) and isinstance(baselines, Tensor):
        return (baselines,)
    if not isinstance(inputs, tuple) and isinstance(baselines, tuple) and len(baselines) == 1:
        return baselines[0]
    return baselines


def as_mask(feature_mask: Any, inputs: Any) -> Any:
    """Groups of features nested as the inputs are; numbers of groups may be floating-point."""
    return as_baseline(as_groups(feature_mask), inputs)


def as_samples(baselines: Any, inputs: Any) -> Any:
    """The distribution of baselines, nested as the inputs are; a callable may take the inputs or nothing."""
    if callable(baselines):
        baselines = baselines(inputs) if inspect.signature(baselines).parameters else baselines()
    return as_baseline(baselines, inputs)


def side(of_input: bool) -> Side:
    """The side of a layer that `attribute_to_layer_input` and `attribute_to_neuron_input` choose."""
    return "input" if of_input else "output"


def only(result: Any) -> Any:
    """The one tensor, where a layer takes or gives a tuple of one."""
    return result[0] if isinstance(result, tuple | list) and len(result) == 1 else result


def per_example(attributions: Any, rows: int) -> Tensor:
    """What attributions of any structure sum to for each example."""
    parts, _ = floats(attributions)
    if not parts or any(part.dim() == 0 or part.shape[0] != rows for part in parts):
        raise ArgumentError(
            "attributions",
            f"tensors of shapes {[tuple(part.shape) for part in parts]}",
            f"the {rows} examples of the end point in dimension 0",
            "Pass what `attribute` returned for these inputs.",
        )
    return torch.stack([part[..., None].flatten(1).sum(1) for part in parts]).sum(0)


def check_grad_kwargs(grad_kwargs: dict[str, Any] | None) -> None:
    """Refuse options of `torch.autograd.grad` that would change the result."""
    idle = ("retain_graph", "allow_unused", "materialize_grads")
    given = {name: value for name, value in (grad_kwargs or {}).items() if value is not None and value is not False}
    refused = {name: value for name, value in given.items() if name not in idle}
    if refused:
        raise ArgumentError(
            "grad_kwargs",
            repr(refused),
            f"no options but {', '.join(idle)}",
            "For attributions with a graph use attrfunc.bind and the functions of attrfunc.",
        )
