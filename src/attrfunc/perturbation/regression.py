"""Additive games fitted to evaluated coalitions, in closed form, as linear maps from values to attributions.

Values are given in double precision. The maps depend on the coalitions only: they are computed once for all examples,
and gradients pass through them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError
from attrfunc.core.model.engines import known
from attrfunc.perturbation.linear_systems import Samples, bare, conjugate_gradients, solved, too_large
from attrfunc.perturbation.room import require_room

__all__ = ["additive_fit", "efficient_fit"]

# Pivots of the normal matrix below this share of the largest are rounding errors.
SINGULAR = 1e-12
# Multiplications in single precision that a matrix may take, where to iterate takes hundreds of steps: some seconds.
MOST_MULTIPLICATIONS = 2**38


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
    share = coalitions.sum(1, keepdim=True).double() / players
    rest = values - share.to(values.device) * whole
    if too_large(*coalitions.shape):
        return (whole / players + _of_many(coalitions, weights, share, rest)).T
    filling = torch.ones(players, players, dtype=torch.float64) / players
    return (whole / players + _solution(coalitions.double() - share, weights, filling, rest)).T


def _of_many(coalitions: Tensor, weights: Tensor, share: Tensor, values: Tensor) -> Tensor:
    """The same where there are many players, and no table of them is to be in double precision.

    Complements make the same equation twice, and are one here. Coalitions of one player, and of all but one, make a
    multiple of the identity of the normal matrix where all are there.
    """
    # They were drawn, whatever transform we are in.
    coalitions, weights, share = (part if (own := bare(part)) is None else own for part in (coalitions, weights, share))
    half, players, device = len(coalitions) // 2, coalitions.shape[1], values.device
    if torch.equal(coalitions[half:], ~coalitions[:half]):
        both = weights[:half] + weights[half:]
        one, other = ((part / both)[:, None].to(device) for part in (weights[:half], weights[half:]))
        values = one * values[:half] - other * values[half:]
        coalitions, weights, share = coalitions[:half], both, share[:half]
    sizes = coalitions.sum(1)
    complete = [size for size in {1, players - 1} if int((sizes == size).sum()) == players]
    outer = torch.isin(sizes, torch.tensor(complete, device=sizes.device))
    columns = torch.zeros(players, 1, dtype=torch.float64, device=device)
    samples = Samples(coalitions.to(device), share.to(device), columns)
    inner = Samples(coalitions[~outer].to(device), share[~outer].to(device), columns)
    floor, weighed = float(weights[outer].sum() / players), weights[~outer, None].to(device)
    count = len(inner.members)
    if 2 * count * players * min(count, players) <= MOST_MULTIPLICATIONS:
        inverse = _by_samples(inner, weighed, floor) if count < players else _by_players(inner, weighed, floor)
    else:
        inverse = conjugate_gradients(inner, weighed, floor)
    return solved(samples, weights[:, None].to(device), values, inverse)


def _by_players(samples: Samples, weights: Tensor, floor: float) -> Callable[[Tensor], Tensor]:
    """Solves `(Z' w Z + floor) c = r` for r that sum to zero, with a matrix of the players."""
    matrix = torch.zeros((), dtype=torch.float64, device=weights.device)
    for weight in weights.unique():
        # Counts of coalitions: single precision holds them exactly.
        members = samples.members[weights[:, 0] == weight].float()
        matrix = matrix + weight * (members.T @ members).double()
    matrix = matrix - matrix.mean(0)
    matrix = matrix - matrix.mean(1, keepdim=True) + 1 / len(matrix)
    matrix.diagonal().add_(floor)
    factor = torch.linalg.cholesky(matrix)
    return lambda right: torch.cholesky_solve(right, factor)


def _by_samples(samples: Samples, weights: Tensor, floor: float) -> Callable[[Tensor], Tensor]:
    """The same with a matrix of the samples (Woodbury's identity)."""
    if not len(samples.members):
        return lambda right: right / floor
    members = samples.members.float()
    matrix = (members @ members.T).double()
    matrix -= members.shape[1] * samples.rows * samples.rows.T
    matrix.diagonal().add_(floor / weights[:, 0])
    factor = torch.linalg.cholesky(matrix)
    return lambda right: (right - samples.back(torch.cholesky_solve(samples.along(right), factor))) / floor


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
    groups = coalitions.shape[1]
    require_room("n_samples", f"a system of {groups} groups", groups**2, "Make fewer groups with feature_mask.")
    members = coalitions.double()
    weights = torch.ones(len(members), dtype=torch.float64) / len(members)
    return _solution(members - members.mean(0), weights, torch.zeros((), dtype=torch.float64), values).T


def _solution(design: Tensor, weights: Tensor, filling: Tensor, values: Tensor) -> Tensor:
    """The coefficients `(n, B)` of values `(K, B)`."""
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
    return torch.cholesky_solve(weighted.to(values.device) @ values, factor.to(values.device))
