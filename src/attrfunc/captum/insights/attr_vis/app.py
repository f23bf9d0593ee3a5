"""The visualizer of Captum 0.8, and the batches that it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from attrfunc.captum.insights.attr_vis.features import (
    BaseFeature,
    FeatureOutput,
    GeneralFeature,
    ImageFeature,
    TextFeature,
    applied,
)
from attrfunc.core.errors import ArgumentError, describe, warn
from attrfunc.core.model.twin import Twin
from attrfunc.gradient.integrated_gradients import integrated_gradients
from attrfunc.insights.inputs import Image, Input, Table, Text, Value
from attrfunc.insights.server import LOCAL, Page, launch
from attrfunc.insights.task import Example, Task

__all__ = ["AttributionVisualizer", "Batch", "OutputScore", "VisualizationOutput"]

STEPS = 25
EXAMPLES = 4
TOP = 4
ALL = "0.0.0.0"


class OutputScore(NamedTuple):
    """A class, and its score."""

    score: Any
    index: Any
    label: str


class VisualizationOutput(NamedTuple):
    """What is shown of one example under one model."""

    feature_outputs: list[FeatureOutput]
    actual: OutputScore | None
    predicted: list[OutputScore]
    active_index: Any
    model_index: int


class Batch:
    """Examples that are shown.

    Args:
        inputs: A tensor, or one for each feature, with the examples in dimension 0.
        labels: The classes `(N,)`; None if they are not known.
        additional_args: Further arguments of the model: a tensor with the examples first, anything else, or a tuple.
    """

    def __init__(self, inputs: Tensor | tuple[Tensor, ...], labels: Tensor | None, additional_args: Any = None) -> None:
        self.inputs = inputs
        self.labels = labels
        self.additional_args = additional_args

    def rows(self) -> Iterator[tuple[tuple[Tensor, ...], int | None, tuple[Any, ...]]]:
        """The examples one by one: data, label and further arguments, with their dimension 0."""
        leaves = self.inputs if isinstance(self.inputs, tuple) else (self.inputs,)
        further = self.additional_args
        further = () if further is None else further if isinstance(further, tuple) else (further,)
        for row in range(len(leaves[0])):
            one = slice(row, row + 1)
            args = tuple(part[one] if isinstance(part, Tensor) else part for part in further)
            label = None if self.labels is None else int(self.labels[row])
            yield tuple(leaf[one] for leaf in leaves), label, args


class AttributionVisualizer:
    """Explains models on examples, in a page.

    Args:
        models: One model or several.
        classes: The classes' names.
        features: What the models take, one for each argument.
        dataset: The examples, in batches.
        score_func: Makes scores of classes of the models' output, for what is shown; None takes the output.
        use_label_for_attr: Whether a class is attributed; otherwise the model has one output.

    Example:
        >>> from attrfunc.captum.insights import AttributionVisualizer, Batch, features
        >>> net, data = torch.nn.Linear(2, 3), [Batch(torch.rand(4, 2), torch.tensor([0, 1, 2, 0]))]
        >>> general = features.GeneralFeature("row", ["age", "dose"])
        >>> visualizer = AttributionVisualizer([net], ["a", "b", "c"], general, data)
        >>> outputs = visualizer.visualize()
        >>> len(outputs), outputs[0][0].feature_outputs[0].name
        (4, 'row')
    """

    def __init__(
        self,
        models: list[nn.Module] | nn.Module,
        classes: list[str],
        features: list[BaseFeature] | BaseFeature,
        dataset: Iterable[Batch],
        score_func: Callable[..., Any] | None = None,
        use_label_for_attr: bool = True,
    ) -> None:
        self.models = models if isinstance(models, list) else [models]
        self.features = features if isinstance(features, list) else [features]
        self.classes, self.dataset = classes, dataset
        self.score_func, self.use_label_for_attr = score_func, use_label_for_attr
        self._rows: Iterator[Any] = (row for batch in dataset for row in batch.rows())
        self._page: Page | None = None

    def visualize(self) -> list[list[VisualizationOutput]]:
        """What is shown of the next four examples that have a label: for each, a list with one entry for each model."""
        found: list[list[VisualizationOutput]] = []
        for data, label, args in self._rows:
            if label is None:
                continue
            found.append([self._output(number, data, label, args) for number in range(len(self.models))])
            if len(found) == EXAMPLES:
                break
        return found

    def render(self, debug: bool = True) -> None:
        """Show the page in the cell of a notebook.

        Args:
            debug: Has no effect.
        """
        self._page = launch(self.task(), inline=True)

    def serve(
        self, blocking: bool = False, debug: bool = False, port: int | None = None, bind_all: bool = False
    ) -> int:
        """Start the page.

        Args:
            blocking: Whether to return only when it is closed.
            debug: Has no effect.
            port: The port; a free one by default.
            bind_all: Whether to let other machines in.

        Returns:
            The port.
        """
        if bind_all:
            warn("bind_all=True lets every machine that reaches this one open the page. There is no password.")
        self._page = launch(self.task(), host=ALL if bind_all else LOCAL, port=port)
        number = int(self._page.url.rstrip("/").rpartition(":")[2])
        print(f"\nSee http://localhost:{number}/\n")
        if blocking:
            self._page.wait()
        return number

    def close(self) -> None:
        """Close the page, if there is one."""
        if self._page is not None:
            self._page.close()

    def task(self) -> Task:
        """What is explained, in the words of `attrfunc.insights`."""
        models = {f"{type(one).__name__} {number}": one for number, one in enumerate(self.models, 1)}
        inputs = tuple(_input(feature) for feature in self.features)
        scores = self.score_func or (lambda output: output)
        return Task("Captum", models, inputs, self._examples(), self.classes, scores)

    def _examples(self) -> Iterator[Example]:
        for data, label, args in self._rows:
            if args:
                fix = "Close over them: lambda x: model(x, more). `visualize` takes them."
                raise ArgumentError("additional_args", describe(args), "none for a page", fix)
            shown = tuple(_seen(feature, leaf) for feature, leaf in zip(self.features, data, strict=True))
            yield Example(self._transformed(data), label, "", shown)

    def _transformed(self, data: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        pairs = zip(self.features, data, strict=True)
        return tuple(applied(feature.input_transforms, leaf[0])[None] for feature, leaf in pairs)

    def _output(self, number: int, data: tuple[Tensor, ...], label: int, args: tuple[Any, ...]) -> VisualizationOutput:
        x, model = self._transformed(data), self.models[number]
        predicted = self._predicted(model, x, args)
        target = predicted[0].index if predicted else None
        baselines = tuple(
            feature.baseline_transforms[0](leaf[0])[None] if feature.baseline_transforms else torch.zeros_like(leaf)
            for feature, leaf in zip(self.features, x, strict=True)
        )
        chosen = int(target) if target is not None and self.use_label_for_attr else None
        values = integrated_gradients(model, x, baseline=baselines, target=chosen, args=args, n_steps=STEPS)
        sums = torch.stack([value.sum() for value in values])
        total = sums.abs().sum()
        shares = (sums / total if total != 0 else sums).tolist()
        parts = zip(self.features, values, data, shares, strict=True)
        shown = [feature.visualize(value, leaf, share) for feature, value, leaf, share in parts]
        actual = OutputScore(100, label, self.classes[label])
        return VisualizationOutput(shown, actual, predicted, label if target is None else target, number)

    def _predicted(self, model: nn.Module, x: tuple[Tensor, ...], args: tuple[Any, ...]) -> list[OutputScore]:
        """The classes with the largest scores; none for a single output."""
        with torch.no_grad():
            output: Any = Twin(model)(*x, *args)
        scores = (output if self.score_func is None else self.score_func(output)).detach().cpu()
        if scores.numel() < 2:
            return []
        best, indices = scores.reshape(-1).topk(min(TOP, scores.numel()))
        return [OutputScore(*pair, self.classes[int(pair[1])]) for pair in zip(best, indices, strict=True)]


@dataclass(frozen=True)
class _Picture(Image):
    """A picture that is transformed as its feature says."""

    feature: Any = None

    def photo(self, x: Tensor) -> Tensor:
        return _scaled(x[0].detach().float().cpu()).expand(3, -1, -1)

    def photo_code(self, code: str) -> str:
        low, high = f"min(float({code}.min()), 0.0)", f"max(float({code}.max()), 1.0)"
        return f"(({code}[0] - {low}) / ({high} - {low})).expand(3, -1, -1)"

    def read(self, value: Any) -> Tensor:
        return _read(self.feature, super().read(value))

    def baselines(self, x: Tensor, code: str) -> dict[str, Value]:
        return _baselines(self.feature, x) or super().baselines(x, code)


@dataclass(frozen=True)
class _Words(Text):
    """A text that is data, and tokens by its feature's `visualization_transform`."""

    feature: Any = None

    def pieces(self, x: Tensor) -> list[str]:
        return [str(piece) for piece in self.feature.shown(x)]

    def baselines(self, x: Tensor, code: str) -> dict[str, Value]:
        return _baselines(self.feature, x) or {"zero": Value(torch.zeros_like(x), f"torch.zeros_like({code})")}


