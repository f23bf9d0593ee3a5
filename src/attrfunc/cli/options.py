"""Methods by name, and their options as `name=value`, checked against the signature."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch

import attrfunc
from attrfunc.cli.failures import UsageError
from attrfunc.core.errors import suggestions
from attrfunc.diagnosis.recipes import RECIPES

__all__ = ["METHODS", "method_named", "parsed", "taken"]

OTHERS = ("shapley_interactions", "full_gradients", "integrated_hessians", "owen_values")
"""Those that give other things, or take a structure."""

METHODS: dict[str, Callable[..., Any]] = {
    "ig": attrfunc.integrated_gradients,
    **{name: getattr(attrfunc, name) for name in RECIPES if name not in OTHERS},
}
"""All that give one map of the input."""

# What the command line gives by itself, or has options for.
OWN = {
    "target": "--target",
    "layer": "--layer",
    "generator": "--seed",
    "progress": None,
    "args": None,
    "kwargs": None,
    "reshape": None,
    "rules": None,
    "perm_func": None,
    "similarity": None,
    "linear_model": None,
    "with_info": None,
    "nesting": None,
    "regions": None,
}


def method_named(name: str) -> Callable[..., Any]:
    """A method.

    Raises:
        UsageError: If there is none of that name.
    """
    if name not in METHODS:
        raise UsageError(f"--method {name!r} is no method. {suggestions(name, METHODS)} `attrfunc methods` lists all.")
    return METHODS[name]


def taken(method: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The options that a method takes here."""
    known = inspect.signature(method).parameters
    # A distribution of baselines is a list of grey values where a method needs one.
    hidden = {"model", "x", *OWN, *(["baselines"] if "baseline" in known or method is attrfunc.xrai else [])}
    return {name: one for name, one in known.items() if name not in hidden}


def parsed(method: Callable[..., Any], given: Sequence[str]) -> dict[str, Any]:
    """What `--option name=value` says.

    Args:
        method: The method.
        given: The options as they were written.

    Raises:
        UsageError: If one is not of this form, or the method has no such option.
    """
    known, found = taken(method), dict[str, Any]()
    for one in given:
        name, sign, text = one.partition("=")
        name = name.strip().replace("-", "_")
        if not sign or not name:
            raise UsageError(f"--option {one!r}: expected name=value, such as --option n_steps=20.")
        if name in OWN and name in inspect.signature(method).parameters:
            other = f"it is given by {OWN[name]}" if OWN[name] else "it takes what cannot be written on a command line"
            raise UsageError(f"--option {one!r}: {other}.")
        if name not in known:
            raise UsageError(f"--option {one!r}: {method.__name__} has no such option. {suggestions(name, known)}")
        found[name] = _value(text.strip(), known[name], one)
    return found


def _value(text: str, parameter: inspect.Parameter, one: str) -> Any:
    """A literal of Python, or the text itself; numbers stay what they are, and lists become tensors for baselines."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = text
    if parameter.name == "baseline":
        if isinstance(value, str):
            raise UsageError(f"--option {one!r}: expected a number, or numbers of the channels: baseline=0.5,0.4,0.3.")
        if isinstance(value, tuple | list):
            return torch.tensor(value, dtype=torch.float32).view(1, -1, 1, 1)
    if parameter.name == "baselines":
        value = value if isinstance(value, tuple | list) else (value,)
        if not all(isinstance(number, int | float) for number in value):
            raise UsageError(f"--option {one!r}: expected grey values, each of one baseline: baselines=-1,0,1.")
        return tuple(value)
    default = parameter.default
    if isinstance(value, str) and isinstance(default, int | float) and not isinstance(default, bool):
        raise UsageError(f"--option {one!r}: expected a number, as its default {default} is.")
    return value


def require_all(method: Callable[..., Any], given: dict[str, Any]) -> None:
    """Raise where an option is missing that has no default."""
    missing = [n for n, one in taken(method).items() if one.default is one.empty and n not in {"baselines", *given}]
    examples = {"window": "16,16", "n_samples": "200", "neuron": "0"}
    if missing:
        told = " ".join(f"--option {name}={examples.get(name, '...')}" for name in missing)
        raise UsageError(f"{method.__name__} needs {' and '.join(missing)}: {told}.")
