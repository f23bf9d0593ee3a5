"""The parts of `visualize_text`, of which users make tables of their own, and the names of styles and signs."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

import numpy as np

from attrfunc.captum.attr.text_table import cell, special, words_of
from attrfunc.viz.coloured import colour
from attrfunc.viz.coloured_html import css

__all__ = [
    "ImageVisualizationMethod", "TimeseriesVisualizationMethod", "VisualizeSign", "_get_color",
    "format_classname", "format_special_tokens", "format_tooltip", "format_word_importances",
]  # fmt: skip


class ImageVisualizationMethod(Enum):
    """The styles of `visualize_image_attr`, by their names."""

    heat_map = 1
    blended_heat_map = 2
    original_image = 3
    masked_image = 4
    alpha_scaling = 5


class TimeseriesVisualizationMethod(Enum):
    """The styles of `visualize_timeseries_attr`, by their names."""

    overlay_individual = 1
    overlay_combined = 2
    colored_graph = 3


class VisualizeSign(Enum):
    """Which attributions are shown."""

    positive = 1
    absolute_value = 2
    negative = 3
    all = 4


def format_classname(classname: str | int) -> str:
    """A cell of the table with a class's name."""
    return cell(classname)


def format_special_tokens(token: str) -> str:
    """A token such as `<s>` without its brackets, behind a `#`."""
    return special(token)


def format_tooltip(item: str, text: str) -> str:
    """An item that shows a text under the mouse."""
    return f'<div class="tooltip">{item} <span class="tooltiptext">{text}</span></div>'


def format_word_importances(words: Sequence[str], importances: Any) -> str:
    """A cell of the table with words on the colours of their importances, from -1 to 1.

    Raises:
        ArgumentError: If there are fewer importances than words.
    """
    return words_of(words, importances, "the text")


def _get_color(attr: float) -> str:  # imported by other packages, in spite of its name
    """The background of an attribution, as style sheets write it."""
    return css(colour(float(np.clip(attr, -1, 1))))
