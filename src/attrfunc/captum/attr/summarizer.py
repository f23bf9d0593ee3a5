"""Several statistics of tensors, or of tuples of tensors, that come one after the other."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import torch
from torch import Tensor

from attrfunc.captum.attr.stat import Stat, StatValue, StreamingStat, statistics_with
from attrfunc.captum.convert import captum_call
from attrfunc.core.errors import ArgumentError, describe

__all__ = ["ClassSummarizer", "Summarizer", "SummarizerSingleTensor"]

Summary = dict[str, StatValue | None]


class SummarizerSingleTensor:
    """Statistics of one tensor.

    Args:
        stats: The statistics, which are updated.
        summary_stats_indices: Which of them stand in the summary.
    """

    def __init__(self, stats: list[Stat], summary_stats_indices: list[int]) -> None:
        self._stats = stats
        self._shown = [stats[index] for index in summary_stats_indices]
        self._sharing = [stat for stat in stats if isinstance(stat, StreamingStat) and stat.shared]

    def update(self, x: Tensor) -> None:
        """Add a tensor."""
        self.take(x[None])

    def take(self, samples: Tensor) -> None:
        """Add the tensors that lie behind each other in dimension 0."""
        if self._sharing:
            statistics = statistics_with(self._sharing[0].known, samples)
            for stat in self._sharing:
                stat.known = statistics
        for other in self._stats:
            if not (isinstance(other, StreamingStat) and other.shared):
                other.take(samples)

    def get(self, stat: Stat) -> Stat | None:
        """The statistic here that equals this one, or None."""
        return next((own for own in self._stats if own == stat), None)

    @property
    def summary(self) -> Summary:
        """The statistics by name."""
        return {stat.name: stat.get() for stat in self._shown}


class Summarizer:
    """Statistics of a tensor, or of each tensor of a tuple.

    Args:
        stats: The statistics, which are copied for each tensor.

    Example:
        >>> from attrfunc.captum.attr import Max, Mean, Summarizer
        >>> summarizer = Summarizer([Mean(), Max()])
        >>> for x in (torch.tensor([1.0, 4.0]), torch.tensor([3.0, 0.0])):
        ...     summarizer.update(x)
        >>> summarizer.summary
        {'mean': tensor([2., 2.]), 'max': tensor([3., 4.])}
    """

    _names: ClassVar[dict[str, str]] = {"x": "x"}

    def __init__(self, stats: list[Stat]) -> None:
        self._stats = list(stats)
        self._summarizers: list[SummarizerSingleTensor] = []
        self._of_tuples: bool | None = None

    @captum_call
    def update(self, x: float | Tensor | tuple[float | Tensor, ...]) -> None:
        """Add a tensor, or a tuple of tensors; numbers count as tensors without dimensions."""
        parts = [torch.as_tensor(part, dtype=None if isinstance(part, Tensor) else torch.float) for part in _parts(x)]
        self._take([part[None] for part in parts], isinstance(x, tuple))

    def _take(self, samples: list[Tensor], of_tuples: bool) -> None:
        if not self._summarizers:
            self._of_tuples = of_tuples
            places = list(range(len(self._stats)))
            self._summarizers = [SummarizerSingleTensor(copy.deepcopy(self._stats), places) for _ in samples]
        if self._of_tuples is not of_tuples or len(samples) != len(self._summarizers):
            before = f"a tuple of {len(self._summarizers)}" if self._of_tuples else "a tensor"
            got = f"a tuple of {len(samples)}" if of_tuples else "a tensor"
            raise ArgumentError("x", f"{got} after {before}", "always the same", "Use a summarizer for each.")
        for summarizer, part in zip(self._summarizers, samples, strict=True):
            summarizer.take(part)

    @property
    def summary(self) -> Summary | list[Summary] | None:
        """The statistics by name, for tuples a list of these; None before anything was added."""
        if not self._summarizers:
            return None
        summaries = [summarizer.summary for summarizer in self._summarizers]
        return summaries if self._of_tuples else summaries[0]


class ClassSummarizer(Summarizer):
    """Statistics of examples, for each class and for all classes together.

    Args:
        stats: The statistics.

    Attributes:
        summaries: A `Summarizer` for each class.

    Example:
        >>> from attrfunc.captum.attr import ClassSummarizer, Mean
        >>> summarizer = ClassSummarizer([Mean()])
        >>> summarizer.update(torch.tensor([[1.0], [2.0], [5.0]]), labels=torch.tensor([0, 0, 7]))
        >>> summarizer.class_summaries
        {0: [{'mean': tensor([1.5000])}], 7: [{'mean': tensor([5.])}]}
    """

    _differs: tuple[str, ...] = (
        "Equal numbers in a tensor of labels are one class; Captum makes each a class of its own.",
    )

    def __init__(self, stats: list[Stat]) -> None:
        super().__init__(stats)
        self.summaries: dict[Any, Summarizer] = {}

    @captum_call
    def update(self, x: Any, labels: Any = None) -> None:
        """Add a batch.

        Args:
            x: A tensor, or a tuple of tensors, of examples; without labels, a single sample.
            labels: The label of each example, a list or tensor, or one label for all of them.
        """
        if labels is None:
            super().update(x)
            return
        parts = list(_parts(x))
        keys = _labels(labels, len(parts[0]))
        if any(len(part) != len(keys) for part in parts):
            raise ArgumentError(
                "labels",
                f"{len(keys)} labels for {len(parts[0])} examples: {describe(labels)}",
                "one for each example, or one for all",
                "Give as many labels as there are examples.",
            )
        for key in dict.fromkeys(keys):
            chosen = torch.tensor([number for number, one in enumerate(keys) if one == key])
            self.summaries.setdefault(key, Summarizer(self._stats))._take([part[chosen] for part in parts], True)
        self._take(parts, True)

    @property
    def class_summaries(self) -> dict[Any, Summary | list[Summary] | None]:
        """The summary of each class."""
        return {key: summarizer.summary for key, summarizer in self.summaries.items()}


def _parts(x: Any) -> tuple[Any, ...]:
    return x if isinstance(x, tuple) else (x,)


def _labels(labels: Any, count: int) -> list[Any]:
    """One label for each example; those of a tensor as numbers, so that equal ones are one class."""
    if isinstance(labels, Tensor):
        labels = labels.flatten().tolist()
    given = labels if isinstance(labels, list) else [labels]
    return given * count if len(given) == 1 else given
