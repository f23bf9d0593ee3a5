"""What a page is about: models that can be compared, their inputs, their classes and a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, AttributionError, describe
from attrfunc.core.score.views import Model
from attrfunc.insights.inputs import Image, Input, Table, Text
from attrfunc.viz.coloured_html import UNREADABLE

__all__ = ["Example", "Task", "examples_of", "tasks_of"]

Names = Sequence[str] | Mapping[int, str]


@dataclass(frozen=True)
class Example:
    """A row of a data set.

    Attributes:
        x: What the model takes, one tensor `(1, *S)` for each of its arguments.
        label: The number of its class; None if that is not known.
        name: What it is called.
        shown: What is shown of each input, where that is not what the model takes.
    """

    x: tuple[Tensor, ...]
    label: int | None = None
    name: str = ""
    shown: tuple[Tensor, ...] | None = None


@dataclass(frozen=True, eq=False)
class Task:
    """Models that answer the same question, and what they are asked about.

    Attributes:
        name: What it is called on the page.
        models: The models by name; each takes the same inputs.
        inputs: What the models take, one description for each argument.
        data: A data set: pairs `(x, label)` or inputs alone, each as `Input.read` takes it; where there are several
            inputs, `x` is a tuple. Rows may also be mappings with `x`, `label` and `name`.
        classes: Names of classes, in order or by number.
        probabilities: Makes of the models' outputs `(B, C)` probabilities, for what is shown; by default a softmax, and
            the logistic function for a single output.
        method: The method that is chosen at first.
        limit: How many rows of the data set are taken.
        setup: Python code that makes `models`, for what the page exports.

    Raises:
        ArgumentError: If a part cannot be right.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3))
        >>> af.insights.Task("doses", {"net": net}, (af.insights.Table(("age", "dose")),), classes=["a", "b", "c"]).name
        'doses'
    """

    name: str
    models: Mapping[str, Model]
    inputs: tuple[Input, ...]
    data: Iterable[Any] = ()
    classes: Names = ()
    probabilities: Callable[[Tensor], Tensor] | None = None
    method: str = "integrated_gradients"
    limit: int = 200
    setup: str = ""

    def __post_init__(self) -> None:
        """Check the parts."""
        inputs = (self.inputs,) if isinstance(self.inputs, Image | Text | Table) else _several(self.inputs)
        object.__setattr__(self, "inputs", inputs)
        models = self.models if isinstance(self.models, Mapping) else {"model": self.models}
        object.__setattr__(self, "models", {plain(name): model for name, model in models.items()})
        if not self.models or not all(callable(model) for model in self.models.values()):
            fix = "Pass {'my network': network}."
            raise ArgumentError("models", describe(self.models), "models by name", fix).within("Task")
        if not inputs or not all(isinstance(one, Image | Text | Table) for one in inputs):
            fix = "Pass af.insights.Image(...), Text(...) or Table(...), one for each argument of the model."
            raise ArgumentError("inputs", describe(self.inputs), "descriptions of inputs", fix).within("Task")

    def class_name(self, number: int) -> str:
        """What a class is called."""
        if isinstance(self.classes, Mapping):
            return plain(self.classes.get(number, f"class {number}"))
        return plain(self.classes[number]) if 0 <= number < len(self.classes) else f"class {number}"

    def read(self, values: Sequence[Any]) -> tuple[Tensor, ...]:
        """What the models take, of what a user gives for each input."""
        if len(values) != len(self.inputs):
            fix = "Give one value for each input."
            raise ArgumentError("x", f"{len(values)} values", f"{len(self.inputs)}", fix)
        return tuple(one.read(value) for one, value in zip(self.inputs, values, strict=True))


def examples_of(task: Task) -> tuple[Example, ...]:
    """The first rows of a task's data set.

    Raises:
        ArgumentError: If a row is not what the inputs take; it says which.
    """
    found = []
    for number, row in enumerate(islice(iter(task.data), task.limit)):
        try:
            found.append(_example(task, number, row))
        except AttributionError as error:
            error.within(f"row {number} of the data of {task.name!r}")
            raise
    return tuple(found)


def _example(task: Task, number: int, row: Any) -> Example:
    if isinstance(row, Example):
        return row
    label, name = None, ""
    if isinstance(row, Mapping) and "x" in row:
        row, label, name = row["x"], row.get("label"), str(row.get("name", ""))
    elif isinstance(row, tuple | list) and len(row) == 2 and (len(task.inputs) != 2 or isinstance(row[0], tuple)):
        row, label = row
    values = row if len(task.inputs) > 1 else (row,)
    if label is not None:
        try:
            label = int(label)
        except (TypeError, ValueError):
            fix = "Pass the number of the class, or None."
            raise ArgumentError("label", describe(label), "a whole number", fix) from None
    return Example(task.read(values), label, plain(name) or f"{number}")


def plain(name: Any) -> str:
    """A name in one line, without characters that would turn what stands behind them around."""
    return " ".join("".join("\ufffd" if one in UNREADABLE and one not in "\n\t" else one for one in str(name)).split())


def _several(inputs: Any) -> tuple[Any, ...]:
    return tuple(inputs) if isinstance(inputs, Sequence) and not isinstance(inputs, str) else (inputs,)


def tasks_of(models: Any, data: Any, inputs: Any, classes: Names, name: str = "models") -> tuple[Task, ...]:
    """The tasks of what `launch` was called with."""
    if isinstance(models, Task):
        models = [models]
    if isinstance(models, Sequence) and models and all(isinstance(one, Task) for one in models):
        if inputs is not None or data is not None or classes:
            fix = "Put data, inputs and classes into each Task."
            raise ArgumentError("models", "tasks, and data, inputs or classes besides", "tasks alone", fix)
        if len({one.name for one in models}) < len(models):
            raise ArgumentError("models", "two tasks of one name", "a name for each", "Rename one of them.")
        return tuple(models)
    if inputs is None:
        fix = "Pass inputs=af.insights.Image(size=(224, 224), mean=..., std=...), say."
        raise ArgumentError("inputs", "None", "what the models take", fix)
    if isinstance(models, Sequence) and not isinstance(models, torch.nn.Module):
        models = {f"{type(one).__name__} {number}": one for number, one in enumerate(models)}
    elif not isinstance(models, Mapping):
        models = {type(models).__name__: models}
    return (Task(name, models, inputs, () if data is None else data, classes),)
