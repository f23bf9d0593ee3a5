"""Interaction indices, all as weighted sums of Harsanyi dividends over the supersets of a set of players.

The dividend m(T) is what the players of T give together beyond what their subsets give: `v(S) = sum of m(T) over T in
S`. An index is told by its coefficients: `I(S) = sum over T containing S of c(|S|, |T|) m(T)`.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import comb

import torch
from torch import Tensor

from attrfunc.perturbation.coalitions import all_coalitions

__all__ = ["INDICES", "interactions"]

Coefficient = Callable[[int, int, int], Fraction]
"""`(|S|, |T|, order)`."""


def sii(size: int, larger: int, order: int) -> Fraction:
    """Shapley interaction index (Grabisch and Roubens 1999)."""
    return Fraction(1, larger - size + 1)


def k_sii(size: int, larger: int, order: int) -> Fraction:
    """Shapley interactions made efficient: those of the next orders, with Bernoulli numbers (Bord and Luxburg 2023)."""
    rest = larger - size
    terms = range(min(order - size, rest) + 1)
    return sum((_bernoulli(r) * comb(rest, r) / (rest - r + 1) for r in terms), Fraction(0))


def stii(size: int, larger: int, order: int) -> Fraction:
    """Shapley-Taylor interaction index (Sundararajan et al. 2020)."""
    return Fraction(larger == size) if size < order else Fraction(1, comb(larger, order))


def fsii(size: int, larger: int, order: int) -> Fraction:
    """Faithful Shapley interaction index (Tsai et al. 2023)."""
    if larger <= order:
        return Fraction(larger == size)
    sign = (-1) ** (order - size)
    share = Fraction(size, order + size) * comb(order, size)
    return sign * share * Fraction(comb(larger - 1, order), comb(larger + order - 1, order + size))


def bii(size: int, larger: int, order: int) -> Fraction:
    """Banzhaf interaction index (Grabisch and Roubens 1999)."""
    return Fraction(1, 2 ** (larger - size))


INDICES: dict[str, Coefficient] = {"k-SII": k_sii, "SII": sii, "STII": stii, "FSII": fsii, "BII": bii}


def interactions(values: Tensor, index: str, order: int) -> tuple[Tensor, ...]:
    """Interactions of all sets of up to `order` players.

    Args:
        values: The whole game `(2^n, B)` in double precision.
        index: A key of `INDICES`.
        order: The largest size of a set.

    Returns:
        For each size a symmetric tensor `(B, n, ..., n)`, zero where players repeat.
    """
    players = len(values).bit_length() - 1
    # What no player changes would be nothing but rounding errors below.
    dividends = _along_players(values - values[:1], lambda without, along: (without, along - without))
    sizes = all_coalitions(players).sum(1)
    found = []
    for size in range(1, order + 1):
        by_size = [0.0] * size + [float(INDICES[index](size, larger, order)) for larger in range(size, players + 1)]
        weights = torch.tensor(by_size, dtype=torch.float64)[sizes].to(values.device)
        sums = _along_players(weights[:, None] * dividends, lambda without, along: (without + along, along))
        found.append(_of_players(sums, players, size))
    return tuple(found)


def _along_players(values: Tensor, step: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Tensor:
    """Replace the values without and with a player by `step` of the two, for one player after the other."""
    for player in range(len(values).bit_length() - 1):
        halves = values.unflatten(0, (2**player, 2, -1))
        values = torch.stack(step(*halves.unbind(1)), 1).flatten(0, 2)
    return values


def _of_players(values: Tensor, players: int, size: int) -> Tensor:
    """A table over sets of players as a tensor over tuples of `size` of them."""
    bits = 2 ** torch.arange(players - 1, -1, -1)
    numbers = torch.zeros((), dtype=torch.long)
    for axis in range(size):
        numbers = numbers | bits.view(-1, *[1] * (size - 1 - axis))
    distinct = all_coalitions(players).sum(1)[numbers] == size
    picked = values[numbers.to(values.device)].movedim(-1, 0)
    return torch.where(distinct.to(values.device), picked, 0)


def _bernoulli(number: int) -> Fraction:
    """Bernoulli numbers, of which the first is -1/2."""
    found = [Fraction(1)]
    for m in range(1, number + 1):
        found.append(-sum((comb(m + 1, k) * found[k] for k in range(m)), Fraction(0)) / (m + 1))
    return found[number]
