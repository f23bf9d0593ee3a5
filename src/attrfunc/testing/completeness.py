"""Completeness: attributions add up to the change of the score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from attrfunc.core.score.views import Model, as_view
from attrfunc.testing.trial import Method, Trial
from attrfunc.testing.verdict import rounding

__all__ = ["check_completeness"]


def check_completeness(
    method: Method,
    /,
    model: Model,
    x: Any,
    *,
    baseline: Any = None,
    target: Any = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    rtol: float = 5e-2,
    **options: Any,
) -> None:
    """Check that the attributions of each example sum to `score(x) - score(baseline)`.

    Args:
        method: Any method; see `attrfunc.testing`.
        model: Any model or view.
        x: The input.
        baseline: The baseline; a method without one is checked against zeros.
        target: The target.
        args: Further positional arguments of the model.
        kwargs: Keyword arguments of the model.
        rtol: Tolerance relative to the greatest absolute score of the batch, on the way from the baseline. Five per
            cent is the error that Sundararajan et al. 2017 accept when they choose the number of steps, and about what
            a path leaves on piecewise-linear networks, whose gradient jumps; a method that is not complete misses by
            tens of per cent. On smooth networks, or with a method that takes no path, ask for 1e-6 or less.
        **options: The method's own.

    Raises:
        AssertionError: If they do not.

    Example:
        >>> from attrfunc import testing
        >>> model = testing.MLP((3,), (2,))
        >>> testing.check_completeness(af.ig, model, testing.normal((4, 3)), target=0, rtol=1e-8)
        >>> testing.check_completeness(af.saliency, model, testing.normal((4, 3)), target=0)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        AssertionError: completeness does not hold for saliency: ...
    """
    trial = Trial(method, x, baseline, target, args, kwargs, options)
    view = as_view(model)
    several = view.place.several and not view.place.joint
    for one in view.each() if several else [model]:
        _check(trial, one, rtol)


def _check(trial: Trial, model: Model, rtol: float) -> None:
    view = as_view(model)
    result = trial.run(model) if view.sites else trial.run_at_input(model)
    scores = trial.scores(model, "check_completeness")
    low, high = scores[0], scores[-1]
    rows = high.shape[0]
    if any(leaf.dim() == 0 or leaf.shape[0] != rows for leaf in result):
        raise AssertionError(
            f"{trial.name} returned shapes {[tuple(leaf.shape) for leaf in result]} for {rows} examples"
        )
    sums = torch.stack([leaf.flatten(1).sum(1).to(high.dtype) for leaf in result]).sum(0)
    parts = torch.stack([leaf.flatten(1).abs().sum(1).to(high.dtype) for leaf in result])
    gaps = (sums - (high - low)).abs()
    size = float(scores.abs().max())
    noise = rounding(scores, parts)
    tolerance = rtol * size + noise
    worst = int(gaps.argmax())
    if float(gaps[worst]) <= tolerance:
        return
    largest = max(result, key=lambda leaf: float(leaf[worst].abs().max()))
    feature = torch.unravel_index(largest[worst].abs().argmax(), largest[worst].shape)
    raise AssertionError(
        f"completeness does not hold for {trial.name}: attributions must sum to score(x) - score(baseline)\n"
        f"  worst: example {worst}: attributions sum to {float(sums[worst]):.8g}, but the score goes from "
        f"{float(low[worst]):.8g} to {float(high[worst]):.8g}, by {float(high[worst] - low[worst]):.8g}: gap "
        f"{float(sums[worst] - high[worst] + low[worst]):.3g}; "
        f"{int((gaps > tolerance).sum())} of {rows} examples have a gap beyond the tolerance\n"
        f"  its greatest attribution: {float(largest[worst][feature]):.8g} at feature {tuple(map(int, feature))}\n"
        f"  tolerance: {tolerance:.3g} = rtol {rtol:.3g} x {size:.3g} (the greatest absolute score) + {noise:.3g} "
        "(rounding)"
    )
