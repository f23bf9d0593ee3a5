"""What every public function of this package does: errors name it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from attrfunc.core.score.method import named

__all__ = ["public"]

P = ParamSpec("P")
R = TypeVar("R")


def public(function: Callable[P, R]) -> Callable[P, R]:
    """Let every error that comes out of a function name it."""
    return named(function.__name__, function)
