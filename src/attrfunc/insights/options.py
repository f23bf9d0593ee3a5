"""The options of methods, read from their signatures and docstrings, as something a user can fill in."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from attrfunc.core.errors import ArgumentError, describe, suggestions
from attrfunc.insights.docstrings import arguments, choices
from attrfunc.insights.inputs import Image, Input
from attrfunc.insights.methods import Method

__all__ = ["Option", "checked", "number_within", "options_of"]

Form = Literal["whole", "real", "flag", "choice"]

# What the page itself sets from the input, the class, the layer, the baseline and the seed that were chosen.
GIVEN = frozenset(
    {
        *("model", "x", "target", "args", "kwargs", "layer", "layers", "side", "call", "reshape", "regions"),
        *("baseline", "baselines", "generator", "feature_mask", "chunk_size", "progress", "with_info", "sum_channels"),
    }
)
# What a method asks for without a default. Windows are given by one number: the length of a side of those of pictures.
SUGGESTED: dict[str, Any] = {"n_samples": 200}
LARGEST = 10_000
"""The largest whole number that is taken: a request may not use up the machine's memory."""
EXTENTS = ("window", "stride")
BOOKS = ("attn_lrp", "cp_lrp", "epsilon_plus", "epsilon_plus_flat", "epsilon_alpha2_beta1", "epsilon_gamma_box")


@dataclass(frozen=True)
class Option:
    """One option of a method.

    Attributes:
        name: The argument's name.
        form: How it is filled in.
        default: What it is before that; None where it may be left out.
        choices: What there is to choose from.
        told: What the docstring says of it.
        optional: Whether it may be left out.
    """

    name: str
    form: Form
    default: Any
    choices: tuple[str, ...] = ()
    told: str = ""
    optional: bool = False


def options_of(method: Method, inputs: Sequence[Input]) -> tuple[Option, ...]:
    """The options of a method, in the order of its signature; those that no form fits are left at their defaults."""
    told = arguments(method.function)
    sides = [min(one.size or (224, 224)) for one in inputs if isinstance(one, Image)] or [1]
    suggested = {**SUGGESTED, "window": max(sides[0] // 7, 1), "stride": max(sides[0] // 14, 1)}
    parameters = method.parameters.items()
    found = [_option(method, parameter, told.get(name, ""), suggested.get(name)) for name, parameter in parameters]
    return tuple(one for one in found if one is not None)


def _option(method: Method, parameter: inspect.Parameter, told: str, suggested: Any) -> Option | None:
    name, required = parameter.name, parameter.default is inspect.Parameter.empty
    if name in GIVEN:
        return None
    if name == "rules":
        # Guided backpropagation, deconvolution and DeepLIFT are their own books.
        return Option(name, "choice", None, BOOKS, told, True) if method.name == "lrp" else None
    default = suggested if required or name in EXTENTS else parameter.default
    annotation = str(parameter.annotation)
    optional = not required and ("None" in annotation or default is None)
    listed = choices(told) or (
        choices(annotation.replace("'", '`"').replace('"]', '"`]')) if "Literal" in annotation else ()
    )
    if isinstance(default, bool):
        return Option(name, "flag", default, told=told)
    if isinstance(default, str):
        return Option(name, "choice", default, tuple(dict.fromkeys([default, *listed])), told)
    if isinstance(default, int) or annotation.startswith("int"):
        return Option(name, "whole", default, told=told, optional=optional)
    if isinstance(default, float) or (annotation.startswith(("float", "Any")) and default is not None):
        return Option(name, "real", default, told=told, optional=optional)
    if annotation.startswith("float"):
        return Option(name, "real", None, told=told, optional=True)
    return None


def checked(method: Method, inputs: Sequence[Input], given: Mapping[str, Any]) -> dict[str, Any]:
    """What was filled in, without what is as it is by default.

    Args:
        method: The method.
        inputs: What it is to attribute to.
        given: Values by the option's name, of any type: they may come from anywhere.

    Returns:
        Values of the right types, by name.

    Raises:
        ArgumentError: If an option is not known or its value cannot be right.
    """
    known = {option.name: option for option in options_of(method, inputs)}
    found = {}
    for name, value in given.items():
        if name not in known:
            raise ArgumentError(
                str(name), repr(value)[:60], f"an option of {method.name}", suggestions(str(name), known)
            )
        value = _value(known[name], value)
        required = method.parameters[name].default is inspect.Parameter.empty
        if required or value != known[name].default or name in EXTENTS:
            found[name] = value
    for name, option in known.items():
        if name not in given and method.parameters[name].default is inspect.Parameter.empty:
            found[name] = option.default
    return found


def _value(option: Option, value: Any) -> Any:
    if value is None or value == "":
        if option.optional:
            return None
        raise ArgumentError(option.name, "nothing", "a value", f"Its default is {option.default!r}.")
    if option.form == "flag":
        if isinstance(value, bool):
            return value
        raise ArgumentError(option.name, describe(value), "true or false", f"Its default is {option.default!r}.")
    if option.form == "choice":
        if isinstance(value, str) and value in option.choices:
            return value
        listed = ", ".join(map(repr, option.choices))
        raise ArgumentError(option.name, describe(value), f"one of {listed}", "Choose one of these.")
    return _number(option, value)


def _number(option: Option, value: Any) -> int | float:
    fix = f"Its default is {option.default!r}."
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not math.isfinite(number):
        raise ArgumentError(option.name, describe(value), "a number", fix)
    if option.form == "whole":
        if number != int(number):
            raise ArgumentError(option.name, describe(value), "a whole number", fix)
        return number_within(option.name, int(number), max(LARGEST, option.default or 0))
    return number


def number_within(name: str, number: int, most: int = LARGEST) -> int:
    """Raise for a whole number that would take all of the machine.

    Args:
        name: What it is called.
        number: The number.
        most: The largest that is taken.
    """
    if number > most:
        fix = "Take fewer, or call the method in Python."
        raise ArgumentError(name, f"{number}", f"at most {most:,} on a page", fix)
    return number
