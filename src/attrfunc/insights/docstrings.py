"""What docstrings in Google's style say of a function and its arguments."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from typing import Any

__all__ = ["arguments", "choices", "summary"]

_SEE = re.compile(r"see `(attrfunc\.[\w.]+)`")
_ROW = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)  # of a table of names
_CHOICE = re.compile(r'`"([^"`]+)"`')


def summary(function: Callable[..., Any]) -> str:
    """The first sentence of a function's docstring."""
    return " ".join((inspect.getdoc(function) or "").partition("\n\n")[0].split())


def arguments(function: Callable[..., Any]) -> dict[str, str]:
    """What a function's docstring says of each argument; where it refers to a module, what that says of it."""
    text = inspect.getdoc(function) or ""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", text, re.MULTILINE)
    found = _entries(inspect.cleandoc(section[1])) if section else {}
    return {name: _resolved(name, told) for name, told in found.items()}


def choices(told: str) -> tuple[str, ...]:
    """The strings that a description lists, `"like"` `"this"`."""
    return tuple(dict.fromkeys(_CHOICE.findall(told)))


def _entries(text: str) -> dict[str, str]:
    """Paragraphs that begin with a name and a colon, by that name."""
    parts = re.split(r"^\*{0,2}(\w+)(?: \([^)]*\))?:[ \n]", text, flags=re.MULTILINE)
    return {name: " ".join(told.split()) for name, told in zip(parts[1::2], parts[2::2], strict=True)}


def _resolved(name: str, told: str) -> str:
    """A description, followed by what the module that it refers to says of the argument."""
    referred = _SEE.search(told)
    if referred is None:
        return told
    try:
        module = importlib.import_module(referred[1])
    except ImportError:
        return told
    text = inspect.cleandoc(module.__doc__ or "")
    further = _entries(text).get(name, "") or ", ".join(f'`"{one}"`' for one in _ROW.findall(text))
    own = told.replace(f"; {referred[0]}", "").removesuffix(".")
    return f"{own}. {further}" if further else told
