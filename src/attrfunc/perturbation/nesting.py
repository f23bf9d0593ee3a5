"""Players nested in groups: which coalitions the Owen value needs, and their weights."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.model.visible import at_trace_time
from attrfunc.perturbation.coalitions import MOST_COALITIONS
from attrfunc.perturbation.room import require_room
from attrfunc.perturbation.semivalues import shapley_weight

__all__ = ["Steps", "frozen", "owen_steps"]

Nesting = int | tuple["Nesting", ...]

# Each level of unions doubles the coalitions of some player at least.
DEEPEST_UNIONS = MOST_COALITIONS.bit_length()
# So many lists of one member within each other are unpacked.
DEEPEST = 10**5


class Steps(NamedTuple):
    """What players add to coalitions.

    Attributes:
        coalitions: Bits of the distinct coalitions; the first player has the first of n.
        before: Number of the coalition that a player joins.
        after: Number of the coalition with that player.
        players: The player.
        weights: The weight; those of a player sum to one.
    """

    coalitions: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    players: tuple[int, ...]
    weights: tuple[float, ...]


def frozen(nesting: Any, players: int) -> Nesting:
    """A nesting as tuples.

    Args:
        nesting: Nested sequences of the numbers of players.
        players: Number of players, n.

    Raises:
        ArgumentError: If it does not hold every player once, or needs too many coalitions.
    """
    tree = _tuples(nesting)
    found = sorted(_members(tree))
    if isinstance(nesting, int) or found != list(range(players)):
        raise ArgumentError(
            "nesting",
            describe(tree),
            f"nested lists that hold each of the groups 0 to {players - 1} of features once",
            "For example nesting=[[0, 1], [2, 3]] for four.",
        )
    count = sum(_context_counts(tree))
    if count > MOST_COALITIONS:
        raise _too_many(f"{count:,}" if count < 10**15 else f"some 10^{len(str(count)) - 1}")
    table = f"a nesting that takes {count:,} coalitions of {players} groups"
    require_room("nesting", table, count * players, "Make fewer groups with feature_mask.")
    return tree


def _too_many(count: str) -> ArgumentError:
    return ArgumentError(
        "nesting",
        f"groups whose members join {count} coalitions",
        f"at most {MOST_COALITIONS:,}",
        "Among m members of a union, each joins 2^(m - 1) coalitions of the others, and each level multiplies these. "
        "Make unions of few members in few levels, or fewer groups with feature_mask.",
    )


@at_trace_time  # a compiler need not look into it
def owen_steps(tree: Nesting, players: int) -> Steps:
    """All that the Owen value averages over.

    Args:
        tree: The nesting.
        players: Number of players, n.
    """
    return _numbered(tree, players)


@functools.lru_cache(maxsize=16)
def _numbered(tree: Nesting, players: int) -> Steps:
    numbers: dict[int, int] = {}
    steps = []
    for player, context, weight in _steps(tree, [(0, 1.0)], players):
        own = _bit(player, players)
        before, after = (numbers.setdefault(one, len(numbers)) for one in (context, context | own))
        steps.append((before, after, player, weight))
    return Steps(tuple(numbers), *zip(*steps, strict=True))


def _steps(tree: Nesting, contexts: Sequence[tuple[int, float]], players: int) -> Iterator[tuple[int, int, float]]:
    """`(player, coalition that it joins, weight)`: any siblings may be there already, as wholes."""
    if isinstance(tree, int):
        for context, weight in contexts:
            yield tree, context, weight
        return
    wholes = [sum(_bit(player, players) for player in _members(part)) for part in tree]
    for place, part in enumerate(tree):
        siblings = wholes[:place] + wholes[place + 1 :]
        present = [
            (sum(chosen), shapley_weight(len(siblings), size))
            for size in range(len(siblings) + 1)
            for chosen in itertools.combinations(siblings, size)
        ]
        pairs = itertools.product(contexts, present)
        yield from _steps(part, [(outer | inner, one * other) for (outer, one), (inner, other) in pairs], players)


def _context_counts(tree: Nesting, outer: int = 1) -> Iterator[int]:
    if isinstance(tree, int):
        yield outer
    else:
        for part in tree:
            yield from _context_counts(part, outer * 2 ** (len(tree) - 1))


def _members(tree: Nesting) -> Iterator[int]:
    if isinstance(tree, int):
        yield tree
    else:
        for part in tree:
            yield from _members(part)


def _tuples(nesting: Any, level: int = 0) -> Nesting:
    """The nesting as tuples, without unions of a single member: these change nothing."""
    for _ in range(DEEPEST):
        if not _is_list(nesting) or len(nesting) != 1:
            break
        nesting = nesting[0]
    else:
        got, expected = f"{DEEPEST} lists within each other", "nested lists of the numbers of groups"
        raise ArgumentError("nesting", got, expected, "Leave out lists of a single member.")
    if level > DEEPEST_UNIONS:
        raise _too_many(f"more than 2^{DEEPEST_UNIONS}")
    if _is_list(nesting) and len(nesting) != 1:
        return tuple(_tuples(part, level + 1) for part in nesting)
    if isinstance(nesting, int) and not isinstance(nesting, bool):
        return nesting
    raise ArgumentError(
        "nesting", describe(nesting), "nested lists of the numbers of groups", "For example nesting=[[0, 1], [2, 3]]."
    )


def _is_list(nesting: Any) -> bool:
    return isinstance(nesting, Sequence) and not isinstance(nesting, str)


def _bit(player: int, players: int) -> int:
    return 1 << (players - 1 - player)
