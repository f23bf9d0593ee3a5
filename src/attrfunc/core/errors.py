"""The library's errors: each names the function, the argument, what it got, what was expected, and the fix."""

from __future__ import annotations

import difflib
import operator
import sys
import warnings
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Self

from torch import Tensor
from torch.utils import _pytree as pytree

__all__ = [
    "ArgumentError",
    "AttributionError",
    "ModelError",
    "Speaker",
    "describe",
    "positive",
    "suggestions",
    "warn",
]


class AttributionError(Exception):
    """Base of every error that attrfunc raises on purpose."""

    function: str | None = None
    settled = False

    def within(self, function: str, *, settled: bool = False) -> Self:
        """Name the public function that was called: the outermost one, where one calls another.

        Args:
            function: Its name.
            settled: Whether the argument is that function's own, whoever calls it.
        """
        self.function = self.function if self.settled else function
        self.settled = self.settled or settled
        return self

    def __str__(self) -> str:
        message = super().__str__()
        return f"{self.function}: {message}" if self.function else message


class ArgumentError(AttributionError, ValueError):
    """An argument that cannot be right.

    Attributes:
        argument: Name of the argument.
        got: What was received.
        expected: What would have been right.
        fix: What the caller can do.
    """

    def __init__(self, argument: str, got: str, expected: str, fix: str) -> None:
        super().__init__(f"argument `{argument}`: got {got}; expected {expected}. {fix}")
        self.argument, self.got, self.expected, self.fix = argument, got, expected, fix

    def __reduce__(self) -> tuple[object, ...]:
        """So that it travels between processes."""
        return type(self), (self.argument, self.got, self.expected, self.fix), self.__dict__


class ModelError(AttributionError, RuntimeError):
    """A model whose score cannot be evaluated or differentiated as asked."""


def describe(value: object) -> str:
    """Shape and dtype of a tensor, type and value of anything else, cut to one line."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} and dtype {value.dtype}"
    text = repr(pytree.tree_map_only(Tensor, _Shape, value))
    return f"{type(value).__name__} {text if len(text) <= 80 else text[:77] + '...'}"


class _Shape:
    def __init__(self, tensor: Tensor) -> None:
        self._text = f"tensor{tuple(tensor.shape)}"

    def __repr__(self) -> str:
        return self._text


_OUTERMOST: ContextVar[Speaker | None] = ContextVar("outermost", default=None)


class Speaker:
    """A call of a public function: whatever it calls warns in its name, and says nothing twice.

    Args:
        name: The function's name.
    """

    def __init__(self, name: str) -> None:
        self.name, self.said = name, set[str]()

    def __enter__(self) -> None:
        self._token = _OUTERMOST.set(self) if _OUTERMOST.get() is None else None

    def __exit__(self, *exception: object) -> None:
        if self._token is not None:
            _OUTERMOST.reset(self._token)


def warn(message: str) -> None:
    """Warn where the user called: at the first frame outside this package, in the name of what was called there."""
    speaker = _OUTERMOST.get()
    if speaker is not None:
        if message in speaker.said:
            return
        speaker.said.add(message)
        message = f"{speaker.name}: {message}"
    package, level, frame = __name__.partition(".")[0], 1, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == package:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level + 1)


def suggestions(name: str, names: Iterable[str]) -> str:
    """A sentence that lists the names most like `name`."""
    names = [one for one in names if one]
    matches = difflib.get_close_matches(str(name), names, n=5, cutoff=0.4) or names[:5]
    return "Near matches: " + ", ".join(repr(match) for match in matches) + "." if matches else "There are none."


def positive(name: str, value: int) -> int:
    """Check that a count is a whole number of at least one."""
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ArgumentError(name, describe(value), "a whole number of at least 1", f"Pass {name}=1 or more.")
    return number
