"""Which measure of completeness a method has."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.gradient.completeness import completeness_gap
from attrfunc.gradient.guided_ig import guided_ig
from attrfunc.gradient.integrated_gradients import integrated_gradients
from attrfunc.propagation.deep_lift import deep_lift
from attrfunc.propagation.lrp import lrp, relevance_gap

__all__ = ["Gap", "gap_of"]

Gap = Callable[..., Tensor]

_MEASURES: dict[Any, Gap] = {
    integrated_gradients: completeness_gap,
    guided_ig: completeness_gap,
    deep_lift: completeness_gap,
    lrp: relevance_gap,
}


def gap_of(method: Callable[..., Any], options: dict[str, Any], gap: Any) -> Gap | None:
    """What measures the gap of a method's attributions; None where nothing does.

    Args:
        method: The method, or a `functools.partial` of one.
        options: What it is called with.
        gap: Whether it is wanted, or a measure `(model, x, attributions, **arguments) -> (B,)` of the user's, which
            gets those of the method's arguments that it has.

    Raises:
        ArgumentError: If it is something else.
    """
    if gap is False:
        return None
    if gap is not True:
        if not callable(gap):
            expected = "True, False, or a callable (model, x, attributions, **arguments) -> (B,)"
            raise ArgumentError("gap", describe(gap), expected, "Pass gap=af.completeness_gap, say.")
        return _of_arguments(gap)
    held: dict[str, Any] = dict(options)
    while isinstance(method, functools.partial):
        held, method = {**method.keywords, **held}, method.func
    if not held.get("multiply_by_inputs", True):
        return None
    measure = _MEASURES.get(method)
    return None if measure is None else _of_arguments(measure)


def _of_arguments(measure: Gap) -> Gap:
    """A measure that is given only those of the method's arguments that it has."""
    has = inspect.signature(measure).parameters
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in has.values()):
        return measure

    def measured(model: Any, x: Any, attributions: Any, **arguments: Any) -> Tensor:
        return measure(model, x, attributions, **{name: arguments[name] for name in arguments if name in has})

    return measured
