"""One feature's attributions over its values."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attrfunc.core.errors import ArgumentError, describe, suggestions
from attrfunc.core.extras import require
from attrfunc.viz.arrays import drawing, named, require_shape, to_array
from attrfunc.viz.explanation import explanation, load_shap
from attrfunc.viz.handed import aside, finish, literal, require_finite, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["dependence"]


@drawing
def dependence(
    values: Any,
    data: Any,
    feature: int | str,
    *,
    color: int | str | None = None,
    names: Sequence[str] | None = None,
    unit: str = "attribution",
    title: str | None = None,
) -> Figure:
    """Draw what a feature contributes over what it is, a point for each example, by shap's own scatter plot.

    Args:
        values: Attributions `(B, F)`; a tensor on any device, or an array.
        data: The table that is explained, `(B, F)`.
        feature: Which feature, by its number or name.
        color: Another feature, which colours the points: where colours part, the two work together.
        names: The features' names.
        unit: What stands at the vertical axis.
        title: What stands above.

    Returns:
        The figure; see `af.viz.image`.

    Raises:
        ArgumentError: If shapes do not go together, values are not finite, or there is no such feature.
        AttributionError: If shap is not installed, the extra `attrfunc[shap]`.

    Example:
        >>> table = torch.randn(40, 2)
        >>> figure = af.viz.dependence(table * table.flip(1), table, "age", color="dose", names=["age", "dose"])
        >>> figure.axes[0].get_xlabel()
        'age'
    """
    found = table("values", to_array("values", values), values)
    inputs = to_array("data", data)
    require_shape("data", inputs, found.shape, "the values", "Pass the inputs that were explained.")
    require_finite("values", found)
    labels = named("names", names, found.shape[1], "feature")
    across = _number("feature", feature, labels)
    shade = None if color is None else _number("color", color, labels)
    require_finite("data", inputs[:, [across] if shade is None else [across, shade]])
    require("matplotlib", "viz")
    shap = load_shap()
    told = explanation(found, data=inputs, names=literal(labels))
    colours = {} if shade is None else {"color": told[:, shade]}
    with aside((6.5, 4.5)) as figure:
        axes = figure.subplots()
        shap.plots.scatter(told[:, across], ax=axes, show=False, **colours)
        axes.set_ylabel(unit, fontsize=11, parse_math=False)
    return finish(figure, title)


def _number(name: str, feature: Any, labels: list[str]) -> int:
    if isinstance(feature, str):
        if feature not in labels:
            raise ArgumentError(name, repr(feature), "the name of a feature", suggestions(feature, labels))
        if labels.count(feature) > 1:
            places = [place for place, label in enumerate(labels) if label == feature]
            got = f"{feature!r}, the name of {len(places)} features"
            raise ArgumentError(name, got, "a name of one", f"Pass a number, one of {places}.")
        return labels.index(feature)
    try:
        found = operator.index(feature)
    except TypeError:
        found = len(labels)
    if not -len(labels) <= found < len(labels):
        expected = f"a number of one of {len(labels)} features, or a name"
        raise ArgumentError(name, describe(feature), expected, "Count features from 0.")
    return found % len(labels)
