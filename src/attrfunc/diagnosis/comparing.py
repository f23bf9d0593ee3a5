"""Whether two results are the same, as far as rounding allows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attrfunc.diagnosis.case import Case
from attrfunc.diagnosis.expected import as_is, first_part, signed
from attrfunc.diagnosis.recipes import Recipe

__all__ = ["Match", "agreement", "match", "rounding"]

LIMITS = {torch.float64: 1e-7, torch.float32: 1e-3, torch.bfloat16: 0.05, torch.float16: 0.02}
ROUNDING = 20.0
"""How many times what the nearest other input changes."""
BLURRED = 0.5
"""Where the nearest other input changes as much, nothing can be said."""


@dataclass(frozen=True)
class Match:
    """What a comparison gave.

    Attributes:
        verdict: `"right"`, `"wrong"`, `"consistent"` or `"unjudged"`.
        check: What was compared.
        error: How far apart, as a share.
        said: Why there was nothing to compare with, or what is wrong.
        expected: Whether there was anything to compare with.
        loops: Whether it takes as much by hand as the method does, so that times compare.
    """

    verdict: str
    check: str = ""
    error: float | None = None
    said: str = ""
    expected: bool = True
    loops: bool = True


def match(recipe: Recipe, case: Case, found: list[Tensor]) -> tuple[Match, float]:
    """Compare a result with what is computed by hand.

    Returns:
        The verdict, and the seconds that it took by hand.
    """
    if recipe.expected is None:
        return Match("consistent", expected=False), 0.0
    start = time.perf_counter()
    try:
        expected = recipe.expected(case, case.hand)
    except Exception as raised:  # what autograd or the model makes of it by hand
        return Match("consistent", said=f"(by hand: {type(raised).__name__})", expected=False), 0.0
    seconds = time.perf_counter() - start
    if expected is None:
        return Match("consistent", expected=False), 0.0
    seen = recipe.seen(case, case.hand, found)
    if [one.shape for one in seen] != [one.shape for one in expected]:
        shapes = [tuple(one.shape) for one in seen], [tuple(one.shape) for one in expected]
        return Match("wrong", said=f"shapes {shapes[0]} where {shapes[1]} were expected"), seconds
    if not all(one.isfinite().all() for one in seen):
        return Match("wrong", said="values that are not finite"), seconds
    itself = recipe.seen in (as_is, first_part, signed)
    floor = 0.0 if itself else 0.01 * _size(recipe.seen(case, case.hand, [one.abs() for one in found]))
    error = apart(seen, expected, floor)
    limit = _limit(found) if recipe.limit is None else max(recipe.limit(case, case.hand), rounding(found))
    if error <= limit:
        return Match("right", error=error, loops=itself), seconds
    noise = apart(recipe.expected(case, case.hand.moved()) or expected, expected, floor)
    if error <= ROUNDING * noise:
        verdict = "right" if noise < BLURRED else "unjudged"
        return Match(verdict, error=error, said=f"the nearest other input changes {noise:.0e}"), seconds
    return Match("wrong", error=error, said="it is not what it should be"), seconds


def agreement(
    found: Sequence[Tensor], again: Sequence[Tensor], nearest: Callable[[], Sequence[Tensor] | None]
) -> Match:
    """Whether two results are the same that should be.

    Args:
        found: The one.
        again: The other.
        nearest: The same at the nearest other input, whose distance tells what rounding may do.
    """
    if [one.shape for one in found] != [one.shape for one in again]:
        return Match("wrong", said=f"shapes {[tuple(one.shape) for one in (*found, *again)]}")
    if not all(one.isfinite().all() for one in (*found, *again)):
        return Match("wrong", said="values that are not finite")
    error = apart(again, found, 0.0)
    if error <= _limit(found):
        return Match("consistent")
    moved = nearest()
    noise = 0.0 if moved is None else apart(moved, found, 0.0)
    if error > ROUNDING * noise:
        return Match("wrong", said=f"{error:.0e} apart")
    said = f"by {error:.0e}, where the nearest other input changes {noise:.0e}"
    return Match("consistent" if noise < BLURRED else "unjudged", said=said)


def apart(found: Sequence[Tensor], expected: Sequence[Tensor], floor: float) -> float:
    """The length of the difference, as a share of the length of what was expected, or of the floor."""
    difference = _size([a.double() - b.double() for a, b in zip(found, expected, strict=True)])
    return difference / max(_size(expected), floor, 1e-30)


def _size(leaves: Sequence[Tensor]) -> float:
    return sum(float(leaf.double().square().sum()) for leaf in leaves) ** 0.5


def _limit(leaves: Sequence[Tensor]) -> float:
    return max(rounding(leaves), *(LIMITS.get(leaf.dtype, 1e-3) for leaf in leaves))


def rounding(leaves: Sequence[Tensor]) -> float:
    """What autocast rounds where it is on: the model computes in other numbers than it takes and gives."""
    kinds = {leaf.device.type for leaf in leaves}
    return max(
        (LIMITS.get(torch.get_autocast_dtype(one), 0.0) for one in kinds if torch.is_autocast_enabled(one)), default=0.0
    )
