"""Attributions for shap, whose plots take what shap calls an explanation."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from attrfunc.core.errors import ArgumentError
from attrfunc.core.extras import require
from attrfunc.viz.arrays import Array, described, drawing, named, require_shape, to_array

if TYPE_CHECKING:
    import shap

__all__ = ["explanation", "load_shap"]


@drawing
def explanation(
    values: Any, *, base: Any = None, data: Any = None, names: Sequence[str] | None = None
) -> shap.Explanation:
    """Hand attributions to shap, for any of its plots.

    Args:
        values: Attributions `(B, F)` of a table, `(F,)` of one example, or of any shape that a plot of shap's takes.
        base: The score that they start from, that of the baseline: a number, or one for each example, `(B,)`.
        data: The inputs that are explained, of the same shape.
        names: Names of the features, which stand last.

    Returns:
        A `shap.Explanation`.

    Raises:
        ArgumentError: If shapes or numbers of names do not go together.
        AttributionError: If shap is not installed, the extra `attrfunc[shap]`.

    Example:
        >>> found = af.viz.explanation(torch.ones(5, 3), base=0.5, data=torch.rand(5, 3), names=["a", "b", "c"])
        >>> found.shape, found.base_values.shape
        ((5, 3), (5,))
    """
    shap = load_shap()
    found = to_array("values", values)
    if not found.ndim:
        raise ArgumentError("values", described(values), "at least one dimension of features", "Pass one example.")
    options: dict[str, Any] = {"base_values": _base(base, found)}
    if data is not None:
        options["data"] = to_array("data", data)
        require_shape("data", options["data"], found.shape, "the values", "Pass the input that was explained.")
    if names is not None:
        options["feature_names"] = named("names", names, found.shape[-1], "")
    return shap.Explanation(found, **options)


def load_shap() -> Any:
    """The package shap, which uses what matplotlib is about to deprecate as soon as it is imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        require("shap", "shap")
        import shap
    return shap


def _base(base: Any, values: Array) -> Any:
    """One number for an example."""
    rows = values.shape[:1] if values.ndim > 1 else ()
    found = to_array("base", 0.0 if base is None else base)
    if found.ndim == 1 and found.size == 1:
        found = found[0]
    if found.ndim and found.shape != rows:
        fix = "Pass the score at the baseline: model(baseline)[:, target]."
        raise ArgumentError("base", f"shape {found.shape}", f"a number, or one for each example, {rows}", fix)
    return np.broadcast_to(found, rows).copy() if rows else float(found)
