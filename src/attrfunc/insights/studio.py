"""What a page knows: its tasks, and what was computed for all who look at it. It knows nothing of browsers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from attrfunc.insights.inputs import Input, Table, Text
from attrfunc.insights.jobs import Job
from attrfunc.insights.predictions import Filter, Prediction, kept, predict, predictions
from attrfunc.insights.task import Example, Task, examples_of

__all__ = ["Chosen", "Desk", "Studio"]

Report = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Chosen:
    """What one user looks at.

    Attributes:
        x: The input.
        prediction: What the first model says.
        target: The class that is explained; None is the most probable.
        order: Which rows of the data set are listed.
        shown: What is drawn of the input, where that is not `x`.
        trouble: Why there is no input, as HTML.
    """

    x: tuple[Tensor, ...] | None = None
    prediction: Prediction | None = None
    target: int | None = None
    order: tuple[int, ...] = ()
    shown: tuple[Tensor, ...] | None = None
    trouble: str = ""


class Desk:
    """One task, with its data read and what models said of them: what does not depend on who asks."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.examples: tuple[Example, ...] = examples_of(task)
        self._said: dict[str, tuple[Prediction, ...]] = {}
        self._lock = threading.Lock()

    @property
    def labels(self) -> list[int]:
        """The classes that rows have."""
        return sorted({one.label for one in self.examples if one.label is not None})

    def said(self, model: str, report: Report = lambda done, total: None) -> tuple[Prediction, ...]:
        """What a model says of all rows; it is asked once."""
        with self._lock:
            if model in self._said:
                return self._said[model]
        found = predictions(self.task, model, self.examples, report)
        with self._lock:
            return self._said.setdefault(model, found)

    def listed(self, model: str, chosen: Filter, report: Report) -> tuple[int, ...]:
        """The rows that a filter keeps."""
        return tuple(kept(self.examples, self.said(model, report), chosen))

    def caption(self, number: int, model: str) -> str:
        """What stands below a row: what it is, and what the model takes it for."""
        example, said = self.examples[number], self._said.get(model)
        told = example.name
        if said is not None:
            best = said[number]
            says = f"{best.top(1)[0][1]:.2f}" if best.single else self.task.class_name(best.best)
            told += f" · {says}"
            if not best.single:
                told += f" {best.top(1)[0][1]:.0%}"
            if example.label is not None:
                told += " ✓" if best.best == example.label else f" ✗ {self.task.class_name(example.label)}"
        return told

    def look(self, model: str, x: tuple[Tensor, ...], now: Chosen, shown: tuple[Tensor, ...] | None = None) -> Chosen:
        """Turn to an input, and ask the model what it is."""
        return replace(now, x=x, prediction=predict(self.task, model, x)[0], target=None, shown=shown)

    def written(self, x: tuple[Tensor, ...]) -> list[str | None]:
        """Inputs as a user would write them; None for what is not written."""
        return [_written(one, leaf) for one, leaf in zip(self.task.inputs, x, strict=True)]


def _written(one: Input, x: Tensor) -> str | None:
    if isinstance(one, Text):
        return "".join(one.pieces(x)[one.keep :])
    return one.lines(x) if isinstance(one, Table) else None


class Studio:
    """All tasks of a page, and the jobs of those who look at it.

    Args:
        tasks: The tasks.
        seconds: How long a request may take.
        at_once: How many run at once.
    """

    def __init__(self, tasks: Sequence[Task], *, seconds: float, at_once: int) -> None:
        self.desks = tuple(map(Desk, tasks))
        self.seconds = seconds
        self._slots = threading.BoundedSemaphore(at_once)
        self._jobs: dict[str, Job[Any]] = {}
        self._lock = threading.Lock()

    def job(self, session: str, work: Callable[[Report], Any]) -> Job[Any]:
        """A new job of a session, in place of the one it has."""
        job = Job(work, seconds=self.seconds, slots=self._slots)
        with self._lock:
            before = self._jobs.get(session)
            self._jobs[session] = job
        if before is not None:
            before.stop(replaced=True)
        return job

    def stop(self, session: str) -> bool:
        """Stop the job of a session; whether there was one."""
        with self._lock:
            job = self._jobs.pop(session, None)
        if job is not None:
            job.stop()
        return job is not None

    def leave(self, user: str) -> None:
        """Stop all jobs of one who has left."""
        for session in [one for one in list(self._jobs) if one.startswith(user)]:
            self.stop(session)

    def finished(self, session: str, job: Job[Any]) -> None:
        """Forget a job that has ended."""
        with self._lock:
            if self._jobs.get(session) is job:
                del self._jobs[session]


def watched(studio: Studio, session: str, work: Callable[[Report], Any]) -> Iterator[Job[Any]]:
    """Start a job, and give it again and again until it has ended; see `Job.watch` for what is raised."""
    job = studio.job(session, work)
    try:
        for _ in job.watch():
            yield job
    finally:
        studio.finished(session, job)
    yield job
