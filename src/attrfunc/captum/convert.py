"""Captum's arguments in attrfunc's form, and attrfunc's results and errors in Captum's."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import attrfunc as af
from attrfunc.captum.forms import Baselines as Baselines
from attrfunc.captum.other_rows import of_fractions, of_other_rows
from attrfunc.captum.unbatched import as_batch_of_one, named
from attrfunc.core.errors import ArgumentError, ModelError, Speaker
from attrfunc.core.model.sites import Side
from attrfunc.core.trees import batch_size, floats

__all__ = [
    "RENAMED", "CallError", "as_activation", "as_args", "as_baseline", "as_contribution", "as_groups", "as_mask",
    "as_samples", "as_window", "captum_call", "check_grad_kwargs", "only", "per_example", "rows_of", "side",
]  # fmt: skip

P = ParamSpec("P")
R = TypeVar("R")

_INSIDE: ContextVar[bool] = ContextVar("inside", default=False)  # of a call of another class

RENAMED = {
    "abs": "absolute",
    "additional_forward_args": "args",
    "attr_dim_summation": "sum_channels",
    "attribute_to_layer_input": "side",
    "attribute_to_neuron_input": "side",
    "baselines": "baseline",
    "custom_attribution_func": "contribution",
    "dataloader": "batches",
    "inputs": "x",
    "internal_batch_size": "chunk_size",
    "max_examples_per_batch": "chunk_size",
    "layer_baselines": "baseline",
    "layer_mask": "feature_mask",
    "n_perturb_samples": "n_samples",
    "neuron_selector": "neuron",
    "nt_samples": "n_samples",
    "nt_type": "kind",
    "perturb_func": "perturb",
    "perturbations_per_eval": "chunk_size",
    "relu_attributions": "relu",
    "show_progress": "progress",
    "sliding_window_shapes": "window",
    "stdevs": "stdev",
    "strides": "stride",
}
"""What arguments of Captum's are called in attrfunc."""

_WHOSE = {new: old for old, new in RENAMED.items()} | {
    "baseline": "baselines",
    "chunk_size": "internal_batch_size",
    "mode": "interpolate_mode",
    "selector": "neuron_selector",
    "where": "layer",
}


class CallError(ArgumentError, AssertionError):
    """An argument that cannot be right; scripts of Captum's expect an `AssertionError`."""


def captum_call(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function or method behave as Captum's: no graph to parameters; errors and warnings in its own words."""
    parameters = inspect.signature(function).parameters
    names = (
        _WHOSE | {name: name for name in parameters} | {RENAMED[name]: name for name in parameters if name in RENAMED}
    )

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        outermost = not _INSIDE.get()
        token = _INSIDE.set(True)
        name = f"{type(args[0]).__name__}.{function.__name__}" if "self" in parameters else function.__name__
        name = name.removesuffix(".__init__")
        try:
            with torch.no_grad(), Speaker(name):
                return function(*args, **kwargs)
        except ModelError as error:
            raise error.within(name)  # noqa: B904  # the same error, now with its name
        except ArgumentError as error:
            found = _without_batch(function, args, kwargs, error) if outermost else None
            if found is not None:
                return found
            if error.settled:
                raise  # a class that this one calls has named its own argument
            argument = names.get(error.argument, error.argument)
            fix = error.fix.replace(f"{error.argument}=", f"{argument}=")
            raise CallError(argument, error.got, error.expected, fix).within(name, settled=True) from error
        finally:
            _INSIDE.reset(token)

    return call


def _without_batch(function: Callable[..., Any], args: Any, kwargs: Any, error: ArgumentError) -> Any:
    """What a call gives whose inputs have no batch dimension, or other rows than outputs, if that is why it failed."""
    if error.argument not in ("target", "x", "inputs") or function.__name__ != "attribute":
        return None
    arguments = named(function, args, kwargs)
    further = as_args(arguments.get("additional_forward_args"))
    with torch.no_grad():
        for other in _others(args[0]):
            try:
                found = other(function, arguments, further)
            except (ArgumentError, RuntimeError, TypeError, ValueError, IndexError):
                continue  # the first error says what is wrong
            if found is not None:
                return found
    return None


def _others(explainer: Any) -> list[Callable[..., Any]]:
    """Ways to take the inputs of a class that are no batch of examples, one for each row of the output."""
    inner = getattr(explainer, "attribution_method", explainer)
    path = getattr(inner, "_draws_baselines", False) or "n_steps" in inspect.signature(inner.attribute).parameters
    fractions = [of_fractions] if path else []
    if hasattr(explainer, "layer"):
        return [of_other_rows, *fractions]
    differentiates = hasattr(explainer, "compute_convergence_delta") and not explainer._draws_baselines
    return [as_batch_of_one, *([of_other_rows] if differentiates else []), *fractions]


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


def as_activation(baselines: Any) -> Any:
    """What replaces a layer's activation, nested as this is."""
    return af.activation_baseline(None if baselines is None else lambda activation: as_baseline(baselines, activation))


def as_contribution(function: Callable[..., Any] | None) -> Any:
    """A function of multipliers, of these and inputs, or of these and baselines too, each a tuple, as one of all."""
    if function is None:
        return None
    count = len(inspect.signature(function).parameters) or 3

    def contribution(*parts: Any) -> Any:
        made = function(*[tuple(part) if isinstance(part, tuple | list) else (part,) for part in parts[:count]])
        return made if isinstance(parts[0], tuple) else only(made)

    return contribution


def as_window(window: Any, inputs: Any) -> Any:
    """Windows as the inputs are nested: that of one input may stand in a tuple."""
    return window[0] if len(pytree.tree_leaves(inputs)) == 1 and isinstance(window[0], tuple) else window


def rows_of(inputs: Any) -> int:
    """The number of examples, or of rows of the first of several batches."""
    leaf = pytree.tree_leaves(inputs)[0]
    return leaf.shape[0] if leaf.dim() else batch_size(inputs)  # which raises


def as_mask(feature_mask: Any, inputs: Any) -> Any:
    """Groups of features nested as the inputs are; numbers of groups may be floating-point."""
    return as_baseline(as_groups(feature_mask), inputs)


def as_groups(mask: Any) -> Any:
    """A mask of floating-point numbers as one of integers: each number is a group."""
    parts = [part for part in pytree.tree_leaves(mask) if isinstance(part, Tensor)]
    if not any(part.is_floating_point() for part in parts):
        return mask
    numbers = torch.cat([part.flatten().double() for part in parts]).unique()
    if not bool(numbers.isfinite().all()):
        return mask  # which is refused, in words
    whole = bool((numbers == numbers.round()).all()) and bool((numbers >= 0).all())

    def numbered(part: Tensor) -> Tensor:
        return part.long() if whole else torch.searchsorted(numbers, part.double())

    return pytree.tree_map_only(Tensor, numbered, mask)


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
