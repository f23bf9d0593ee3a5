"""How many features attributions are spread over: the Gini index and the entropy."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError
from attrfunc.core.model.engines import settled
from attrfunc.core.score.method import named
from attrfunc.core.trees import batch_size, floats
from attrfunc.perturbation.precision import wide

__all__ = ["complexity", "sizes", "sparseness"]


def sparseness(attributions: Any) -> Tensor:
    """The Gini index of the absolute attributions: 0 if all are equal, near 1 if few are much larger than the others.

    `sum of (2 k - n - 1) |a|_(k) / (n sum |a|)`, with the k-th smallest `|a|` in place k.

    Args:
        attributions: A tensor `(B, *S)` or a structure of them.

    Returns:
        Numbers `(B,)` from 0 to `1 - 1/n`, the latter for a single feature that is not 0. They do not depend on the
        attributions' scale, nor on copies of all features. NaN where all are 0.

    Raises:
        ArgumentError: If the attributions are not finite floating-point numbers with the examples first.

    Example:
        >>> af.metrics.sparseness(torch.tensor([[0.0, 0.0, 0.0, 3.0], [1.0, -1.0, 1.0, 1.0]]))
        tensor([0.7500, 0.0000])

    Reference:
        Chalasani, Chen, Roy Chowdhury, Jha, Wu: Concise Explanations of Neural Networks using Adversarial Training,
        ICML 2020, https://arxiv.org/abs/1810.06583.
    """
    return named("sparseness", _gini)(attributions)


def complexity(attributions: Any) -> Tensor:
    """The entropy of the shares of the absolute attributions.

    `- sum p log p` with `p = |a| / sum |a|`.

    Args:
        attributions: A tensor `(B, *S)` or a structure of them.

    Returns:
        Entropies `(B,)` in nats, from 0 (a single feature) to `log n` (all equal). NaN where all are 0.

    Raises:
        ArgumentError: If the attributions are not finite floating-point numbers with the examples first.

    Example:
        >>> af.metrics.complexity(torch.tensor([[0.0, 0.0, 0.0, 3.0], [1.0, -1.0, 1.0, 1.0]]))
        tensor([0.0000, 1.3863])

    Reference:
        Bhatt, Weller, Moura: Evaluating and Aggregating Feature-based Model Explanations, IJCAI 2020,
        https://arxiv.org/abs/2005.00631.
    """
    return named("complexity", _entropy)(attributions)


def sizes(attributions: Any) -> Tensor:
    """The absolute attributions of each example, `(B, n)`, in single precision at least."""
    try:
        rows = batch_size(attributions)
    except ArgumentError as error:
        fix = error.fix.replace("(x)", "(attributions)")
        raise ArgumentError("attributions", error.got, error.expected, fix) from None
    parts, _ = floats(attributions)
    parts = [wide(part).reshape(rows, part.shape[1:].numel()) for part in parts]
    if not parts or not sum(part.shape[1] for part in parts):
        fix = "Pass what a method returned."
        raise ArgumentError("attributions", "no floating-point numbers", "a tensor (B, *S) or a structure of them", fix)
    flat = torch.cat([part.to(parts[0].device) for part in parts], dim=1)
    if not settled(flat.isfinite()):
        fix = "Find out where the method divides by zero, or overflows."
        raise ArgumentError("attributions", "numbers that are NaN or infinite", "finite numbers", fix)
    return flat.abs()


def _shares(attributions: Any) -> Tensor:
    found = sizes(attributions)
    found = found / found.amax(1, keepdim=True)  # whose sum does not overflow; NaN where all are 0
    return found / found.sum(1, keepdim=True)


def _gini(attributions: Any) -> Tensor:
    shares = _shares(attributions).sort(dim=1).values
    count = shares.shape[1]
    weights = 2 * torch.arange(1, count + 1, device=shares.device, dtype=shares.dtype) - count - 1
    return ((shares @ weights) / count).clamp(min=0)


def _entropy(attributions: Any) -> Tensor:
    shares = _shares(attributions)
    logarithms = torch.where(shares > 0, shares, 1.0).log()
    return (shares * -logarithms).sum(1)
