"""Sufficiency (Dasgupta et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.loops.plan import planned
from attrfunc.core.score.method import method, open_problem
from attrfunc.core.score.views import Model
from attrfunc.metrics.explanation import fitting, require_apart

__all__ = ["sufficiency"]


@method
def sufficiency(
    model: Model,
    x: Any,
    attributions: Any,
    *,
    threshold: float,
    labels: Tensor | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Tensor:
    """How often examples with a similar explanation have the same prediction.

    Args:
        model: A module, any callable, or a view of one, with outputs `(B, C)`.
        x: The input, a tensor `(B, *S)` or a structure of them: a batch that stands for the data.
        attributions: What is measured; see `attrfunc.metrics.explanation`.
        threshold: The largest Euclidean distance of two explanations that count as the same. Attributions are divided
            by their root mean square over the batch before, so it does not depend on their unit.
        labels: Predictions `(B,)`; `None` takes the class with the largest output.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.

    Returns:
        Shares `(B,)` from 0 to 1, of the *other* examples of the batch with a similar explanation; NaN where there is
        none. 1 if the explanation tells the prediction.

    Raises:
        ArgumentError: If an argument cannot be right.

    Example:
        >>> model = lambda x: torch.stack([x[:, 0], -x[:, 0]], 1)
        >>> x = torch.tensor([[1.0, 0.0], [1.1, 0.0], [-1.0, 0.0], [-1.1, 0.0]])
        >>> af.metrics.sufficiency(model, x, x, threshold=0.5)
        tensor([1., 1., 1., 1.])

    Reference:
        Dasgupta, Frost, Moshkovitz: Framework for Evaluating Faithfulness of Local Explanations, ICML 2022,
        https://arxiv.org/abs/2202.00734.
    """
    if not isinstance(threshold, Real) or not 0 <= float(threshold) < math.inf:
        raise ArgumentError("threshold", describe(threshold), "a finite distance of at least 0", "Pass 0.5, say.")
    problem = planned(open_problem(model, x, _largest, args, kwargs, differentiate=False))
    point, rows = problem.point(), problem.inputs.rows
    require_apart(problem, point)
    parts = [part.reshape(rows, part.shape[1:].numel()) for part in fitting(attributions, point, rows)]
    flat = torch.cat(parts, dim=1)
    if labels is None:
        labels = problem.scored()
    elif not isinstance(labels, Tensor) or labels.shape != (rows,):
        fix = "Pass model(x).argmax(1)."
        raise ArgumentError("labels", describe(labels), f"a tensor of shape ({rows},)", fix)
    scale = flat.square().mean().sqrt()
    distances = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist") / torch.where(scale > 0, scale, 1)
    similar = (distances <= float(threshold)) & ~torch.eye(rows, dtype=torch.bool, device=flat.device)
    same = labels[:, None] == labels[None]
    count = similar.sum(1)
    return (similar & same).sum(1) / torch.where(count > 0, count.to(flat.dtype), math.nan)


def _largest(output: Any) -> Tensor:
    if not isinstance(output, Tensor) or output.dim() != 2:
        fix = "Pass labels=, the predictions."
        raise ArgumentError("labels", f"None for outputs that are {describe(output)}", "outputs (B, C)", fix)
    return output.argmax(1)
