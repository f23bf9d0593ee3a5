"""Linearity: the attributions of `a * f + b * g` are `a` times those of `f` plus `b` times those of `g`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError
from attrfunc.core.score.views import Model, View, as_view
from attrfunc.testing.trial import Method, Trial
from attrfunc.testing.verdict import require_equal
from attrfunc.testing.wrappers import Around, Runs, derived, on_floats

__all__ = ["check_linearity"]


def check_linearity(
    method: Method,
    /,
    model: Model,
    x: Any,
    *,
    baseline: Any = None,
    target: Any = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    other: Callable[..., Any] | None = None,
    a: float = 2.0,
    b: float = -3.0,
    rtol: float | None = None,
    **options: Any,
) -> None:
    """Check that attributions are linear in the score.

    Args:
        method: Any method; see `attrfunc.testing`.
        model: Any model `f`, or view of a layer.
        x: The input.
        baseline: The baseline.
        target: The target.
        args: Further positional arguments of the model.
        kwargs: Keyword arguments of the model.
        other: The model `g`, with the inputs and outputs of `f`. By default, `f` with each feature scaled by a
            factor of its own; for a view of a layer a saturating function of `f`, which is the weaker test: its
            gradient at any one point is parallel to that of `f`. `at_layer` makes the stronger one.
        a: Weight of `f`.
        b: Weight of `g`.
        rtol: Tolerance relative to the greatest attribution; see `attrfunc.testing.verdict`. The error of a quadrature
            does not matter, since it is linear too.
        **options: The method's own.

    Raises:
        AssertionError: If they are not.

    Example:
        >>> from attrfunc import testing
        >>> model, other = testing.MLP((3,), (2,)), testing.MLP((3,), (2,), seed=1)
        >>> testing.check_linearity(af.ig, model, testing.normal((4, 3)), target=0, other=other)
    """
    view = as_view(model)
    if view.output is not None:
        raise ArgumentError(
            "model",
            "a view of a neuron",
            "a model or a view of a layer: the score is combined at the output, behind the neuron",
            "Check the method at neurons with testing.at_neuron(method), and pass the model in front of the neuron.",
        ).within("check_linearity")
    if view.sites and other is not None:
        raise ArgumentError(
            "other", "a model beside a view of a layer", "None", "The layer is not a part of the other model."
        ).within("check_linearity")
    trial = Trial(method, x, baseline, target, args, kwargs, options)
    scores = trial.scores(model, "check_linearity")
    size = float(scores.abs().max())
    if other is not None:
        parts = _with_another(model, lambda call: other, target, a, b)
    elif view.sites:
        parts = _with_curved(model, x, target, a, b, size)
    else:
        parts = _with_another(model, functools.partial(Around, x=x, before=_tilted), target, a, b)
    first, second, both = (trial.but(target=target).run(made) for made, target in parts)
    require_equal(
        f"linearity does not hold for {trial.name}: attributions of {a:g} * f + {b:g} * g must be {a:g} times those of "
        f"f plus {b:g} times those of g",
        both,
        [a * one + b * two for one, two in zip(first, second, strict=True)],
        rtol=rtol,
        scale=(abs(a) + abs(b)) * scores,
        names=("of the combination", "combined"),
        detail=lambda number, flat: f" (f: {_at(first, number, flat):.8g}, g: {_at(second, number, flat):.8g})",
    )


def _at(leaves: list[Tensor], number: int, flat: int) -> float:
    return float(leaves[number].flatten()[flat])


Parts = list[tuple[Model | View, Any]]


def _with_curved(model: Model, x: Any, target: Any, a: float, b: float, size: float) -> Parts:
    """Models and targets for f, for `g = size * tanh(f / size)`, and for their combination.

    The output is curved where an index selects the score from it, or else the score that a callable makes of it: a
    callable need not commute with the curve.
    """
    size = size or 1.0

    def curve(score: Tensor) -> Tensor:
        return size * torch.tanh(score / size)

    def combine(score: Tensor) -> Tensor:
        return a * score + b * curve(score)

    if callable(target):
        return [(model, target), *((model, _then(target, change)) for change in (curve, combine))]
    wraps = [functools.partial(Around, x=x, after=on_floats(change)) for change in (curve, combine)]
    return [(model, target), *((derived(model, wrap), target) for wrap in wraps)]


def _then(target: Callable[[Any], Tensor], change: Callable[[Tensor], Tensor]) -> Callable[[Any], Tensor]:
    return lambda output: change(target(output))


def _with_another(model: Model, wrap: Callable[[Callable[..., Any]], Any], target: Any, a: float, b: float) -> Parts:
    """Models and targets for f, for what `wrap` makes of it, and for their combination."""

    def weighted(one: Any, two: Any) -> Any:
        return a * one + b * two

    if callable(target):
        both = derived(model, lambda call: Runs([call, wrap(call)], tuple))
        return [
            (model, target),
            (derived(model, wrap), target),
            (both, lambda pair: weighted(target(pair[0]), target(pair[1]))),
        ]
    both = derived(model, lambda call: Runs([call, wrap(call)], lambda outputs: weighted(*outputs)))
    return [(model, target), (derived(model, wrap), target), (both, target)]


@on_floats
def _tilted(leaf: Tensor) -> Tensor:
    """Each feature scaled by a factor of its own, so that the gradients of the two models are not parallel."""
    factors = torch.linspace(0.5, 1, leaf[:1].numel(), dtype=leaf.dtype, device=leaf.device)
    return leaf * factors.view(leaf[:1].shape)
