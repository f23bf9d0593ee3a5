"""The completeness gap: how far attributions are from adding up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from attrfunc.core.baseline import Baseline
from attrfunc.core.errors import ArgumentError
from attrfunc.core.method import method, open_problem
from attrfunc.core.target import Target
from attrfunc.core.trees import floats
from attrfunc.core.views import Model, as_view

__all__ = ["completeness_gap"]


@method
def completeness_gap(
    model: Model,
    x: Any,
    attributions: Any,
    *,
    baseline: Baseline = None,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Any:
    """What the attributions of each example sum to, less the change of the score from the baseline to the input.

    Args:
        model: The model or view that was attributed.
        x: The input.
        attributions: What the method returned for them, or sums of it over some of an example's features.
        baseline: The baseline that was used; see `attrfunc.core.baseline`.
        target: The target that was used; see `attrfunc.core.target`.
        args: Further positional arguments of the model; see `attrfunc.core.inputs`.
        kwargs: Keyword arguments of the model.

    Returns:
        Signed gaps `(B,)` in units of the score; for a list of layers, a list of them. At a layer, the change of the
        score is that of the view: the activation goes from its baseline to its value, and what bypasses the layer
        stays as it is at `x`.

    Raises:
        ArgumentError: If the attributions have no dimension for the examples.

    Example:
        >>> model = torch.nn.Linear(3, 2)
        >>> x = torch.ones(5, 3)
        >>> af.completeness_gap(model, x, af.ig(model, x, target=0), target=0).shape
        torch.Size([5])
    """
    view = as_view(model)
    if view.several and not view.joint:
        return [
            completeness_gap(one, x, part, baseline=baseline, target=target, args=args, kwargs=kwargs)
            for one, part in zip(view.each(), attributions, strict=True)
        ]
    problem = open_problem(view, x, target, args, kwargs)
    parts, _ = floats(attributions)
    if not parts or not problem.separable(parts):
        raise ArgumentError(
            "attributions",
            f"tensors of shapes {[tuple(part.shape) for part in parts]}",
            f"the {problem.inputs.rows} examples in dimension 0",
            "Pass what the method returned, with the same model, view and input.",
        )
    start, end = problem.ends(baseline)
    low, high = problem.scores([torch.stack(pair) for pair in zip(start, end, strict=True)])
    return sum(part.flatten(1).sum(1) for part in parts) - (high - low)
