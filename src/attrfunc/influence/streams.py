"""What public functions share: names in errors, and scores a batch of training data at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, ParamSpec, TypeVar

from torch import Tensor

from attrfunc.core.loops.progress import Progress, reporter
from attrfunc.core.score.method import named

__all__ = ["blocks_of", "public", "reported", "streaming"]

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
R = TypeVar("R")


def streaming(blocks: Callable[..., Iterator[Tensor]]) -> Callable[[F], F]:
    """Say of a method what gives its scores block by block, for `top`.

    Args:
        blocks: Takes the method's arguments, gives `(Q, B)` for each batch.
    """

    def mark(function: F) -> F:
        function._blocks = blocks  # type: ignore[attr-defined]
        return function

    return mark


def blocks_of(function: Callable[..., Tensor]) -> Callable[..., Iterable[Tensor]]:
    """The scores of a method block by block; of one that does not stream, all of them in one."""
    return getattr(function, "_blocks", None) or (lambda *args, **kwargs: [function(*args, **kwargs)])


def public(function: Callable[P, R]) -> Callable[P, R]:
    """Let errors name a function that takes no model."""
    return named(function.__name__, function)


def reported(batches: Iterator[Any], data: Iterable[Any], progress: Progress) -> Iterator[Any]:
    """Batches, with a report on each that has been done; of data without a length, without a total."""
    try:
        total = len(data)  # type: ignore[arg-type]
    except TypeError:
        total = 0
    report = reporter(progress, total)
    for batch in batches:
        yield batch
        report(1)
