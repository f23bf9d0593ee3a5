"""A data set's attributions, a point for each example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attrfunc.core.errors import positive
from attrfunc.core.extras import require
from attrfunc.viz.arrays import drawing, named, to_array
from attrfunc.viz.explanation import explanation, load_shap
from attrfunc.viz.handed import aside, finish, literal, require_finite, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["beeswarm"]


@drawing
def beeswarm(
    values: Any,
    data: Any = None,
    *,
    names: Sequence[str] | None = None,
    top: int = 10,
    unit: str = "attribution",
    title: str | None = None,
) -> Figure:
    """Draw the attributions of a whole table, a row of points for each feature, by shap's own beeswarm plot.

    Args:
        values: Attributions `(B, F)`; a tensor on any device, or an array.
        data: The table that is explained, `(B, F)`: points are coloured by it.
        names: The features' names.
        top: How many features are shown, those with the largest attributions on average; the last row adds up the
            rest.
        unit: What stands below.
        title: What stands above.

    Returns:
        The figure; see `af.viz.image`.

    Raises:
        ArgumentError: If shapes do not go together, or values are not finite.
        AttributionError: If shap is not installed, the extra `attrfunc[shap]`.

    Example:
        >>> table = torch.randn(40, 3)
        >>> figure = af.viz.beeswarm(table * torch.tensor([3.0, 2.0, 1.0]), table, names=["age", "dose", "sex"])
        >>> figure.axes[0].get_yticklabels()[-1].get_text()
        'age'
    """
    found = table("values", to_array("values", values), values)
    require_finite("values", found)
    labels = named("names", names, found.shape[1], "feature")
    told = explanation(found, data=data, names=literal(labels))
    shown = min(positive("top", top), found.shape[1])
    require("matplotlib", "viz")
    shap = load_shap()
    with aside((7.5, 1.4 + 0.4 * shown)) as figure:
        axes = figure.subplots()
        shap.plots.beeswarm(told, max_display=shown, ax=axes, plot_size=None, show=False)
        axes.set_xlabel(unit, fontsize=11, parse_math=False)
    return finish(figure, title)
