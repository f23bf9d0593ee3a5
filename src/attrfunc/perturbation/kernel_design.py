"""Which coalitions kernel SHAP evaluates, and their weights."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError
from attrfunc.core.loops.samples import Draws
from attrfunc.perturbation.coalitions import of_size

__all__ = ["kernel_design"]

# So many coalitions of one size are numbered, to draw some of them without repetition; among more than these hardly any
# would be drawn twice.
NUMBERED = 2**16
# Numbers that are drawn at once.
BLOCK = 2**22


def kernel_design(players: int, n_samples: int, draws: Draws, *, even: bool = False) -> tuple[Tensor, Tensor]:
    """Coalitions to evaluate beside the empty and the full one.

    All coalitions of size s together weigh `1 / (s (n - s))`. From the outer sizes to the inner ones, a size is
    enumerated if as many of the remaining coalitions as its share of the weight would enumerate it, and the first
    always: it determines all attributions. Of the other sizes coalitions are drawn, in numbers proportional to their
    weights. Coalitions come with their complements, so that what two groups do together cancels. A complement adds no
    equation, so where there are too few for that, they come alone, those without one player first.

    Args:
        players: Number of players, n.
        n_samples: Number of coalitions, with the empty and the full one.
        draws: The source of randomness.
        even: Draw the others evenly instead, so that there are most of the inner sizes. An estimator that does not need
            weights learns more from these.

    Returns:
        Coalitions `(K, n)` and their weights `(K,)`, which sum to one.

    Raises:
        ArgumentError: If there are too few to determine an attribution for each player.
    """
    least = min(players + 2, 2**players)
    if n_samples < least:
        raise ArgumentError(
            "n_samples",
            str(n_samples),
            f"at least {least} coalitions for {players} groups of features, better {10 * players}",
            "Raise n_samples, or make fewer groups.",
        )
    paired = n_samples >= 2 * players + 2
    sizes = range(1, players // 2 + 1) if paired else range(players - 1, 0, -1)
    budget = (n_samples - 2) // 2 if paired else n_samples - 2
    # The middle size of pairs has its complements within it.
    alone = [not paired or 2 * size == players for size in sizes]
    weights = [(1 if one else 2) / (size * (players - size)) for size, one in zip(sizes, alone, strict=True)]
    pascal = _binomials(players)
    counts = [pascal[size] // (2 if paired and one else 1) for size, one in zip(sizes, alone, strict=True)]
    whole = _enumerated(counts, weights, budget)
    rest = sum(weights[whole:])
    left = budget - sum(counts[:whole])
    drawn = _shared(counts[whole:] if even else weights[whole:], left)
    chosen, weighing = [torch.zeros(0, players, dtype=torch.bool)], [torch.zeros(0, dtype=torch.float64)]
    for place, size in enumerate(sizes):
        number = counts[place] if place < whole else drawn[place - whole]
        if number:
            mirrored = paired and alone[place]
            chosen.append(_some(players, size, counts[place], number, mirrored, draws))
            each = weights[place] / number if even or place < whole else rest / left
            weighing.append(torch.full((number,), each, dtype=torch.float64))
    coalitions, weighed = torch.cat(chosen), torch.cat(weighing)
    if paired:
        coalitions, weighed = torch.cat([coalitions, ~coalitions]), weighed.repeat(2)
    return coalitions, weighed / weighed.sum()


def _binomials(players: int) -> list[int]:
    """How many coalitions there are of each size; one after the other, since they have thousands of digits."""
    found = [1]
    for size in range(players):
        found.append(found[-1] * (players - size) // (size + 1))
    return found


def _enumerated(counts: Sequence[int], weights: Sequence[float], budget: int) -> int:
    """How many sizes, from the first on, are evaluated completely."""
    for place, (count, weight) in enumerate(zip(counts, weights, strict=True)):
        if place and budget * weight < count * sum(weights[place:]) * (1 - 1e-9):
            return place
        budget -= count
    return len(counts)


def _shared(weights: Sequence[float], number: int) -> list[int]:
    """A number shared among sizes in proportion to their weights; rounded so that the sums of the first ones are."""
    total = sum(weights)
    until = [0, *(int(number * part / total + 0.5) for part in itertools.accumulate(weights))]
    return [after - before for before, after in itertools.pairwise(until)]


def _some(players: int, size: int, count: int, number: int, mirrored: bool, draws: Draws) -> Tensor:
    """Coalitions of one size `(number, n)`: all, or some without repetition; mirrored: none of two complements both."""
    if number == count or count <= NUMBERED:
        ranks = torch.arange(count) if number == count else draws.shared(torch.rand, count).argsort()[:number]
        found = of_size(players - mirrored, size, ranks)
        return torch.cat([torch.zeros_like(found[:, :1]), found], 1) if mirrored else found
    parts = []
    for done in range(0, number, max(1, BLOCK // players)):
        numbers = draws.shared(torch.rand, min(number - done, max(1, BLOCK // players)), players)
        parts.append(numbers <= numbers.kthvalue(size, 1, keepdim=True).values)
    return torch.cat(parts)
