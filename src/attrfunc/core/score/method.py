"""What every public method does first: open the view, and name the method in errors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Concatenate, ParamSpec

import torch
from torch import nn

from attrfunc.core.errors import ArgumentError, AttributionError, Speaker, describe, warn
from attrfunc.core.model.culprits import diagnose
from attrfunc.core.model.engines import functional, transformed
from attrfunc.core.model.parts import named_modules, unsettled
from attrfunc.core.model.twin import Twin
from attrfunc.core.score.call import require_call
from attrfunc.core.score.inputs import Inputs
from attrfunc.core.score.misfit import misfit
from attrfunc.core.score.problem import Plan, Problem
from attrfunc.core.score.target import BatchScore, canonical
from attrfunc.core.score.views import Model, View, as_view
from attrfunc.core.trees import batch_size

__all__ = ["each_layer", "method", "named", "open_problem"]

P = ParamSpec("P")


def method(function: Callable[Concatenate[Model, P], Any]) -> Callable[Concatenate[Model, P], Any]:
    """Make a function of an opened view a public method.

    Every error and warning that comes out names the method.

    Args:
        function: The algorithm; it receives the model as a `View`.

    Returns:
        The public method.
    """
    apart = getattr(function, "_each_layer", False)

    @functools.wraps(function)
    def call(model: Model, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        try:
            view = as_view(model)
            with _speaking(function.__name__):
                if apart and view.place.several and not view.place.joint:
                    return [function(one, *args, **kwargs) for one in view.each()]
                return function(view, *args, **kwargs)
        except AttributionError as error:
            raise error.within(function.__name__)  # noqa: B904  # the same error, now with its name
        except (RuntimeError, TypeError, IndexError) as error:
            told = diagnose(error) or misfit(error, view, args[0] if args else None, kwargs)
            if told is None:
                raise
            raise told.within(function.__name__) from error

    return call


def _speaking(name: str) -> AbstractContextManager[None]:
    return nullcontext() if torch.compiler.is_compiling() else Speaker(name)


def named(name: str, function: Callable[P, Any]) -> Callable[P, Any]:
    """Let every error and warning that comes out of a function name it.

    Args:
        name: What its users call it.
        function: The function.

    Returns:
        The function under this name.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Any:
        try:
            with _speaking(name):
                return function(*args, **kwargs)
        except AttributionError as error:
            raise error.within(name)  # noqa: B904  # the same error, now with its name

    call.__name__ = name
    return call


def each_layer(function: Callable[Concatenate[Model, P], Any]) -> Callable[Concatenate[Model, P], Any]:
    """Let a method of one point, that `method` makes of this, take a list of layers: the list of what each gives."""
    function._each_layer = True  # type: ignore[attr-defined]
    return function


def open_problem(
    model: Model,
    x: Any,
    target: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None,
    *,
    differentiate: bool = True,
) -> Problem:
    """Open a view on an input.

    Args:
        model: The view.
        x: The input.
        target: The target, in any of its forms.
        args: Further positional arguments of the model.
        kwargs: Keyword arguments of the model.
        differentiate: Whether the method takes gradients. One that does not takes inputs and scores of integers too,
            and scores of whole batches.

    Returns:
        The problem.

    Raises:
        ArgumentError: If the input, the target or the view cannot be right.
    """
    view = as_view(model)
    if not differentiate:
        view = replace(view, differentiated=False)
    rows = batch_size(x)
    require_call(view, x, args, kwargs)
    if view.output is None:
        index = canonical(target, rows)
    elif target is not None:
        raise ArgumentError("target", describe(target), "None, since the neuron's selector is the target", "Drop it.")
    else:
        index = canonical(view.output[1], rows, "selector")
    if differentiate and isinstance(index, BatchScore):
        raise ArgumentError(
            "selector" if view.output else "target",
            "a batch_score",
            "a score for each example",
            "Scores of whole batches are for methods that do not differentiate, such as feature_ablation.",
        )
    seen, within = any(map(transformed, (x, tuple(args), kwargs, index, view.tensors))), functional()
    twin = Twin(view.model, view.tensors, shares=differentiate and not (seen or within), folds=view.folds)
    _warn_of_training(view, twin)
    plan = Plan(plain_attention=seen and (within or torch.is_grad_enabled()))
    return Problem(view, Inputs.of(x, args, kwargs, index), twin, plan, closed=twin.detached and not seen)


def _warn_of_training(view: View, twin: Twin) -> None:
    culprits = unsettled(twin.parts)
    if culprits:
        names = ", ".join(_name(view, module) for module in culprits[:3])
        more = f" and {len(culprits) - 3} more" if len(culprits) > 3 else ""
        warn(
            f"the model is in training mode ({names}{more}), so its scores are random or depend on the "
            "batch. Call model.eval() first."
        )


def _name(view: View, module: nn.Module) -> str:
    names = {part: name for name, part in named_modules(view.model).items()}
    return f"{type(module).__name__} {names.get(module, '')!r}"
