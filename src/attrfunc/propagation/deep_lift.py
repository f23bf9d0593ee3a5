"""DeepLIFT (Shrikumar et al. 2017), by operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.baseline import Baseline, one_for_all
from attrfunc.core.errors import warn
from attrfunc.core.method import each_layer, method, open_problem
from attrfunc.core.problem import Problem
from attrfunc.core.target import Target
from attrfunc.core.transforms import known
from attrfunc.core.views import Model
from attrfunc.propagation.deep_lift_rules import RESCALE
from attrfunc.propagation.propagate import layer_names, multipliers
from attrfunc.propagation.rule_book import RuleBook, Rules, laid_over

__all__ = ["deep_lift", "lifted"]


@method
@each_layer
def deep_lift(
    model: Model,
    x: Any,
    *,
    baseline: Baseline = None,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    rules: RuleBook | Rules | None = None,
    multiply_by_inputs: bool = True,
) -> Any:
    """Differences from the baseline, sent back through multipliers of every operation: DeepLIFT.

    `(x - b) * m`, where `m` is the chain of the operations' slopes from the baseline to the input.

    Args:
        model: A module, any callable, or a view of one.
        x: The input, a tensor `(B, *S)` or a structure of them.
        baseline: What the input is compared with; see `attrfunc.core.baseline`.
        target: Which output is attributed; see `attrfunc.core.target`.
        args: Further positional arguments of the model; see `attrfunc.core.inputs`.
        kwargs: Keyword arguments of the model.
        rules: Other rules; see `attrfunc.propagation.rule_book`. `af.REVEAL_CANCEL` is the paper's second book.
        multiply_by_inputs: `False` gives the multipliers themselves.

    Returns:
        Attributions in units of the score, with the structure and shapes of `x` (or of the layer's activation; for a
        list of layers, a list). *Completeness*: they sum to `score(x) - score(baseline)`, exactly, for every operation
        that has a rule.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If an operation has no rule, the model runs others at the baseline, or the score is not finite.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.GELU(), torch.nn.Linear(4, 2))
        >>> x = torch.ones(5, 3)
        >>> attributions = af.deep_lift(model, x, baseline=0.5, target=1)
        >>> af.completeness_gap(model, x, attributions, baseline=0.5, target=1).abs().max() < 1e-5
        tensor(True)

    Reference:
        Shrikumar, Greenside, Kundaje: Learning Important Features Through Propagating Activation Differences, 2017.
    """
    problem = open_problem(model, x, target, args, kwargs)
    book = laid_over(RESCALE, rules, layer_names(problem))
    return problem.restore(lifted(problem, baseline, book, multiply_by_inputs))


def lifted(problem: Problem, baseline: Any, book: RuleBook, multiply_by_inputs: bool) -> list[Tensor]:
    """What `deep_lift` attributes to a problem's point."""
    start, end = problem.ends(baseline, measure=False)
    scores, found = multipliers(problem, book, start, end, shared=one_for_all(baseline, problem.inputs.x))
    attributions = [slope * (last - first) for slope, first, last in zip(found, start, end, strict=True)]
    _require_complete(problem, attributions, *scores)
    return attributions if multiply_by_inputs else found


def _require_complete(problem: Problem, attributions: list[Tensor], low: Tensor, high: Tensor) -> None:
    """Warn where something in the model depends on the point in a way that no operation shows."""
    change, eps = high - low, torch.finfo(high.dtype).eps
    gap = torch.stack([part.sum() for part in attributions]).sum() - change
    scale = torch.stack([part.abs().sum() for part in attributions]).sum() + change.abs()
    # Rounding leaves a part of the attributions, and a few digits of the scores themselves.
    if known(gap.abs() > eps**0.5 * scale + 100 * eps * (low.abs() + high.abs())):
        warn(
            f"{problem.view.method}: the attributions miss {-float(gap):.3g} of the score's change of "
            f"{float(change):.3g}. A value that depends on the input goes on without a gradient (detach(), an index, "
            "a mask), or a rule of yours is not complete."
        )
