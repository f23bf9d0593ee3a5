"""Effective complexity (Nguyen and Martinez 2020)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.loops.progress import Progress
from attrfunc.core.loops.samples import distribution
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.method import method
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model
from attrfunc.metrics.explanation import open_explanation
from attrfunc.metrics.perturbation_curve import curve, order_of
from attrfunc.perturbation.feature_groups import FeatureMask

__all__ = ["effective_complexity"]


@method
def effective_complexity(
    model: Model,
    x: Any,
    attributions: Any,
    *,
    tolerance: float,
    baseline: Baseline = None,
    baselines: Any = None,
    target: Target = None,
    feature_mask: FeatureMask = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Tensor:
    """How few of the most important features keep the score, whatever the others are.

    The least k for which the mean of `(score(x) - score(the k features of the largest absolute attributions, the others
    of a baseline))^2` is below the tolerance.

    Args:
        model: A module, any callable, or a view of one; no gradient is taken.
        x: The input, a tensor `(B, *S)` or a structure of them; integers, too.
        attributions: What is measured; see `attrfunc.metrics.explanation`.
        tolerance: The mean squared change of the score that is allowed.
        baseline: What replaces features; see `attrfunc.core.score.baseline`.
        baselines: A distribution of baselines instead, each of which is taken: a tensor `(N, *S)`, or nested as `x` is.
        target: Which output was attributed; see `attrfunc.core.score.target`.
        feature_mask: What is replaced together; see `attrfunc.perturbation.feature_groups`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Numbers of features `(B,)`, from 0 to n, as floating-point numbers: fewer are simpler.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If a score is not finite, or examples are not scored apart.

    Example:
        >>> model = lambda x: x[:, 0] * x[:, 1]
        >>> x = torch.ones(1, 5)
        >>> af.metrics.effective_complexity(model, x, af.ig(model, x), tolerance=0.01)
        tensor([2.])

    Reference:
        Nguyen, Martinez: On quantitative aspects of model interpretability, 2020, https://arxiv.org/abs/2007.07584.
    """
    if not isinstance(tolerance, Real) or not 0 < float(tolerance) < math.inf:
        fix = "Pass the square of a change of the score that does not matter."
        raise ArgumentError("tolerance", describe(tolerance), "a finite number above 0", fix)
    given = [baseline]
    if baselines is not None:
        if baseline is not None:
            raise ArgumentError("baseline", describe(baseline), "None beside baselines", "Pass one of the two.")
        leaves = distribution(baselines, x)
        spec = torch.utils._pytree.tree_structure(x)
        given = [
            torch.utils._pytree.tree_unflatten([leaf[number : number + 1] for leaf in leaves], spec)
            for number in range(len(leaves[0]))
        ]
    total: Tensor | None = None
    for one in given:
        options: dict[str, Any] = {"baseline": one, "target": target, "feature_mask": feature_mask}
        explanation = open_explanation(
            model, x, attributions, args=args, kwargs=kwargs, chunk_size=chunk_size, **options
        )
        places = order_of(explanation.sums.abs())
        counts = range(explanation.groups + 1)
        scores = curve(
            explanation, places, counts, put_back=True, imputer=None, chunk_size=chunk_size, progress=progress
        )
        squares = (scores - scores[:, -1:]).square() / len(given)
        total = squares if total is None else total + squares
    assert total is not None
    return (total < tolerance).to(total.dtype).argmax(1).to(total.dtype)
