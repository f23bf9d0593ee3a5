"""The call of a method: what is computed, and the Python code of the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from attrfunc.core.errors import ArgumentError, describe, positive, suggestions
from attrfunc.core.score.views import Model, as_view, layer
from attrfunc.gradient.smooth import smooth
from attrfunc.insights.inputs import Text, Value
from attrfunc.insights.methods import Method, fitting
from attrfunc.insights.options import EXTENTS, checked, number_within
from attrfunc.insights.task import Task
from attrfunc.perturbation.feature_masks import grid_mask
from attrfunc.propagation import rules

__all__ = ["SCORES", "Call", "Request", "call_of", "last_convolution"]

SCORES = ("output", "log-probability")
PATCHES, FEW_PATCHES, MOST_PATCHES = 7, 3, 64
ALL_COALITIONS = ("shapley_values", "banzhaf_values")  # two to the power of the number of groups

Report = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Request:
    """What a user wants to see.

    Attributes:
        model: The model's name.
        x: The input, one tensor `(1, *S)` for each argument of the model.
        method: The method's name.
        target: The class; None where the model has one output.
        options: Options of the method, by name.
        score: What is explained of the class: the model's `"output"`, or its `"log-probability"`.
        layer: The layer that is attributed to, by name; None is the input.
        call: Which of its calls, where it runs several times.
        baseline: What stands in place of the input, by its name; None is the first of `Input.baselines`.
        patches: How many patches a side an image is cut into, for methods of groups of features; None is 7, or 3 where
            all coalitions of them are evaluated.
        samples: How many noisy copies are averaged by `af.smooth`; 0 is none.
        stdev: The standard deviation of their noise.
        seed: That of the generator.
        shown: What is drawn of each input, where that is not `x`.
    """

    model: str
    x: tuple[Tensor, ...]
    method: str = "integrated_gradients"
    target: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    score: str = "output"
    layer: str | None = None
    call: int | None = None
    baseline: str | None = None
    patches: int | None = None
    samples: int = 0
    stdev: float = 0.1
    seed: int = 0
    shown: tuple[Tensor, ...] | None = None


@dataclass(frozen=True, eq=False)
class Call:
    """A call that is ready to be made.

    Attributes:
        run: Makes it; it takes a callable `(done, total)` that is told of progress.
        code: Python that makes it, from `model` and `x`.
        data: Tensors that the code needs besides, by name.
    """

    run: Callable[[Report], Any]
    code: str
    data: Mapping[str, Tensor]


def call_of(task: Task, request: Request, background: tuple[Tensor, ...] = ()) -> Call:
    """The call that a request asks for.

    Args:
        task: The task.
        request: The request; nothing in it is trusted.
        background: Examples of each input `(N, *S)`, for methods that take a distribution of baselines.

    Raises:
        ArgumentError: If a part of it is not known or cannot be right.
    """
    if request.model not in task.models:
        fix = suggestions(request.model, task.models)
        raise ArgumentError("model", repr(request.model)[:80], "the name of a model", fix)
    known = fitting(task.inputs)
    if request.method not in known:
        fix = suggestions(request.method, known)
        raise ArgumentError("method", repr(request.method)[:80], "a method that fits the input", fix)
    method = known[request.method]
    view, options = _view(task, method, request)
    data: dict[str, Tensor] = {}
    options |= _target(task, method, request) | _baseline(task, method, request, background, data)
    options |= _mask(task, method, request, data) | _chosen(task, method, request)
    number = _seed(request)
    seed = Value(number, f"torch.Generator().manual_seed({number})")
    x = request.x[0] if len(request.x) == 1 else request.x
    smoothing = _smoothing(request)

    def run(report: Report) -> Any:
        given = {name: one.value for name, one in options.items()}
        if "generator" in method.parameters:
            given["generator"] = torch.Generator().manual_seed(seed.value)
        function = method.function
        if smoothing:
            generator = torch.Generator().manual_seed(seed.value)
            function = smooth(function, **smoothing, generator=generator, progress=report)
        elif "progress" in method.parameters:
            given["progress"] = report
        return function(view.value, x, **given)

    named = f"af.{method.name}"
    if smoothing:
        told = "".join(f", {name}={value!r}" for name, value in smoothing.items())
        named = f"af.smooth({named}{told}, generator={seed.code})"
    if "generator" in method.parameters:
        options["generator"] = seed
    lines = [view.code, "x", *(f"{name}={one.code}" for name, one in options.items())]
    return Call(run, f"attributions = {named}(\n" + "".join(f"    {line},\n" for line in lines) + ")", data)


def last_convolution(model: Model) -> str | None:
    """The name of a model's last convolution over two dimensions, where class activation maps look; None if none is."""
    root = as_view(model).model
    if not isinstance(root, nn.Module):
        return None
    return next((name for name, part in reversed(list(root.named_modules())) if isinstance(part, nn.Conv2d)), None)


