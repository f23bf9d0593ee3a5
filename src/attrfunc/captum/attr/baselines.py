"""Baselines drawn from all combinations of some values of each feature."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["ProductBaselines"]


class ProductBaselines:
    """Draws a baseline of each feature by itself.

    Args:
        baseline_values: For each feature the values to choose from: a list of lists, or a dict of lists by name. A key
            that is a tuple of names groups features, whose values are then tuples that are drawn together.

    Example:
        >>> from attrfunc.captum.attr import ProductBaselines
        >>> ProductBaselines({"age": [40], ("city", "country"): [("Oslo", "Norway")]})()
        {'age': 40, 'city': 'Oslo', 'country': 'Norway'}
    """

    _differs: tuple[str, ...] = ("It draws from torch's default generator.",)

    def __init__(self, baseline_values: list[list[Any]] | dict[str | tuple[str, ...], list[Any]]) -> None:
        named = isinstance(baseline_values, dict)
        self.dict_keys: list[Any] = list(baseline_values) if named else []
        self.baseline_values = [baseline_values[key] for key in self.dict_keys] if named else baseline_values

    def sample(self) -> list[Any] | dict[str, Any]:
        """One value for each feature: a list, or a dict by name. `torch.manual_seed` makes it reproducible."""
        drawn = [values[int(torch.randint(len(values), ()))] for values in self.baseline_values]
        if not self.dict_keys:
            return drawn
        found: dict[str, Any] = {}
        for key, value in zip(self.dict_keys, drawn, strict=True):
            found |= zip(key, value, strict=True) if isinstance(key, tuple) else {key: value}
        return found

    __call__ = sample
