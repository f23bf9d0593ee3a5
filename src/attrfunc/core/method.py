"""What every public method does first: open the view, and name the method in errors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Concatenate, ParamSpec

from torch import nn
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, AttributionError, ModelError, describe, warn
from attrfunc.core.inputs import Inputs
from attrfunc.core.layer_problem import LayerProblem
from attrfunc.core.problem import Problem
from attrfunc.core.stateless import Twin, model_root, unsettled
from attrfunc.core.target import BatchScore, canonical
from attrfunc.core.transforms import explain
from attrfunc.core.trees import batch_size
from attrfunc.core.views import Model, View, as_view

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

    @functools.wraps(function)
    def call(model: Model, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        view = as_view(model)
        return function(replace(view, method=view.method or function.__name__), *args, **kwargs)

    return named(function.__name__, call)


def named(name: str, function: Callable[P, Any]) -> Callable[P, Any]:
    """Let every error that comes out of a function name it.

    Args:
        name: What its users call it.
        function: The function.

    Returns:
        The function under this name.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Any:
        try:
            return function(*args, **kwargs)
        except AttributionError as error:
            raise error.within(name)  # noqa: B904  # the same error, now with its name
        except RuntimeError as error:
            explanation = explain(error)
            if explanation is None:
                raise
            raise explanation.within(name) from error

    call.__name__ = name
    return call


def each_layer(function: Callable[Concatenate[Model, P], Any]) -> Callable[Concatenate[Model, P], Any]:
    """Let a function of one point take a list of layers: the list of what it gives for each.

    Args:
        function: The algorithm, which moves one point along a path.

    Returns:
        The same, for lists of layers too.
    """

    @functools.wraps(function)
    def call(view: Model, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        assert isinstance(view, View)
        if view.several and not view.joint:
            return [function(one, *args, **kwargs) for one in view.each()]
        return function(view, *args, **kwargs)

    return call


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
        ModelError: If the model has backward hooks.
    """
    view = replace(as_view(model), differentiated=differentiate)
    rows = batch_size(x)
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
    twin = Twin(view.model, view.tensors)
    _warn_of_training(view, twin)
    if differentiate:
        _refuse_backward_hooks(view, twin)
    inputs = Inputs(x, tuple(args), dict(kwargs or {}), index, rows)
    if view.sites:
        return LayerProblem(view, inputs, twin)
    for leaf in pytree.tree_leaves(x) if differentiate else ():
        if not leaf.is_floating_point():
            raise ArgumentError(
                "x", describe(leaf), "floating-point inputs, which have a gradient", _embedding_hint(view)
            )
    return Problem(view, inputs, twin)


def _warn_of_training(view: View, twin: Twin) -> None:
    culprits = [module for module in twin.modules if unsettled(module)]
    if culprits:
        names = ", ".join(_name(view, module) for module in culprits[:3])
        more = f" and {len(culprits) - 3} more" if len(culprits) > 3 else ""
        warn(
            f"{view.method}: the model is in training mode ({names}{more}), so its scores are random or depend on the "
            "batch. Call model.eval() first."
        )


def _refuse_backward_hooks(view: View, twin: Twin) -> None:
    for module in twin.modules:
        if module._backward_hooks or module._backward_pre_hooks:
            raise ModelError(
                f"torch.func cannot run the backward hooks of {_name(view, module)}. "
                "Remove them for the attribution: handle.remove()."
            )


def _name(view: View, module: nn.Module) -> str:
    root = model_root(view.model)
    names = {part: name for name, part in root.named_modules()} if root is not None else {}
    return f"{type(module).__name__} {names.get(module, '')!r}"


def _embedding_hint(view: View) -> str:
    root = model_root(view.model)
    parts = root.named_modules() if root is not None else ()
    names = [repr(name) for name, part in parts if isinstance(part, nn.Embedding | nn.EmbeddingBag)]
    example = names[0] if names else "'embedding'"
    found = f" (it has {', '.join(names)})" if names else ""
    return f"Attribute to the model's embedding layer{found}: af.layer(model, {example})."
