"""Random sets of features, and how two quantities go together over them."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe, positive

__all__ = ["correlation", "ranks", "subsets"]


def subsets(
    groups: int, size: int, count: int, generator: torch.Generator | None, *, name: str = "subset_size"
) -> Tensor:
    """Sets of so many of n groups, booleans `(K, n)`: all of them if there are no more than `count`, or random ones."""
    size = positive(name, size)
    if size >= groups:
        fix = f"Pass {name}={groups // 2}, say: all features together are one set, over which nothing varies."
        if groups < 2:
            fix = "Nothing varies over the sets of a single feature: take a feature_mask with more groups."
        raise ArgumentError(name, repr(size), f"fewer than the number of features, {groups}", fix)
    if generator is not None and not isinstance(generator, torch.Generator):
        fix = "Pass torch.Generator().manual_seed(0)."
        raise ArgumentError("generator", describe(generator), "a torch.Generator or None", fix)
    if math.comb(groups, size) <= count:
        chosen = torch.tensor(list(itertools.combinations(range(groups), size)))
    else:
        device = None if generator is None else generator.device
        drawn = torch.rand(count, groups, generator=generator, device=device)
        chosen = drawn.topk(size, dim=1).indices.cpu()
    return torch.zeros(len(chosen), groups, dtype=torch.bool).scatter_(1, chosen, True)


def correlation(one: Tensor, other: Tensor) -> Tensor:
    """Pearson's correlation over dimension 0, in double precision; NaN where either is constant."""
    one, other = one.double(), other.double()
    left, right = one - one.mean(0), other - other.mean(0)
    sizes = left.norm(dim=0), right.norm(dim=0)
    # Rounding leaves something of what is constant.
    constant = [
        size <= 1e-7 * len(one) ** 0.5 * part.abs().amax(0) for size, part in zip(sizes, (one, other), strict=True)
    ]
    found = (left * right).sum(0) / torch.where(sizes[0] * sizes[1] > 0, sizes[0] * sizes[1], 1.0)
    return torch.where(constant[0] | constant[1], math.nan, found.clamp(-1, 1))


def ranks(values: Tensor) -> Tensor:
    """Ranks over dimension 0; equal numbers share the mean of theirs, as in Spearman's correlation."""
    ordered, order = values.sort(dim=0)
    count = torch.arange(len(values), device=values.device).view(-1, *[1] * (values.dim() - 1)).expand(values.shape)
    new = torch.ones_like(values, dtype=torch.bool)
    new[1:] = ordered[1:] != ordered[:-1]
    first = torch.where(new, count, 0).cummax(0).values
    last_new = torch.ones_like(new)
    last_new[:-1] = new[1:]
    last = torch.where(last_new, count, len(values)).flip(0).cummin(0).values.flip(0)
    shared = (first + last).double() / 2
    return torch.empty_like(shared).scatter(0, order, shared)
