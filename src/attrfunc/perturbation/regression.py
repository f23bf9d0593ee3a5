"""Additive games fitted to evaluated coalitions, in closed form, as linear maps from values to attributions.

Values are given in double precision. The maps depend on the coalitions only: they are computed once for all examples,
and gradients pass through them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError
from attrfunc.core.transforms import known

__all__ = ["additive_fit", "efficient_fit"]

# Pivots of the normal matrix below this share of the largest are rounding errors.
SINGULAR = 1e-12


def efficient_fit(coalitions: Tensor, weights: Tensor, values: Tensor, whole: Tensor) -> Tensor:
    """The weighted least squares fit among additive games that share the score's change exactly.

    Minimises `sum_S w_S (v(S) - sum of phi_i over S)^2` subject to `sum of phi_i = v(all)`, for `v(none) = 0`. With
    `phi = v(all) / n + gamma` the constraint is that gamma sums to zero, and so do the centred rows of the design:
    the normal matrix is singular in that one direction only, which is filled up.

    Args:
        coalitions: Evaluated coalitions `(K, n)`, without the empty and the full one.
        weights: Their weights `(K,)`.
        values: Their values `(K, B)`, less that of the empty one.
        whole: The value of the full coalition `(B,)`, less that of the empty one.

    Returns:
        Attributions `(B, n)`.

    Raises:
        ArgumentError: If the coalitions do not determine them.
    """
    players = coalitions.shape[1]
    share = coalitions.double().mean(1, keepdim=True)
    fit = _projection(coalitions.double() - share, weights, torch.ones(players, players, dtype=torch.float64) / players)
    rest = values - share.to(values.device) * whole
    return (whole / players + fit.to(values.device) @ rest).T


def additive_fit(coalitions: Tensor, values: Tensor) -> Tensor:
    """The least squares fit among additive games with a constant.

    Args:
        coalitions: Evaluated coalitions `(K, n)`.
        values: Their values `(K, B)`, less any constant of each example.

    Returns:
        What each player adds, `(B, n)`.

    Raises:
        ArgumentError: If the coalitions do not determine it.
    """
    members = coalitions.double()
    weights = torch.ones(len(members), dtype=torch.float64) / len(members)
    fit = _projection(members - members.mean(0), weights, torch.zeros((), dtype=torch.float64))
    return (fit.to(values.device) @ values).T


def _projection(design: Tensor, weights: Tensor, filling: Tensor) -> Tensor:
    """The map `(n, K)` from values to coefficients."""
    weighted = (design * weights[:, None]).T
    factor, failed = torch.linalg.cholesky_ex(weighted @ design + filling)
    pivots = factor.diagonal().square()
    if known((failed != 0) | (pivots.min() < SINGULAR * pivots.max())):
        players = design.shape[1]
        raise ArgumentError(
            "n_samples",
            f"{len(design)} drawn coalitions of {players} groups that do not determine an attribution of each",
            "coalitions that tell all groups apart",
            f"Raise n_samples (10 times the {players} groups, say), or make fewer groups.",
        )
    return torch.cholesky_solve(weighted, factor)