def _view(task: Task, method: Method, request: Request) -> tuple[Value, dict[str, Value]]:
    """The model or a view of it, and the layer that the method names itself."""
    model, where = task.models[request.model], request.layer or None
    view, options = Value(model, "model"), {}
    of_text = len(task.inputs) == 1 and isinstance(task.inputs[0], Text) and method.takes_gradients
    call = {} if request.call is None else {"call": request.call}
    if method.names_layer:
        where = where or last_convolution(model)
        if where is None:
            fix = "Choose a layer."
            raise ArgumentError("layer", "none", f"the name of a layer, which {method.name} needs", fix)
        options = {"layer": Value(where, repr(where))}
        options |= {name: Value(number, repr(number)) for name, number in call.items()}
        where, call = None, {}
    if of_text and where is None:
        where = getattr(task.inputs[0], "embedding", None)
        if where is None:
            fix = "Choose the layer that embeds tokens, a method that takes no gradient, or say Text(embedding=...)."
            raise ArgumentError("layer", "none", "a layer: numbers of tokens have no gradient", fix)
    if where is not None:
        told = "".join(f", {name}={number}" for name, number in call.items())
        view = Value(layer(model, where, call=request.call if call else None), f"af.layer(model, {where!r}{told})")
    return view, options


def _target(task: Task, method: Method, request: Request) -> dict[str, Value]:
    number = request.target
    if "target" not in method.parameters or number is None:
        return {}
    if request.score not in SCORES:
        fix = suggestions(request.score, SCORES)
        raise ArgumentError("score", repr(request.score)[:80], f"one of {', '.join(SCORES)}", fix)
    if request.score == "output":
        return {"target": Value(number, repr(number))}
    if task.probabilities is not None:
        fix = "Explain the output itself."
        raise ArgumentError("score", "'log-probability'", "'output', where the task makes its own probabilities", fix)
    code = f'lambda output: getattr(output, "logits", output).log_softmax(-1)[:, {number}]'
    return {"target": Value(partial(_log_probability, number=number), code)}


def _log_probability(output: Any, number: int) -> Tensor:
    scores: Tensor = getattr(output, "logits", output)
    return scores.log_softmax(-1)[:, number]