def _input(feature: BaseFeature) -> Input:
    if isinstance(feature, ImageFeature):
        return _Picture(size=None, name=feature.name, feature=feature)
    if isinstance(feature, TextFeature):
        return _Words(_not_written, lambda ids: [], name=feature.name, feature=feature)
    columns = tuple(feature.categories) if isinstance(feature, GeneralFeature) else ()
    return Table(columns, name=feature.name)


def _seen(feature: BaseFeature, data: Tensor) -> Tensor:
    """What is drawn of an example: pictures as their feature shows them, and tokens before they are."""
    if not isinstance(feature, ImageFeature):
        return data
    shown: Tensor = feature.shown(data[0])
    return shown.reshape(1, *shown.shape[-3:])


def _not_written(text: str) -> list[int]:
    fix = "Choose an example of the data set."
    raise ArgumentError("text", "a text", "an example: the feature does not say how texts become tokens", fix)


def _read(feature: BaseFeature, x: Tensor) -> Tensor:
    transformed: Tensor = applied(feature.input_transforms, x[0])[None]
    return transformed


def _baselines(feature: BaseFeature, x: Tensor) -> dict[str, Value]:
    if not feature.baseline_transforms:
        return {}
    return {"baseline": Value(feature.baseline_transforms[0](x[0])[None], "")}


def _scaled(picture: Tensor) -> Tensor:
    """Values from 0 to 1, as far as they are not."""
    low, high = min(float(picture.min()), 0.0), max(float(picture.max()), 1.0)
    return (picture - low) / (high - low)
