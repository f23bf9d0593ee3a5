"""`doctor`: tries methods on a user's model."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, AttributionError, describe, suggestions
from attrfunc.core.model.parts import model_root
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import View
from attrfunc.diagnosis.patient import Patient
from attrfunc.diagnosis.recipes import RECIPES, Recipe
from attrfunc.diagnosis.report import Diagnosis, Finding

__all__ = ["doctor"]


def doctor(
    model: Any,
    x: Any,
    *,
    target: Target = None,
    methods: Sequence[str] | None = None,
    baseline: Baseline = None,
    layer: str | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    time_limit: float | None = None,
    memory: bool = True,
) -> Diagnosis:
    """Try methods on a model: which are right on it, which are refused and why, and what they cost.

    A method is compared with the same numbers by hand, in plain loops and plain autograd on copies of the model:
    gradients, integrals over paths, activations and their gradients by hooks, all coalitions of a few groups of
    features. Where there is nothing to compare with, other ways to call it have to agree. After each call the model has
    to be what it was, and torch's source of randomness, too. Few points and samples are taken, so that it takes seconds
    on small models.

    Args:
        model: A module, or any callable.
        x: A few of its inputs, a tensor `(B, *S)` or a structure of them; two or three tell more than one.
        target: Which output is attributed; see `attrfunc.core.score.target`. `None` takes the largest one of each
            example.
        methods: Names of methods in `attrfunc`; `None` tries all that attribute one batch.
        baseline: Where paths start and what replaces features; see `attrfunc.core.score.baseline`.
        layer: The layer that methods look at which need one; by default one that fits, which the table tells.
        args: Further positional arguments of the model.
        kwargs: Keyword arguments of the model.
        time_limit: Seconds after which no further method is begun.
        memory: Whether to measure memory, too, for which each method is called once more.

    Returns:
        A `Diagnosis`: printed, a table; `findings` has the rows, `to_markdown` and `to_json` write them. It changes
        nothing of the model.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If the model does not run on `x`.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        >>> found = af.doctor(model, torch.randn(3, 4), methods=["ig", "deep_lift", "rise"])
        >>> [one.verdict for one in found.findings]
        ['right', 'right', 'refused']
        >>> found["ig"].check
        'a loop over the path'
    """
    given = {"target": target, "baseline": baseline, "layer": layer, "args": args, "kwargs": kwargs}
    try:  # and no more: the methods are to speak for themselves
        return _examined(model, x, methods, time_limit, memory, given)
    except AttributionError as error:
        raise error.within("doctor")  # noqa: B904  # the same error, now with its name


def _examined(
    model: Any, x: Any, methods: Any, time_limit: float | None, memory: bool, given: dict[str, Any]
) -> Diagnosis:
    recipes = _chosen(methods)
    if isinstance(model, View) or not callable(model):
        fix = "Pass the model itself; `layer` says where methods look that need a layer."
        raise ArgumentError("model", describe(model), "an nn.Module or a callable", fix)
    devices = sorted({leaf.device.index or 0 for leaf in pytree.tree_leaves(x) if _on_cuda(leaf)})
    with torch.random.fork_rng(devices=devices):
        patient = Patient(model, x, memory, given)
        findings: list[Finding] = []
        begun = time.perf_counter()
        for name, recipe in recipes.items():
            if time_limit is not None and time.perf_counter() - begun > time_limit:
                patient.notes.append(f"{len(recipes) - len(findings)} methods were not tried within {time_limit:g} s")
                break
            findings.append(replace(patient.examine(recipe), method=name))
    return Diagnosis(
        model=type(model if model_root(model) is None else model_root(model)).__name__,
        findings=tuple(findings),
        notes=tuple(patient.notes),
        target=patient.told_target,
        seconds=patient.seconds,
        memory=patient.memory,
        parameters=patient.parameters,
    )


def _on_cuda(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.device.type == "cuda"


def _chosen(methods: Any) -> dict[str, Recipe]:
    if methods is None:
        return dict(RECIPES)
    known = {"ig": RECIPES["integrated_gradients"], **RECIPES}
    if isinstance(methods, str) or not isinstance(methods, Sequence) or not methods:
        raise ArgumentError("methods", describe(methods), "a list of names", "Pass methods=['ig', 'lrp'], say.")
    for name in methods:
        if name not in known:
            raise ArgumentError("methods", describe(name), "names of methods", suggestions(str(name), known))
    return {name: known[name] for name in methods}
