"""Kinds of input: how they are transformed, and what is shown of their attributions."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor

__all__ = ["BaseFeature", "EmptyFeature", "FeatureOutput", "GeneralFeature", "ImageFeature", "TextFeature"]

Transforms = Callable[[Any], Any] | list[Callable[[Any], Any]] | None


class FeatureOutput(NamedTuple):
    """What is shown of one feature.

    Attributes:
        name: Its name.
        base: The input: a picture as base64, a list of tokens, or of `"category: value"`.
        modified: Its attributions: a picture as base64, or percents of the largest or of the norm.
        type: The kind of feature.
        contribution: Its share in the attributions of all features.
    """

    name: str
    base: Any
    modified: Any
    type: str
    contribution: float


def listed(transforms: Transforms) -> list[Callable[[Any], Any]]:
    """None, one or several transforms as a list."""
    if transforms is None:
        return []
    return [transforms] if callable(transforms) else list(transforms)


def applied(transforms: Sequence[Callable[[Any], Any]], value: Any) -> Any:
    """What transforms make of a value, one after the other."""
    for transform in transforms:
        value = transform(value)
    return value


class BaseFeature:
    """What all features have.

    Args:
        name: The feature's name.
        baseline_transforms: Makes a baseline of a transformed input; of several, the first counts.
        input_transforms: Make of the data what the model takes, one after the other.
        visualization_transform: Makes of the data what is shown.
    """

    def __init__(
        self,
        name: str,
        baseline_transforms: Transforms,
        input_transforms: Transforms,
        visualization_transform: Callable[[Any], Any] | None,
    ) -> None:
        self.name = name
        self.baseline_transforms = listed(baseline_transforms)
        self.input_transforms = listed(input_transforms)
        self.visualization_transform = visualization_transform

    @staticmethod
    def visualization_type() -> str:
        """The kind of feature."""
        raise NotImplementedError

    def visualize(self, attribution: Any, data: Any, contribution_frac: float) -> FeatureOutput:
        """What is shown of attributions."""
        raise NotImplementedError

    def shown(self, data: Any) -> Any:
        """What is shown of the data."""
        return data if self.visualization_transform is None else self.visualization_transform(data)


class ImageFeature(BaseFeature):
    """Pictures `(N, C, H, W)`: grey with one channel, red, green and blue with three; see `BaseFeature`."""

    def __init__(
        self,
        name: str,
        baseline_transforms: Transforms,
        input_transforms: Transforms,
        visualization_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(name, baseline_transforms, input_transforms, visualization_transform)

    @staticmethod
    def visualization_type() -> str:
        """`"image"`."""
        return "image"

    def visualize(self, attribution: Tensor, data: Tensor, contribution_frac: float) -> FeatureOutput:
        """The picture and the map of its attributions, as base64."""
        from attrfunc.captum.attr import visualization

        shown = self.shown(data)
        photo, values = (
            one.detach().reshape(one.shape[-3:]).permute(1, 2, 0).cpu().numpy() for one in (shown, attribution)
        )
        drawn = []
        for method, sign in (("original_image", "positive"), ("heat_map", "absolute_value")):
            figure, _ = visualization.visualize_image_attr(values, photo, method=method, sign=sign, use_pyplot=False)
            stream = io.BytesIO()
            figure.savefig(stream, format="png")
            drawn.append(base64.b64encode(stream.getvalue()).decode())
        return FeatureOutput(self.name, drawn[0], drawn[1], self.visualization_type(), contribution_frac)


class TextFeature(BaseFeature):
    """Texts; `visualization_transform` makes of the data a list of tokens. See `BaseFeature`."""

    @staticmethod
    def visualization_type() -> str:
        """`"text"`."""
        return "text"

    def visualize(self, attribution: Tensor, data: Any, contribution_frac: float) -> FeatureOutput:
        """The tokens, and percents of the largest attribution."""
        values = attribution.reshape(attribution.shape[1:])
        values = values.sum(1) if values.ndim > 1 else values
        return FeatureOutput(
            self.name, self.shown(data), _percents(values, values.abs().max()), "text", contribution_frac
        )


class GeneralFeature(BaseFeature):
    """Numbers `(N, C)`, each with a name.

    Args:
        name: The feature's name.
        categories: The names.
    """

    def __init__(self, name: str, categories: list[str]) -> None:
        super().__init__(name, None, None, None)
        self.categories = categories

    @staticmethod
    def visualization_type() -> str:
        """`"general"`."""
        return "general"

    def visualize(self, attribution: Tensor, data: Tensor, contribution_frac: float) -> FeatureOutput:
        """The numbers, and percents of the attributions' norm."""
        values, numbers = attribution.reshape(-1), data.reshape(-1).tolist()
        base = [f"{name}: {number:.2f}" for name, number in zip(self.categories, numbers, strict=False)]
        return FeatureOutput(self.name, base, _percents(values, values.norm()), "general", contribution_frac)


class EmptyFeature(BaseFeature):
    """An input that is attributed and not shown; see `BaseFeature`."""

    def __init__(
        self,
        name: str = "empty",
        baseline_transforms: Transforms = None,
        input_transforms: Transforms = None,
        visualization_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(name, baseline_transforms, input_transforms, visualization_transform)

    @staticmethod
    def visualization_type() -> str:
        """`"empty"`."""
        return "empty"

    def visualize(self, attribution: Any, data: Any, contribution_frac: float) -> FeatureOutput:
        """Its share alone."""
        return FeatureOutput(self.name, None, None, "empty", contribution_frac)


def _percents(values: Tensor, whole: Tensor) -> list[float]:
    """Shares of a whole that may be zero, where all are."""
    found: list[float] = (100 * values / whole if whole != 0 else values).tolist()
    return found
