"""Implementation invariance: networks that compute the same function get the same attributions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrfunc.core.errors import ArgumentError
from attrfunc.core.score.views import Model, as_view
from attrfunc.core.trees import floats
from attrfunc.testing.trial import Method, Trial
from attrfunc.testing.verdict import half_the_digits, require_equal
from attrfunc.testing.wrappers import Around, Runs, derived, on_floats, rewritten

__all__ = ["check_implementation_invariance", "equal_models"]


def check_implementation_invariance(
    method: Method,
    /,
    model: Model,
    x: Any,
    *,
    baseline: Any = None,
    target: Any = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    equal: Mapping[str, Model] | None = None,
    rtol: float | None = None,
    **options: Any,
) -> None:
    """Check that models that compute the same function get the same attributions.

    Args:
        method: Any method; see `attrfunc.testing`.
        model: Any model or view.
        x: The input.
        baseline: The baseline.
        target: The target.
        args: Further positional arguments of the model.
        kwargs: Keyword arguments of the model.
        equal: Models equal to `model`, by a name for messages; by default those of `equal_models`.
        rtol: Tolerance relative to the greatest attribution; see `attrfunc.testing.verdict`.
        **options: The method's own.

    Raises:
        AssertionError: If one gets others.
        ArgumentError: If a model of `equal` has other scores.

    Example:
        >>> from attrfunc import testing
        >>> model = testing.MLP((3,), (2,))
        >>> testing.check_implementation_invariance(af.ig, model, testing.normal((4, 3)), target=0)
    """
    trial = Trial(method, x, baseline, target, args, kwargs, options)
    expected = trial.run(model)
    scores = trial.scores(model, "check_implementation_invariance")
    for name, same in (equal_models(model, x) if equal is None else equal).items():
        if equal is not None:
            _require_same_scores(trial, same, name, scores)
        require_equal(
            f"implementation invariance does not hold for {trial.name}: {name} computes the same function as the model "
            "and must get the same attributions",
            trial.run(same),
            expected,
            rtol=rtol,
            scale=scores,
            names=("there", "for the model"),
        )


def _require_same_scores(trial: Trial, same: Model, name: str, scores: Tensor) -> None:
    others = trial.scores(same, "check_implementation_invariance")
    apart = float((others - scores).abs().max())
    if not apart <= half_the_digits(scores.dtype) * float(scores.abs().max()):
        raise ArgumentError(
            "equal",
            f"the model {name!r}, whose scores are up to {apart:.3g} apart",
            "models with the same scores as `model`",
            "Implementation invariance is about equal functions.",
        ).within("check_implementation_invariance")


def equal_models(model: Model, x: Any) -> dict[str, Model]:
    """Models that compute the same function as `model` by other operations.

    The input and the output take a detour, `z = softplus(z) - softplus(-z)`; the model runs twice, for the mean of two
    equal outputs; and its linear layers and activations are rewritten. Of a view, only the detours, as the others would
    take its layer away.

    Args:
        model: Any model or view.
        x: An input of it.

    Returns:
        The models, by a name for messages.

    Example:
        >>> from attrfunc import testing
        >>> list(testing.equal_models(torch.nn.Linear(3, 2), torch.ones(1, 3)))
        ['a detour of the input', 'a detour of the output', 'the mean of two runs', 'rewritten layers']
    """
    equal = {
        "a detour of the input": derived(model, lambda call: Around(call, x, before=_detour)),
        "a detour of the output": derived(model, lambda call: Around(call, x, after=_detour)),
    }
    view = as_view(model)
    if view is model:
        return equal
    equal["the mean of two runs"] = Runs([view.model, view.model], _mean_of_equals)
    if isinstance(view.model, nn.Module) and not isinstance(view.model, torch.jit.ScriptModule):
        equal["rewritten layers"] = rewritten(view.model)
    return equal


def _softplus_twice(z: Tensor) -> Tensor:
    return F.softplus(z) - F.softplus(-z)


# Of a structure that is no pytree (a dataclass, say) there are no tensors to be seen, and the output stays as it is.
_detour: Callable[[Any], Any] = on_floats(_softplus_twice)


def _mean_of_equals(outputs: list[Any]) -> Any:
    (one, restore), (two, _) = map(floats, outputs)
    return restore([(first + second) / 2 for first, second in zip(one, two, strict=True)])
