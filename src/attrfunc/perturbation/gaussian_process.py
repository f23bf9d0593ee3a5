"""A Gaussian process on coalitions: the Shapley values of what it makes of a game.

With `s_i = 1` for players that are present and -1 for others, and relevances a that sum to one, coalitions are alike by
`m(S, T) = sum_i a_i s_i t_i`. The covariance of the process is `sinh(4 m) / sinh(4) + 10 m`.

* Shapley values depend only on the odd part of a game, `(v(S) - v(complement of S)) / 2`. So the covariance is odd too,
  and a coalition and its complement are one observation.
* The sinh is made of interactions of all odd orders, the rarer the higher: its series has powers of m. What the first
  order does beyond that is the second term.
* The relevance of a player is what it adds to nobody and to all others. Interactions of irrelevant players are rare.

The numbers 4 and 10 were chosen once, on the games of `benchmarks.shapley`; errors are flat around both.
"""

from __future__ import annotations

from math import sinh

import torch
from torch import Tensor

from attrfunc.core.quadrature import quadrature

__all__ = ["posterior_shapley", "relevances"]

RATE, LINEAR = 4.0, 10.0
# The variance of what no kernel explains; without it, coalitions that differ in irrelevant players only are one.
NUGGET = 1e-4
# A player of no relevance by itself has this share of the mean one, for what it may do with others.
LEAST = 0.1
# Entries of covariance matrices that are held at once.
HELD = 2**22


def relevances(alone: Tensor, last: Tensor) -> Tensor:
    """The relevance of each player.

    Args:
        alone: What each adds to the empty coalition `(B, n)`.
        last: What each adds to all others `(B, n)`.

    Returns:
        Positive numbers `(B, n)` that sum to one for each example.
    """
    size = alone.abs() + last.abs()
    size = size + LEAST * size.mean(-1, keepdim=True)
    total = size.sum(-1, keepdim=True)
    nothing = total == 0
    return torch.where(nothing, 1 / size.shape[-1], size / torch.where(nothing, 1, total))


def posterior_shapley(coalitions: Tensor, odd: Tensor, relevance: Tensor) -> Tensor:
    """Shapley values of the posterior mean.

    Args:
        coalitions: Evaluated coalitions `(P, n)`, one of each pair of complements.
        odd: Half the difference between the values of each and of its complement, `(P, B)`.
        relevance: Relevances `(B, n)`.

    Returns:
        Values `(B, n)`.
    """
    signs = coalitions.to(odd.device).double() * 2 - 1
    most = max(1, HELD // len(signs) ** 2)
    parts = zip(odd.T.split(most), relevance.split(most), strict=True)
    return torch.cat([_posterior(signs, values, relevant) for values, relevant in parts])


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
