"""Sensitivity: what changes the score gets an attribution, and what cannot change it gets none.

These are the axioms Sensitivity (a) and (b) of Sundararajan et al. 2017; (b) is also known as the dummy axiom.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.score.baseline import resolve_baseline
from attrfunc.core.score.views import Model
from attrfunc.core.trees import floats
from attrfunc.testing.trial import Method, Trial, require_input_view
from attrfunc.testing.verdict import require_equal, rounding
from attrfunc.testing.wrappers import Around, derived

__all__ = ["check_dummy", "check_sensitivity"]


def check_dummy(
    method: Method,
    /,
    model: Model,
    x: Any,
    *,
    baseline: Any = None,
    target: Any = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    rtol: float | None = None,
    **options: Any,
) -> None:
    """Check that features which the score does not depend on get zero.

    The model is run blindfolded: every other feature is replaced by a constant on the way in; then the others are.

    Args:
        method: Any method; see `attrfunc.testing`.
        model: Any model, or view of a neuron.
        x: The input.
        baseline: The baseline.
        target: The target.
        args: Further positional arguments of the model.
        kwargs: Keyword arguments of the model.
        rtol: Tolerance relative to the greatest attribution; see `attrfunc.testing.verdict`.
        **options: The method's own.

    Raises:
        AssertionError: If one of them gets something.

    Example:
        >>> from attrfunc import testing
        >>> testing.check_dummy(af.ig, testing.MLP((3,), (2,)), testing.normal((4, 3)), target=0)
    """
    require_input_view(model, "check_dummy")
    trial = Trial(method, x, baseline, target, args, kwargs, options)
    for parity in (0, 1):
        seen = [_every_other(leaf, parity) for leaf in floats(x)[0]]
        blind = derived(model, functools.partial(Around, x=x, before=_Blindfold(x, seen)))
        got = trial.run_at_input(blind)
        require_equal(
            f"sensitivity does not hold for {trial.name}: a feature that the score does not depend on must get zero",
            got,
            [torch.zeros_like(leaf) for leaf in got],
            rtol=rtol,
            scale=trial.scores(blind, "check_dummy"),
            names=("it gets", "and should get"),
            within=[~mask.expand_as(leaf) for mask, leaf in zip(seen, got, strict=True)],
        )


class _Blindfold:
    """Puts constants, those of the first example, in place of the features that are not seen."""

    def __init__(self, x: Any, seen: list[Tensor]) -> None:
        self.seen = seen
        self.constants = [leaf[:1].detach().clone() for leaf in floats(x)[0]]

    def __call__(self, x: Any) -> Any:
        leaves, restore = floats(x)
        triples = zip(self.seen, leaves, self.constants, strict=True)
        return restore([torch.where(mask, leaf, constant) for mask, leaf, constant in triples])


def _every_other(leaf: Tensor, parity: int) -> Tensor:
    return (torch.arange(leaf[:1].numel(), device=leaf.device) % 2 == parity).view_as(leaf[:1])


def check_sensitivity(
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
    features: int = 4,
    **options: Any,
) -> None:
    """Check that, where input and baseline differ in one feature and the score differs, that feature does not get zero.

    The method must take a baseline. Plain gradients break this axiom: they vanish where a network saturates.

    Args:
        method: Any method; see `attrfunc.testing`.
        model: Any model, or view of a neuron.
        x: The input. One feature after the other is set to its baseline.
        baseline: The baseline.
        target: The target.
        args: Further positional arguments of the model.
        kwargs: Keyword arguments of the model.
        rtol: The score differs if it does so by more than this part of the greatest absolute score of the batch, on the
            way from the baseline. The slope of a piecewise-linear network may differ from zero between two points of a
            path only, where the method cannot see it; a change of five per cent takes more than that.
        features: How many features are tried in each example, spread over the input; each takes one call.
        **options: The method's own.

    Raises:
        AssertionError: If it gets zero.

    Example:
        >>> from attrfunc import testing
        >>> testing.check_sensitivity(af.ig, testing.MLP((3,), (2,)), testing.normal((4, 3)), target=0)
    """
    require_input_view(model, "check_sensitivity")
    trial = Trial(method, x, baseline, target, args, kwargs, options)
    ends, _ = floats(resolve_baseline(baseline, x))
    leaves, restore = floats(x)
    size = trial.scores(model, "check_sensitivity").abs().max()
    sizes = [leaf[0].numel() for leaf in leaves]
    for turn in range(min(features, sum(sizes))):
        moved = _one_feature_each(sizes, leaves[0].shape[0], turn, min(features, sum(sizes)))
        masks = [mask.to(leaf.device).view_as(leaf) for mask, leaf in zip(moved, leaves, strict=True)]
        starts = [torch.where(mask, end, leaf) for mask, end, leaf in zip(masks, ends, leaves, strict=True)]
        one = trial.but(baseline=restore(starts))
        _require_some(one, model, masks, rtol, size)


def _one_feature_each(sizes: list[int], rows: int, turn: int, turns: int) -> list[Tensor]:
    """Flat masks that choose one feature of each example, another in the next example, spread over all tensors."""
    total = sum(sizes)
    chosen = torch.tensor([(turn * total // turns + row) % total for row in range(rows)])
    mask = torch.zeros(rows, total, dtype=torch.bool).scatter(1, chosen[:, None], True)
    return list(mask.split(sizes, dim=1))


def _require_some(trial: Trial, model: Model, masks: list[Tensor], rtol: float, size: Tensor) -> None:
    scores = trial.scores(model, "check_sensitivity")
    low, high = scores[0], scores[-1]
    got = trial.run_at_input(model)
    sums = [leaf.abs().where(mask, torch.zeros_like(leaf)) for leaf, mask in zip(got, masks, strict=True)]
    given = torch.stack([leaf.flatten(1).sum(1) for leaf in sums]).sum(0)
    nothing = rounding(scores)
    differs = (high - low).abs() > rtol * size
    wrong = differs & (given <= nothing)
    if not wrong.any():
        return
    worst = int(((high - low).abs() * wrong).argmax())
    number = next(i for i, mask in enumerate(masks) if mask[worst].any())
    feature = tuple(int(i) for i in masks[number][worst].nonzero()[0])
    of = f" of tensor {number}" if len(masks) > 1 else ""
    raise AssertionError(
        f"sensitivity does not hold for {trial.name}: the one feature that differs between input and baseline must get "
        "an attribution, since the score differs\n"
        f"  worst: example {worst}, feature {feature}{of}: it gets {float(got[number][worst][feature]) + 0:.3g}, while "
        f"the score goes from {float(low[worst]):.8g} to {float(high[worst]):.8g}; so it is in {int(wrong.sum())} of "
        f"{len(wrong)} examples\n"
        f"  tolerance: up to {nothing:.3g} is nothing (rounding of the score); the score differs by more than rtol "
        f"{rtol:.3g} x {float(size):.3g} (the greatest absolute score)"
    )
