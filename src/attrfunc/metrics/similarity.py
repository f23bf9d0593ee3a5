"""How alike two explanations are.

This is where `similarity` is documented: `"spearman"` (correlation of ranks), `"pearson"`, `"cosine"`, or a callable
that maps two tensors of flat attributions `(B, n)` to numbers `(B,)`. NaN where a correlation is not defined, since one
of the two is constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.metrics.subsets import correlation, ranks
from attrfunc.perturbation.precision import wide

__all__ = ["Similarity", "compared", "flat", "similarity_of"]

Similarity = str | Callable[[Tensor, Tensor], Tensor]


def similarity_of(given: Similarity) -> Callable[[Tensor, Tensor], Tensor]:
    """The function of a similarity."""
    if isinstance(given, str) and given in _BY_NAME:
        return _BY_NAME[given]
    if isinstance(given, str) or not callable(given):
        fix = "Pass similarity='spearman', say."
        raise ArgumentError("similarity", describe(given), f"one of {', '.join(_BY_NAME)}, or a callable", fix)
    return given


def flat(attributions: Any, rows: int) -> Tensor:
    """Attributions of each example, `(B, n)`."""
    leaves = pytree.tree_leaves(attributions)
    if not leaves or any(not isinstance(leaf, Tensor) or leaf.dim() == 0 or len(leaf) != rows for leaf in leaves):
        got = f"attributions that are {describe(attributions)}"
        fix = "Take the mean over other dimensions in a method of your own."
        raise ArgumentError("method", got, f"tensors with the {rows} examples in dimension 0", fix)
    return torch.cat([wide(leaf).reshape(rows, leaf.shape[1:].numel()) for leaf in leaves], dim=1)


def compared(similarity: Callable[[Tensor, Tensor], Tensor], one: Tensor, other: Tensor) -> Tensor:
    """The similarities `(B,)` of flat attributions."""
    found = similarity(one, other)
    if not isinstance(found, Tensor) or found.shape != one.shape[:1]:
        fix = "Let it reduce dimension 1."
        raise ArgumentError("similarity", f"a callable that returns {describe(found)}", f"{len(one)} numbers", fix)
    return found


def _pearson(one: Tensor, other: Tensor) -> Tensor:
    return correlation(one.T, other.T).to(one.dtype)


def _spearman(one: Tensor, other: Tensor) -> Tensor:
    return correlation(ranks(one.T), ranks(other.T)).to(one.dtype)


def _cosine(one: Tensor, other: Tensor) -> Tensor:
    sizes = one.norm(dim=1) * other.norm(dim=1)
    return (one * other).sum(1) / torch.where(sizes > 0, sizes, math.nan)


_BY_NAME: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "spearman": _spearman,
    "pearson": _pearson,
    "cosine": _cosine,
}
