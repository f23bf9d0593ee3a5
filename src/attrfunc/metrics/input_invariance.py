"""Input invariance (Kindermans et al. 2019)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.score.baseline import resolve_baseline
from attrfunc.core.score.method import named
from attrfunc.core.score.views import Model, View
from attrfunc.core.trees import batch_size
from attrfunc.metrics.similarity import flat

__all__ = ["input_invariance"]


def input_invariance(method: Callable[..., Any], *, shift: Any) -> Callable[..., Tensor]:
    """How much a method's attributions change if the input is shifted, and the model takes the shift off again.

    The two models compute the same for what is the same input, so their explanations should be the same: `||a(f(. - c),
    x + c) - a(f, x)|| / ||a(f, x)||`.

    Args:
        method: Any function `(model, x, **options)` that gives attributions.
        shift: The constant c: a number, a tensor that broadcasts to `x`, or nested as `x` is.

    Returns:
        A metric `(model, x, **options)`, called as the method is, at the input (a view of a layer is not moved by a
        shift of the input): relative differences `(B,)`. 0 for gradients, and for methods whose baseline is shifted
        too, `baseline=lambda x: x.mean(0)` say; 1 and more for `input_x_gradient` with a large shift.

    Raises:
        ArgumentError: If an argument cannot be right.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh())
        >>> af.metrics.input_invariance(af.saliency, shift=2.0)(model, torch.ones(4, 3), target=1).max() < 1e-5
        tensor(True)

    Reference:
        Kindermans, Hooker, Adebayo, Alber, Schuett, Daehne, Erhan, Kim: The (Un)reliability of saliency methods, 2019,
        https://arxiv.org/abs/1711.00867.
    """
    if not callable(method):
        error = ArgumentError("method", describe(method), "a callable (model, x, **options)", "Pass af.ig, say.")
        raise error.within("input_invariance")

    def measure(model: Model, x: Any, /, **options: Any) -> Tensor:
        rows = batch_size(x)
        if isinstance(model, View) and (model.sites or model.output is not None):
            got = "a view of a layer or of a neuron"
            raise ArgumentError("model", got, "a view of the input", "Pass the model itself.")
        try:
            constant = resolve_baseline(shift, x)
        except ArgumentError as error:
            raise ArgumentError("shift", error.got, error.expected, error.fix) from error
        moved = pytree.tree_map(torch.add, x, constant)
        steps = pytree.tree_leaves(constant)

        def unmoved(*inputs: Any, **kwargs: Any) -> Any:
            count = len(x) if isinstance(x, tuple) else 1
            leaves, spec = pytree.tree_flatten(inputs[:count])
            repeats = [leaf.shape[0] // max(rows, 1) for leaf in leaves]
            parts = [
                leaf - (step[:1] if _same(step) else step.repeat(times, *[1] * (step.dim() - 1)))
                for leaf, step, times in zip(leaves, steps, repeats, strict=True)
            ]
            return model(*pytree.tree_unflatten(parts, spec), *inputs[count:], **kwargs)

        before = flat(method(model, x, **options), rows)
        after = flat(method(unmoved, moved, **options), rows)
        size = before.norm(dim=1)
        return (after - before).norm(dim=1) / torch.where(size > 0, size, 1.0)

    return named(f"input_invariance({getattr(method, '__name__', type(method).__name__)})", measure)


def _same(step: Tensor) -> bool:
    """Whether a shift is the same for all examples."""
    return step.stride(0) == 0 or bool((step == step[:1]).all())
