"""Names and orders of statistics that are updated with one tensor after the other: those of `attrfunc.data`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attrfunc.data.statistics import Statistics

__all__ = [
    "MSE",
    "CommonStats",
    "Count",
    "Max",
    "Mean",
    "Min",
    "Stat",
    "StatValue",
    "StdDev",
    "StreamingStat",
    "Sum",
    "Var",
]

StatValue = Tensor | int | float


class Stat:
    """Base of all statistics. One of your own has `update` and `get`.

    Args:
        name: Its key in a summary; by default the class's name in lower case, with its parameters.
        kwargs: What tells it from others of its class.
    """

    def __init__(self, name: str | None = None, **kwargs: Any) -> None:
        self.params: dict[str, Any] = kwargs
        self._name = name

    def update(self, x: Tensor) -> None:
        """Add a tensor."""
        raise NotImplementedError

    def get(self) -> StatValue | None:
        """The statistic of what was added; None before anything was."""
        raise NotImplementedError

    def take(self, samples: Tensor) -> None:
        """Add the tensors that lie behind each other in dimension 0."""
        for x in samples:
            self.update(x)

    @property
    def name(self) -> str:
        """Its key in a summary."""
        default = type(self).__name__.lower() + (f"({self.params})" if self.params else "")
        return default if self._name is None else self._name

    def __hash__(self) -> int:
        return hash((type(self), frozenset(self.params.items())))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stat) and type(self) is type(other) and self.params == other.params


class StreamingStat(Stat):
    """Base of what is read from `attrfunc.data.Statistics`, which a summarizer keeps once for all of them.

    Attributes:
        known: The statistics of what was added.
        shared: Whether it reads these; one with a function of the caller's accumulates by itself.
    """

    known: Statistics | None = None
    shared = True

    def update(self, x: Tensor) -> None:
        """Add a tensor."""
        self.take(x[None])

    def take(self, samples: Tensor) -> None:
        """Add the tensors that lie behind each other in dimension 0."""
        self.known = statistics_with(self.known, samples)

    def get(self) -> StatValue | None:
        """The statistic of what was added; None before anything was."""
        return None if self.known is None else self._read(self.known)

    def _read(self, known: Statistics) -> StatValue:
        raise NotImplementedError


def statistics_with(known: Statistics | None, samples: Tensor) -> Statistics:
    """The statistics after further samples."""
    return Statistics.of(samples) if known is None else known.with_samples(samples)


class Count(StreamingStat):
    """How many tensors were added.

    Args:
        name: Its key in a summary.
    """

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)

    def _read(self, known: Statistics) -> int:
        return known.count


class Mean(StreamingStat):
    """The mean.

    Args:
        name: Its key in a summary.
    """

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)

    def _read(self, known: Statistics) -> Tensor:
        return known.mean


class MSE(StreamingStat):
    """The sum of squared distances from the mean; Captum's name says otherwise.

    Args:
        name: Its key in a summary.
    """

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)

    def _read(self, known: Statistics) -> Tensor:
        return known.squares


class Var(StreamingStat):
    """The variance, `MSE / (count - order)`.

    Args:
        name: Its key in a summary.
        order: 0 for the variance of what was added, 1 for that of the population it was sampled from.
    """

    def __init__(self, name: str | None = None, order: int = 0) -> None:
        super().__init__(_of_order("variance", order) if name is None else name, order=order)
        self.order = order

    def _read(self, known: Statistics) -> Tensor:
        return known.variance(self.order)


class StdDev(StreamingStat):
    """The root of the variance.

    Args:
        name: Its key in a summary.
        order: As for `Var`.
    """

    _differs: tuple[str, ...] = ("The name of `StdDev(order=2)` is `std_dev(2)`; Captum's lacks the bracket.",)

    def __init__(self, name: str | None = None, order: int = 0) -> None:
        super().__init__(_of_order("std_dev", order) if name is None else name, order=order)
        self.order = order

    def _read(self, known: Statistics) -> Tensor:
        return known.variance(self.order).sqrt()


def _of_order(name: str, order: int) -> str:
    return {0: name, 1: f"sample_{name}"}.get(order, f"{name}({order})")


class _Accumulated(StreamingStat):
    """Base of what a function of two tensors accumulates: read from the statistics, unless it is the caller's own."""

    usual: Any = None

    def __init__(self, fn: Callable[[Tensor, Tensor], Tensor], name: str | None = None) -> None:
        super().__init__(name)
        self.result: Tensor | None = None
        self.fn, self.shared = fn, fn is type(self).usual

    def take(self, samples: Tensor) -> None:
        """Add the tensors that lie behind each other in dimension 0."""
        if self.shared:
            super().take(samples)
            return
        known = [] if self.result is None else [self.result]
        # A clone: the caller may overwrite what was added.
        self.result = functools.reduce(self.fn, [*known, *samples.clone()])

    def get(self) -> StatValue | None:
        """What was accumulated; None before anything was added."""
        return super().get() if self.shared else self.result


class Min(_Accumulated):
    """The smallest of what was added.

    Args:
        name: Its key in a summary.
        min_fn: The smaller of two tensors.
    """

    usual = torch.min

    def __init__(self, name: str | None = None, min_fn: Callable[[Tensor, Tensor], Tensor] = torch.min) -> None:
        super().__init__(min_fn, name)

    def _read(self, known: Statistics) -> Tensor:
        return known.low


class Max(_Accumulated):
    """The largest of what was added.

    Args:
        name: Its key in a summary.
        max_fn: The larger of two tensors.
    """

    usual = torch.max

    def __init__(self, name: str | None = None, max_fn: Callable[[Tensor, Tensor], Tensor] = torch.max) -> None:
        super().__init__(max_fn, name)

    def _read(self, known: Statistics) -> Tensor:
        return known.high


class Sum(_Accumulated):
    """The sum.

    Args:
        name: Its key in a summary.
        add_fn: The sum of two tensors.
    """

    usual = torch.add

    def __init__(self, name: str | None = None, add_fn: Callable[[Tensor, Tensor], Tensor] = torch.add) -> None:
        super().__init__(add_fn, name)

    def _read(self, known: Statistics) -> Tensor:
        return known.total


def CommonStats() -> list[Stat]:  # noqa: N802  # Captum's name
    """Mean, sample variance, sample standard deviation, minimum and maximum."""
    return [Mean(), Var(order=1), StdDev(order=1), Min(), Max()]
