"""What attributions should add up to, and how far they are from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from attrfunc.core.errors import ArgumentError
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.method import method, open_problem
from attrfunc.core.score.point import Point
from attrfunc.core.score.problem import Problem
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model, as_view
from attrfunc.core.trees import floats

__all__ = ["completeness_gap", "score_change"]


@method
def score_change(
    model: Model,
    x: Any,
    *,
    baseline: Baseline = None,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Any:
    """The change of the score from the baseline to the input, which complete attributions add up to.

    Args:
        model: The model or view.
        x: The input.
        baseline: Where the change starts; see `attrfunc.core.score.baseline`.
        target: The target; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.

    Returns:
        Changes `(B,)` in units of the score; for a list of layers, a list of them. At a layer it is the change of the
        view's score: the activation goes from its baseline to its value, and what bypasses the layer stays as it is at
        `x`.

    Example:
        >>> model = torch.nn.Linear(3, 2)
        >>> x = torch.ones(5, 3)
        >>> torch.allclose(af.score_change(model, x, target=0), (model(x) - model.bias)[:, 0])
        True
    """
    view = as_view(model)
    if view.place.several and not view.place.joint:
        return [score_change(one, x, baseline=baseline, target=target, args=args, kwargs=kwargs) for one in view.each()]
    problem = open_problem(view, x, target, args, kwargs)
    return _change(problem, *problem.endpoints(baseline))


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
        attributions: What the method returned for them.
        baseline: The baseline that was used; see `attrfunc.core.score.baseline`.
        target: The target that was used; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.

    Returns:
        Signed gaps `(B,)` in units of the score; for a list of layers, a list of them. The change is `score_change`.

    Raises:
        ArgumentError: If the attributions do not have the shapes of the point, or no dimension for the examples.

    Example:
        >>> model = torch.nn.Linear(3, 2)
        >>> x = torch.ones(5, 3)
        >>> af.completeness_gap(model, x, af.ig(model, x, target=0), target=0).shape
        torch.Size([5])
    """
    view = as_view(model)
    if view.place.several and not view.place.joint:
        return [
            completeness_gap(one, x, part, baseline=baseline, target=target, args=args, kwargs=kwargs)
            for one, part in zip(view.each(), attributions, strict=True)
        ]
    problem = open_problem(view, x, target, args, kwargs)
    start, end = problem.endpoints(baseline)
    rows = problem.inputs.rows
    parts, _ = floats(attributions)
    shapes, expected = [tuple(part.shape) for part in parts], [tuple(leaf.shape) for leaf in end.leaves]
    if shapes != expected or any(leaf.dim() == 0 or leaf.shape[0] != rows for leaf in end.leaves):
        raise ArgumentError(
            "attributions",
            f"shapes {shapes}",
            f"the point's shapes {expected}, with the {rows} examples first",
            "Pass what the method returned, with the same model, view and input.",
        )
    return sum(part.flatten(1).sum(1) for part in parts) - _change(problem, start, end)


def _change(problem: Problem, start: Point, end: Point) -> Tensor:
    low, high = problem.scores(Point.stacked([start, end]))
    return high - low