def _baseline(
    task: Task, method: Method, request: Request, background: tuple[Tensor, ...], data: dict[str, Tensor]
) -> dict[str, Value]:
    """The baseline, or the distribution that the method asks for."""
    several = "baselines" in method.parameters and "baseline" not in method.parameters
    if not several and "baseline" not in method.parameters:
        return {}
    if several and method.name == "xrai":
        return {}
    parts = [_named(one.baselines(leaf, code), request.baseline) for one, leaf, code in _leaves(task, request)]
    if request.baseline is not None and not any(found for _, found in parts):
        known = list(
            dict.fromkeys(name for one, leaf, code in _leaves(task, request) for name in one.baselines(leaf, code))
        )
        fix = suggestions(request.baseline, known)
        raise ArgumentError("baseline", repr(request.baseline)[:80], "the name of a baseline", fix)
    values = [value for value, _ in parts]
    for number, value in enumerate(values):
        if not value.code:  # a function of the user's made it
            data[f"baseline{number}"] = value.value
            values[number] = Value(value.value, f"baseline{number}")
    if several and request.baseline is None and background:
        for number, (rows, leaf) in enumerate(zip(background, request.x, strict=True)):
            if rows.shape[1:] == leaf.shape[1:]:
                name = f"background{number}" if len(background) > 1 else "background"
                data[name] = rows
                values[number] = Value(rows, name)
    elif not several and all(
        value.code == f"torch.zeros_like({code})" for value, code in zip(values, _codes(request), strict=True)
    ):
        return {}  # zeros are what there is by default
    return {"baselines" if several else "baseline": _together(values)}


def _named(known: Mapping[str, Value], name: str | None) -> tuple[Value, bool]:
    """The baseline of this name, and whether there is one; the first where there is not."""
    return (known[name], True) if name is not None and name in known else (next(iter(known.values())), False)


def _mask(task: Task, method: Method, request: Request, data: dict[str, Tensor]) -> dict[str, Value]:
    """Groups of features: patches of images, and the tokens and columns of others."""
    kinds = [one.kind for one in task.inputs]
    if "feature_mask" not in method.parameters or request.layer or "image" not in kinds:
        return {}
    default = FEW_PATCHES if method.name in ALL_COALITIONS else PATCHES
    count = default if request.patches is None else positive("patches", request.patches)
    number_within("patches", count, MOST_PATCHES)
    masks, first = [], 0
    for kind, leaf, code in zip(kinds, request.x, _codes(request), strict=True):
        if kind == "image":
            cell = tuple(math.ceil(length / count) for length in leaf.shape[-2:])
            mask = Value(grid_mask(leaf, cell), f"af.masks.grid_mask({code}, {cell})")
        else:
            mask = Value(torch.arange(leaf.shape[1])[None], f"torch.arange({leaf.shape[1]})[None]")
        if first:
            mask = Value(mask.value + first, f"{first} + {mask.code}")
        masks.append(mask)
        first = int(mask.value.max()) + 1
    return {"feature_mask": _together(masks)}


def _chosen(task: Task, method: Method, request: Request) -> dict[str, Value]:
    """The options that were filled in."""
    found = {}
    for name, value in checked(method, task.inputs, request.options).items():
        if name in EXTENTS and value is not None:
            each = [(value, value) if one.kind == "image" else 1 for one in task.inputs]
            found[name] = _together([Value(one, repr(one)) for one in each])
        elif name == "rules" and value is not None:
            found[name] = Value(getattr(rules, value)(), f"af.rules.{value}()")
        else:
            found[name] = Value(value, repr(value))
    return found


def _smoothing(request: Request) -> dict[str, Any]:
    if not request.samples:
        return {}
    return {"n_samples": number_within("samples", positive("samples", request.samples)), "stdev": float(request.stdev)}


def _seed(request: Request) -> int:
    number = request.seed
    if isinstance(number, bool) or not isinstance(number, int) or not -(2**63) <= number < 2**63:
        raise ArgumentError("seed", describe(number), "a whole number of 64 bits", "Pass seed=0, say.")
    return number


def _codes(request: Request) -> list[str]:
    return ["x"] if len(request.x) == 1 else [f"x[{number}]" for number in range(len(request.x))]


def _leaves(task: Task, request: Request) -> list[tuple[Any, Tensor, str]]:
    return list(zip(task.inputs, request.x, _codes(request), strict=True))


def _together(values: list[Value]) -> Value:
    """One value, or a tuple of them."""
    if len(values) == 1:
        return values[0]
    return Value(tuple(one.value for one in values), f"({', '.join(one.code for one in values)})")
