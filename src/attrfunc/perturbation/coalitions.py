"""Coalitions: which groups of features are present, as booleans `(K, n)`.

Tables of a whole game list its 2^n coalitions in the order of binary numbers, whose first digit is the first player.
"""

from __future__ import annotations

import math
import operator

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError

__all__ = ["MOST_COALITIONS", "all_coalitions", "of_size", "require_few"]

MOST_COALITIONS = 2**20
"""So many coalitions are enumerated at most: those of 20 players."""


def all_coalitions(players: int) -> Tensor:
    """All coalitions `(2^n, n)`, the empty one first and the full one last."""
    digits = torch.arange(players - 1, -1, -1)
    return (torch.arange(2**players)[:, None] >> digits) % 2 == 1


def require_few(players: int, instead: str) -> None:
    """Refuse to enumerate the coalitions of too many players.

    Args:
        players: Number of players, n.
        instead: The methods that take more of them.

    Raises:
        ArgumentError: If there are more than `MOST_COALITIONS` coalitions.
    """
    most = MOST_COALITIONS.bit_length() - 1
    if players > most:
        raise ArgumentError(
            "feature_mask",
            f"{players} groups of features, which have 2^{players} coalitions",
            f"at most {most} groups, since all their coalitions are evaluated",
            f"Make fewer groups, or use {instead}.",
        )


def of_size(players: int, size: int, ranks: Tensor) -> Tensor:
    """Some of the coalitions of one size, by their ranks in lexicographic order (the combinatorial number system).

    Args:
        players: Number of players, n.
        size: How many of them are present.
        ranks: Integers `(K,)` from 0 to `comb(n, size) - 1`.

    Returns:
        Coalitions `(K, n)`.
    """
    present, missing = [], torch.full_like(ranks, operator.index(size))
    for others in range(players - 1, -1, -1):
        # How many coalitions with the same beginning have this player.
        counts = torch.tensor([0, *(math.comb(others, k) for k in range(size))])[missing]
        chosen = ranks < counts
        ranks = torch.where(chosen, ranks, ranks - counts)
        missing = missing - chosen.long()
        present.append(chosen)
    return torch.stack(present, 1)
