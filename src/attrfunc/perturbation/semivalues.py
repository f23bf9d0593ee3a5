"""Values of players that are weighted means of what each adds to the coalitions of the others.

Everything is summed in double precision, from differences first, so that a player who never adds anything gets exactly
zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from attrfunc.perturbation.coalitions import all_coalitions

__all__ = ["banzhaf_weight", "semivalues", "shapley_weight"]


def shapley_weight(others: int, size: int) -> float:
    """The weight of a coalition of `size` of the other players; those of all coalitions sum to one."""
    return 1 / ((others + 1) * math.comb(others, size))


def banzhaf_weight(others: int, size: int) -> float:
    """All coalitions of the other players weigh the same."""
    return 0.5**others


def semivalues(values: Tensor, weight: Callable[[int, int], float]) -> Tensor:
    """Each player's mean marginal contribution.

    Args:
        values: The whole game `(2^n, B)` in double precision.
        weight: The weight of a coalition of so many of the other players.

    Returns:
        Values `(B, n)`.
    """
    players = len(values).bit_length() - 1
    if players == 0:
        return values.new_zeros(values.shape[1], 0)
    others = players - 1
    by_size: Sequence[float] = [weight(others, size) for size in range(players)]
    weights = torch.tensor(by_size, dtype=torch.float64)[all_coalitions(others).sum(1)].to(values.device)
    added = []
    for player in range(players):
        without, along = values.unflatten(0, (2**player, 2, -1)).unbind(1)
        added.append(weights @ (along - without).flatten(0, 1))
    return torch.stack(added, -1)
