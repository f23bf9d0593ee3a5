"""What models say of examples, and which examples are shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, ModelError, describe
from attrfunc.core.model.twin import Twin
from attrfunc.core.score.views import as_view
from attrfunc.insights.task import Example, Task

__all__ = ["Filter", "Prediction", "kept", "predict", "predictions"]

AT_ONCE = 16  # examples of a data set
Right = Literal["all", "right", "wrong"]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of an example.

    Attributes:
        probabilities: One for each class, `(C,)`; of a single output, its own.
        single: Whether the model has one output.
    """

    probabilities: Tensor
    single: bool

    @property
    def best(self) -> int:
        """The class that is most probable; of a single output, whether it is above one half."""
        return int(self.probabilities[0] > 0.5) if self.single else int(self.probabilities.nan_to_num(-1.0).argmax())

    @property
    def uncertainty(self) -> float:
        """The entropy in nats; what is not finite is most uncertain."""
        shares = self.probabilities.double()
        shares = torch.cat([shares, 1 - shares]) if self.single else shares
        entropy = -torch.xlogy(shares, shares).sum().item()
        return entropy if entropy == entropy else float("inf")

    def top(self, count: int) -> list[tuple[int, float]]:
        """The most probable classes, and how probable they are."""
        count = min(count, len(self.probabilities))
        order = self.probabilities.nan_to_num(-1.0).argsort(descending=True, stable=True)[:count].tolist()
        return [(number, float(self.probabilities[number])) for number in order]


@dataclass(frozen=True)
class Filter:
    """Which examples are shown.

    Attributes:
        label: Those of this class; None is all.
        right: Those whose class the model gets right, or wrong; those without a label are neither.
        uncertain: Whether the most uncertain come first.
    """

    label: int | None = None
    right: Right = "all"
    uncertain: bool = False


def kept(examples: Sequence[Example], said: Sequence[Prediction], chosen: Filter) -> list[int]:
    """The numbers of the examples that a filter keeps, in the order in which they are shown."""
    found = []
    for number, (example, prediction) in enumerate(zip(examples, said, strict=True)):
        if chosen.label is not None and example.label != chosen.label:
            continue
        if chosen.right != "all" and (
            example.label is None or (prediction.best == example.label) != (chosen.right == "right")
        ):
            continue
        found.append(number)
    return sorted(found, key=lambda number: -said[number].uncertainty) if chosen.uncertain else found


def predict(task: Task, model: str, x: tuple[Tensor, ...]) -> list[Prediction]:
    """What a model says of examples `(B, *S)`.

    The model is called on a copy, as methods do: it stays as it is.

    Raises:
        ModelError: If it raises, or its output is not one number or one for each class.
    """
    view = as_view(task.models[model])
    try:
        with torch.no_grad():
            output = Twin(view.model, view.tensors)(*x)
    except (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError, AssertionError) as error:
        told = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise ModelError(f"the model {model!r} raised {type(error).__name__}: {told}") from error
    scores = _scores(output)
    if not isinstance(scores, Tensor) or scores.ndim not in (1, 2) or len(scores) != len(x[0]) or not scores.numel():
        raise ModelError(
            f"the model {model!r} gave {describe(output)}; a page shows models of one number (B,), or of one for each "
            "class (B, C). Pass a function that chooses: lambda x: model(x)[..., 0], say."
        )
    scores = scores.detach().float().cpu().reshape(len(x[0]), -1)
    single = scores.shape[1] == 1
    if task.probabilities is not None:
        scores = task.probabilities(scores)
    else:
        scores = scores.sigmoid() if single else scores.softmax(1)
    return [Prediction(row, single) for row in scores]


def predictions(
    task: Task, model: str, examples: Sequence[Example], report: Callable[[int, int], None] = lambda done, total: None
) -> tuple[Prediction, ...]:
    """What a model says of the rows of a data set.

    Args:
        task: The task.
        model: The model's name.
        examples: The rows; as many as have the same shapes go together.
        report: Is told of progress, in rows.
    """
    found: list[Prediction] = []
    while len(found) < len(examples):
        first = examples[len(found)]
        shapes = [leaf.shape for leaf in first.x]
        block = []
        for example in examples[len(found) : len(found) + AT_ONCE]:
            if [leaf.shape for leaf in example.x] != shapes:
                break
            block.append(example)
        x = tuple(torch.cat(leaves) for leaves in zip(*(example.x for example in block), strict=True))
        found += predict(task, model, x)
        report(len(found), len(examples))
    return tuple(found)


def _scores(output: Any) -> Any:
    """The numbers of an output: of transformers models, or the first of several."""
    if isinstance(output, Tensor):
        return output
    if isinstance(getattr(output, "logits", None), Tensor):
        return output.logits
    return output[0] if isinstance(output, tuple | list) and output else output


def require_class(task: Task, prediction: Prediction, number: Any) -> int | None:
    """The target of a class that was asked for.

    Raises:
        ArgumentError: If the model has no such class.
    """
    if prediction.single:
        return None
    count = len(prediction.probabilities)
    if number is None:
        return prediction.best
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < count:
        raise ArgumentError("target", describe(number), f"a class from 0 to {count - 1}", "Choose one of these.")
    return number
