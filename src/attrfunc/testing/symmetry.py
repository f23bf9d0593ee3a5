"""Symmetry: features that a score treats alike, and that have equal values, get equal attributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Number
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.score.baseline import resolve_baseline
from attrfunc.core.score.views import Model
from attrfunc.testing.trial import Method, Trial, require_input_view
from attrfunc.testing.verdict import require_equal
from attrfunc.testing.wrappers import Around, derived, on_floats

__all__ = ["check_symmetry"]


def check_symmetry(
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
    """Check that symmetric features with equal values and equal baselines get equal attributions.

    The model is made symmetric: the first feature is averaged with the last on the way in, the second with the last but
    one, and so on; and `x` and the baseline are averaged in the same way before the method sees them.

    Args:
        method: Any method; see `attrfunc.testing`.
        model: Any model, or view of a neuron.
        x: The input.
        baseline: The baseline.
        target: The target.
        args: Further positional arguments of the model.
        kwargs: Keyword arguments of the model.
        rtol: Tolerance relative to the greatest attribution; see `attrfunc.testing.verdict`. A method that samples
            fulfils the axiom up to the noise of its samples.
        **options: The method's own.

    Raises:
        AssertionError: If they get different ones.

    Example:
        >>> from attrfunc import testing
        >>> testing.check_symmetry(af.ig, testing.MLP((3,), (2,)), testing.normal((4, 3)), target=0)
    """
    require_input_view(model, "check_symmetry")
    if baseline is not None and not isinstance(baseline, Number):  # a constant is symmetric already
        baseline = _symmetrised(resolve_baseline(baseline, x))
    trial = Trial(method, _symmetrised(x), baseline, target, args, kwargs, options)
    symmetric = derived(model, lambda call: Around(call, x, before=_symmetrised))
    got = trial.run_at_input(symmetric)
    require_equal(
        f"symmetry does not hold for {trial.name}: symmetric features with equal values must get equal attributions",
        got,
        [_mirrored(leaf) for leaf in got],
        rtol=rtol,
        scale=trial.scores(symmetric, "check_symmetry"),
        names=("it gets", "its mirror image"),
        detail=lambda number, flat: f" and its mirror image {_mirror_of(got[number], flat)}",
    )


def _mirrored(leaf: Tensor) -> Tensor:
    return leaf.flatten(1).flip(1).view(leaf.shape) if leaf.dim() > 1 else leaf


_symmetrised = on_floats(lambda leaf: (leaf + _mirrored(leaf)) / 2)


def _mirror_of(leaf: Tensor, flat: int) -> tuple[int, ...]:
    size = leaf[0].numel()
    index = torch.unravel_index(torch.tensor(size - 1 - flat % size), leaf.shape[1:])
    return tuple(int(i) for i in index)
