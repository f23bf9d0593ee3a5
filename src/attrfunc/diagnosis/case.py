"""What methods are called with: a case, and the options that are made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from attrfunc.diagnosis.hand import Hand

__all__ = [
    "CHANNELS",
    "INTERACTIONS",
    "SAMPLES",
    "STEPS",
    "Case",
    "background",
    "drawn",
    "game",
    "generator",
    "halves",
    "path",
    "players",
    "regions",
    "rolled",
    "start",
    "unions",
    "windows",
]

STEPS, SAMPLES, INTERACTIONS, CHANNELS = 10, 20, 64, 64


@dataclass(frozen=True)
class Case:
    """What methods are tried on.

    Attributes:
        x: The input.
        rows: Number of examples.
        hand: The same by hand.
        ids: Groups of features, numbers in the structure of the input.
        groups: How many of them.
        baseline: The baseline, as methods take it.
        cam: A layer whose activation has positions; None if there is none.
        units: A layer whose units are looked at.
    """

    x: Any
    rows: int
    hand: Hand
    ids: Any
    groups: int
    baseline: Any
    cam: str | None
    units: str | None


def generator(case: Case) -> torch.Generator:
    """The same draws each time, where the input is."""
    return torch.Generator(device=case.hand.end[0].device).manual_seed(0)


def start(case: Case) -> dict[str, Any]:
    """The baseline."""
    return {"baseline": case.baseline}


def path(case: Case) -> dict[str, Any]:
    """A path with few points."""
    return {"baseline": case.baseline, "n_steps": STEPS}


def game(case: Case) -> dict[str, Any]:
    """A game of few groups."""
    return {"baseline": case.baseline, "feature_mask": case.ids}


def drawn(case: Case, **options: Any) -> dict[str, Any]:
    """A game with samples."""
    return {**game(case), "generator": generator(case), **options}


def background(case: Case) -> Any:
    """A distribution of two baselines: the baseline, and the mean of it and the first example."""
    leaves = [torch.stack([a[0], (a[0] + b[0]) / 2]) for a, b in zip(case.hand.start, case.hand.end, strict=True)]
    return pytree.tree_unflatten(leaves, pytree.tree_structure(case.x))


def windows(case: Case) -> dict[str, Any]:
    """Windows side by side, two along each of the last two dimensions."""
    leaf = case.hand.end[0]
    sides = tuple(max(1, -(-size // 2)) for size in leaf.shape[1:][-2:])
    return {"window": sides, "stride": sides, "baseline": case.baseline}


def rolled(x: Any, mask: Any) -> Any:
    """The examples of a group exchanged in a circle."""
    return pytree.tree_map(lambda leaf, one: torch.where(one.bool(), leaf.roll(1, 0), leaf), x, mask)


def regions(case: Case) -> dict[str, Any]:
    """Four regions of an image."""
    leaf = case.hand.end[0]
    height, width = leaf.shape[-2:] if leaf.dim() > 2 else (1, leaf.shape[-1])
    rows, columns = torch.arange(height) * 2 // max(height, 1), torch.arange(width) * 2 // max(width, 1)
    grid = rows[:, None] * 2 + columns
    return {"regions": (grid if leaf.dim() > 3 else columns)[None, None].to(leaf.device), "n_steps": STEPS}


def players(case: Case) -> int:
    """How many groups there are; where examples depend on each other, each has its own."""
    return case.groups if case.hand.apart else case.groups * case.rows


def halves(case: Case) -> list[list[int]]:
    """The groups in two unions."""
    count = players(case)
    return [list(range(count // 2)), list(range(count // 2, count))]


def unions(case: Case) -> list[list[int]]:
    """Those that have members."""
    return [one for one in halves(case) if one]
