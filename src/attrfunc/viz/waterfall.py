"""One example, from the score that attributions start at to its prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from attrfunc.core.errors import ArgumentError, positive
from attrfunc.core.extras import require
from attrfunc.viz.arrays import Array, described, drawing, named, require_shape, to_array
from attrfunc.viz.explanation import explanation, load_shap
from attrfunc.viz.handed import aside, finish, literal, require_finite

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["waterfall"]

GAP = 1e-3  # of the change, above which what attributions miss is drawn


@drawing
def waterfall(
    values: Any,
    *,
    base: Any,
    prediction: Any = None,
    data: Any = None,
    names: Sequence[str] | None = None,
    top: int = 10,
    title: str | None = None,
) -> Figure:
    """Draw how the features of one example lead from the base value to the prediction, by shap's own waterfall plot.

    Args:
        values: Attributions `(F,)`; a tensor on any device, or an array.
        base: The score that they start from: that of the baseline, or its mean over several.
        prediction: The score of the example. Where the attributions do not lead there, the difference is drawn as one
            more feature, "not attributed". Without it the plot ends at the sum.
        data: The example, `(F,)`: its numbers stand beside the names.
        names: The features' names.
        top: How many rows are drawn, two at least; the last of them adds up the rest.
        title: What stands above.

    Returns:
        The figure; see `af.viz.image`.

    Raises:
        ArgumentError: If shapes do not go together, or values are not finite.
        AttributionError: If shap is not installed, the extra `attrfunc[shap]`.

    Example:
        >>> figure = af.viz.waterfall([0.5, -1.0, 0.25], base=0.25, prediction=0.0, names=["age", "dose", "sex"])
        >>> figure.axes[0].get_yticklabels()[-1].get_text()
        'dose'
    """
    found = to_array("values", values)
    if found.ndim != 1:
        fix = "Choose one example and flatten its features: values[0].flatten()."
        raise ArgumentError("values", described(values), "one number for each feature, (F,)", fix)
    start = _one("base", base)
    labels = named("names", names, len(found), "feature")
    numbers = None
    if data is not None:
        numbers = to_array("data", data)
        require_shape("data", numbers, found.shape, "the values", "Pass the example that was explained.")
    require_finite("values", found)
    shown = positive("top", top)
    gap = 0.0 if prediction is None else _one("prediction", prediction) - start - float(found.sum())
    if abs(gap) > GAP * max(abs(float(found.sum())), abs(gap + float(found.sum()))):
        found, labels = np.append(found, gap), [*labels, "not attributed"]
        numbers = None if numbers is None else np.append(numbers, np.nan)
    require("matplotlib", "viz")
    shap = load_shap()
    told = _told(found, start, numbers, labels)
    with aside((8, 5)) as figure:
        shap.plots.waterfall(told, max_display=max(shown, 2), show=False)
    return finish(figure, title, y=0.97)


def _told(values: Array, base: float, data: Array | None, names: list[str]) -> Any:
    """The explanation, whose names have their numbers beside them; shap would write one for the gap, too."""
    if data is not None:
        names = [name if np.isnan(one) else f"{name} = {one:.4g}" for name, one in zip(names, data, strict=True)]
    return explanation(values, base=base, names=literal(names))


def _one(name: str, value: Any) -> float:
    found = to_array(name, value)
    if found.size != 1 or not np.isfinite(found).all():
        fix = "Pass the score of one class: model(x)[0, target]."
        raise ArgumentError(name, described(value), "one finite number", fix)
    return float(found.reshape(()))
