"""The score while features are replaced in the order of their attributions (Samek et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe, positive
from attrfunc.core.loops.progress import Progress
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.method import method, named
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model
from attrfunc.metrics.explanation import Explanation, open_explanation
from attrfunc.metrics.imputers import Imputer, filling
from attrfunc.perturbation.feature_groups import FeatureMask
from attrfunc.perturbation.game import limits
from attrfunc.perturbation.precision import wide

__all__ = ["curve_area", "order_of", "perturbation_curve"]

ORDERS, STARTS = ("most_first", "least_first"), ("input", "baseline")


@method
def perturbation_curve(
    model: Model,
    x: Any,
    attributions: Any,
    *,
    baseline: Baseline = None,
    target: Target = None,
    feature_mask: FeatureMask = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    order: str = "most_first",
    start: str = "input",
    imputer: Imputer | None = None,
    n_steps: int | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Tensor:
    """The score while features are taken away, or put back, in the order of their attributions.

    | published as | arguments |
    |---|---|
    | deletion, pixel flipping | none |
    | insertion | `start="baseline"` |
    | region perturbation, selectivity | `feature_mask=af.masks.grid_mask(x, 9)` |
    | IROF | `feature_mask=af.masks.superpixels(x)`; its number is `1 - curve_area(curve, relative=True)` |
    | ROAD | `imputer=af.metrics.noisy_linear(generator=g)`, and a mask that joins the channels of a pixel |

    Features with equal attributions go in the order of their numbers.

    Args:
        model: A module, any callable, or a view of one; no gradient is taken.
        x: The input, a tensor `(B, *S)` or a structure of them; integers, too.
        attributions: What is measured; see `attrfunc.metrics.explanation`.
        baseline: What replaces features; see `attrfunc.core.score.baseline`.
        target: Which output was attributed; see `attrfunc.core.score.target`.
        feature_mask: What is replaced together; see `attrfunc.perturbation.feature_groups`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        order: `"most_first"` begins with the largest attributions, `"least_first"` with the smallest (negative ones).
        start: `"input"` takes features away, `"baseline"` begins without any and puts them back.
        imputer: What replaces features instead of the baseline; see `attrfunc.metrics.imputers`.
        n_steps: Number of steps, K, of as equal numbers of features as possible; `None` is one for each feature, 50 at
            most.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Scores `(B, K + 1)`: those of the start, and after each step. The ends do not depend on the attributions. For an
        additive score, no order has a lower curve than that of its exact attributions, with `"most_first"` from the
        input.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If a score is not finite, or examples are not scored apart.

    Example:
        >>> model = lambda x: (x * torch.tensor([1.0, 3.0, 2.0])).sum(1)
        >>> x = torch.ones(1, 3)
        >>> af.metrics.perturbation_curve(model, x, af.ig(model, x))
        tensor([[6., 3., 1., 0.]])

    Reference:
        Samek, Binder, Montavon, Lapuschkin, Mueller: Evaluating the Visualization of What a Deep Neural Network Has
        Learned, 2017, https://arxiv.org/abs/1509.06321; Petsiuk, Das, Saenko: RISE, BMVC 2018,
        https://arxiv.org/abs/1806.07421 (deletion, insertion); Rieger, Hansen: IROF, 2020,
        https://arxiv.org/abs/2003.08747; Rong et al.: A Consistent and Efficient Evaluation Strategy for Attribution
        Methods, ICML 2022, https://arxiv.org/abs/2202.00449 (ROAD).
    """
    _choose("order", order, ORDERS)
    _choose("start", start, STARTS)
    explanation = open_explanation(
        model,
        x,
        attributions,
        baseline=baseline,
        target=target,
        feature_mask=feature_mask,
        args=args,
        kwargs=kwargs,
        chunk_size=chunk_size,
    )
    places = order_of(explanation.sums, least_first=order == "least_first")
    groups = explanation.groups
    steps = min(groups, 50) if n_steps is None else positive("n_steps", n_steps)
    if steps > groups:
        fix = "Pass no n_steps for one step a feature."
        raise ArgumentError("n_steps", repr(n_steps), f"at most the number of features, {groups}", fix)
    counts = [round(step * groups / steps) for step in range(steps + 1)]
    options: dict[str, Any] = {"chunk_size": chunk_size, "progress": progress}
    return curve(explanation, places, counts, put_back=start == "baseline", imputer=imputer, **options)


def order_of(sums: Tensor, *, least_first: bool = False) -> Tensor:
    """The place `(B, n)` of each group in the order of its attribution, from 0 on; equal ones keep their order."""
    return sums.argsort(dim=1, descending=not least_first, stable=True).argsort(dim=1)


def curve(
    explanation: Explanation,
    places: Tensor,
    counts: Sequence[int],
    *,
    put_back: bool,
    imputer: Imputer | None,
    chunk_size: int | None,
    progress: Progress,
) -> Tensor:
    """Scores `(B, K)`, where the first of so many groups are replaced; or, if they are put back, all the others."""
    options: dict[str, Any] = {"chunk_size": chunk_size, "progress": progress}
    game = explanation.game
    if not put_back:  # those that are left are the last of the order
        places, counts = explanation.groups - 1 - places, [explanation.groups - count for count in counts]
    if imputer is None:
        return wide(game.nested(places, counts, **options)).T
    elements, fill = game.at_elements(places), filling(imputer, game.point)

    def points(rows: slice, chosen: slice) -> list[Tensor]:
        return fill(rows, [place[rows] < limits(counts[chosen], place) for place in elements])

    return explanation.scores(len(counts), points, **options).T


def curve_area(curve: Tensor, *, relative: bool = False) -> Tensor:
    """The area under a curve, whose steps add up to a width of 1 (trapezoids).

    Args:
        curve: Numbers `(B, K + 1)`, such as `perturbation_curve` gives.
        relative: Divide each curve by its first number. A curve that begins at 0 has no relative area: NaN.

    Returns:
        Areas `(B,)`, in units of the score; without unit, if they are relative. A constant curve has its height.

    Raises:
        ArgumentError: If the curve has other dimensions, or a single point.

    Example:
        >>> af.metrics.curve_area(torch.tensor([[6.0, 3.0, 1.0, 0.0]]))
        tensor([2.3333])
    """
    return named("curve_area", _area)(curve, relative)


def _area(curve: Tensor, relative: bool) -> Tensor:
    if not isinstance(curve, Tensor) or curve.dim() != 2 or curve.shape[1] < 2 or not curve.is_floating_point():
        fix = "Pass what perturbation_curve returned."
        raise ArgumentError("curve", describe(curve), "floating-point numbers (B, K + 1), two points and more", fix)
    area = (curve[:, :-1] + curve[:, 1:]).mean(1) / 2
    return area / torch.where(curve[:, 0] == 0, math.nan, curve[:, 0]) if relative else area


def _choose(name: str, given: Any, choices: Sequence[str]) -> None:
    if given not in choices:
        raise ArgumentError(name, repr(given), f"one of {', '.join(choices)}", f"Pass {name}={choices[0]!r}, say.")
