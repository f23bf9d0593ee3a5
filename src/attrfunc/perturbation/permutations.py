"""Permutations of players.

This is where `design` is documented.

design: How permutations are drawn.
    * `"antithetic"`: in pairs, the second the reverse of the first. What two players do together is then exact.
    * `"orthogonal"`: quasi-random: pairs of reverses, from directions that are orthogonal to each other, n - 1 pairs at
      a time. Standard errors are those of independent pairs, which are about as large or larger.
    * `"random"`: independently.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.loops.samples import Draws

__all__ = ["DESIGNS", "drawn"]

DESIGNS = ("antithetic", "orthogonal", "random")


def drawn(draws: Draws, players: int, count: int, design: str) -> Iterator[Tensor]:
    """The place of each player `(m, n)` in permutations that belong together: m is 2 for pairs of reverses.

    Args:
        draws: The source of randomness.
        players: Number of players, n.
        count: Number of permutations. If it is odd, the last of pairs stands alone.
        design: One of `DESIGNS`.

    Raises:
        ArgumentError: If the design is unknown.
    """
    if design not in DESIGNS:
        raise ArgumentError("design", describe(design), f"one of {', '.join(DESIGNS)}", "Antithetic is the default.")
    if design == "random":
        for _ in range(count):
            yield draws.shared(torch.rand, 1, players).argsort(1)
        return
    at_once = max(players - 1, 1) if design == "orthogonal" else 1
    for done in range(0, count, 2 * at_once):
        pairs = min(at_once, (count - done + 1) // 2)
        numbers = draws.shared(torch.randn, players, pairs)
        if pairs > 1:
            # Where numbers sum to zero, their order is all there is to a direction.
            basis, triangle = torch.linalg.qr(numbers - numbers.mean(0))
            # Directions come with signs that depend on the numbers; without them all directions are alike.
            numbers = basis * triangle.diagonal().sign()
        # A direction gives each player a place, so that the opposite direction gives the reverse. The order of the
        # players, a single argsort, is the inverse permutation: that of an opposite direction is not the reverse.
        for place, forward in enumerate(numbers.argsort(0).argsort(0).T):
            alone = done + 2 * place + 1 == count
            yield forward[None] if alone else torch.stack([forward, players - 1 - forward])
