"""A Gaussian process on coalitions: the Shapley values of what it makes of a game.

With `s_i = 1` for players that are present and -1 for others, and relevances a that sum to one, coalitions are alike by
`m(S, T) = sum_i a_i s_i t_i`. The covariance of the process is `sinh(4 m) / sinh(4) + 10 m`.

* Shapley values depend only on the odd part of a game, `(v(S) - v(complement of S)) / 2`. So the covariance is odd too,
  and a coalition and its complement are one observation.
* Its mean is additive: what a player adds to nobody and what it adds to all others, averaged. In games of interactions
  of pairs these are the Shapley values.
* The sinh is made of interactions of all odd orders, the rarer the higher: its series has powers of m. What the first
  order does beyond that is the second term.
* The relevance of a player is the size of what it adds to nobody and to all others. Interactions of irrelevant players
  are rare. What these leave of the score's change belongs to nobody in particular, and makes players alike: in a vote
  nobody adds anything to nobody, or to all others, but for rounding errors.

Errors are flat around the numbers 4 and 10, which were chosen on networks as in `benchmarks/shapley.py`, and around
the 5 of what is left, which was chosen on games of thresholds, vetoes, minima, maxima and parities.
"""

from __future__ import annotations

from math import sinh

import torch
from torch import Tensor

from attrfunc.core.loops.quadrature import quadrature

__all__ = ["posterior_shapley", "relevances"]

RATE, LINEAR = 4.0, 10.0
# The variance of what no kernel explains; without it, coalitions that differ in irrelevant players only are one.
NUGGET = 1e-4
# A player of no relevance by itself has this share of the mean one, for what it may do with others.
LEAST = 0.1
# And this multiple of its share of what the additive game of the mean leaves of the score's change.
LEFT = 5.0
# Entries of covariance matrices that are held at once.
HELD = 2**22


def relevances(alone: Tensor, last: Tensor, whole: Tensor) -> Tensor:
    """The relevance of each player.

    Args:
        alone: What each adds to the empty coalition `(B, n)`.
        last: What each adds to all others `(B, n)`.
        whole: What all add together `(B,)`.

    Returns:
        Positive numbers `(B, n)` that sum to one for each example.
    """
    size = alone.abs() + last.abs()
    left = (whole - (alone + last).sum(-1) / 2).abs() / size.shape[-1]
    size = size + LEAST * size.mean(-1, keepdim=True) + LEFT * left[..., None]
    total = size.sum(-1, keepdim=True)
    nothing = total == 0
    return torch.where(nothing, 1 / size.shape[-1], size / torch.where(nothing, 1, total))


def posterior_shapley(coalitions: Tensor, values: Tensor, others: Tensor, whole: Tensor) -> Tensor:
    """Shapley values of the posterior mean; what they lack to efficiency, because of the nugget, is shared evenly.

    Args:
        coalitions: Evaluated coalitions `(P, n)`, one of each pair of complements; the first n are of one player each.
        values: Their values `(P, B)`, less that of the empty one.
        others: Those of their complements.
        whole: Those of the full coalition `(B,)`.

    Returns:
        Values `(B, n)`.
    """
    players = coalitions.shape[1]
    single = coalitions[:players].T.to(values)
    alone, last = (single @ values[:players]).T, (single @ (whole - others[:players])).T
    mean, relevance = (alone + last) / 2, relevances(alone, last, whole)
    signs = torch.cat([torch.ones(1, players, dtype=torch.bool), coalitions]).to(values) * 2 - 1
    odd = (torch.cat([whole[None], values - others]).T - mean @ signs.T) / 2
    most = max(1, HELD // len(signs) ** 2)
    parts = zip(odd.split(most), relevance.split(most), strict=True)
    found = mean + torch.cat([_posterior(signs, residual, relevant) for residual, relevant in parts])
    return found + (whole[:, None] - found.sum(1, keepdim=True)) / players


def _posterior(signs: Tensor, odd: Tensor, relevance: Tensor) -> Tensor:
    weighted = relevance[:, None] * signs
    alike = weighted @ signs.T
    covariance = (RATE * alike).sinh() / sinh(RATE) + LINEAR * alike
    factor, _ = torch.linalg.cholesky_ex(covariance + NUGGET * torch.eye(len(signs)).to(covariance))
    dual = torch.cholesky_solve(odd[..., None], factor)
    of_kernel = _sinh_shapley(signs, RATE * relevance) / sinh(RATE) + 2 * LINEAR * weighted
    return (of_kernel * dual).sum(-2)


def _sinh_shapley(signs: Tensor, rates: Tensor) -> Tensor:
    """Shapley values `(B, P, n)` of the games `S -> sinh(sum_i rates_i s_i t_i)`.

    They are those of exp, a product over players. Its multilinear extension at the point where all are present with
    probability `(1 + z) / 2` is one too, of `cosh(rate_j) + z t_j sinh(rate_j)`. The Shapley value is the integral of
    its derivatives over z, a polynomial of degree n - 1, for which Gauss-Legendre nodes are exact.
    """
    nodes, weights = quadrature("gausslegendre", (signs.shape[1] + 1) // 2)
    z, weight = (torch.tensor(part, dtype=rates.dtype, device=rates.device) for part in (nodes, weights))
    z = 2 * z - 1
    even, slope = rates.cosh()[:, None], z[:, None] * rates.sinh()[:, None]
    present, absent = even + slope, even - slope
    both, apart = (present * absent).log().sum(-1) / 2, (present / absent).log() / 2
    product = (both[:, None] + signs @ apart.transpose(1, 2)).exp() * weight
    rest = torch.where(signs > 0, product @ present.reciprocal(), product @ absent.reciprocal())
    return 2 * signs * rates.sinh()[:, None] * rest
