"""The affine prefix of a game: what each group adds to the output of a leading linear layer is computed once.

A coalition's output there is then a sum of its groups' shares, and without one group it is a difference: the layer,
which holds most of the work of an MLP on many features, does not run again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ModelError
from attrfunc.core.loops.affine_prefix import leading_linear_layer
from attrfunc.core.model.engines import known
from attrfunc.core.model.sites import Site
from attrfunc.core.score.places import AtLayers
from attrfunc.core.score.point import Point
from attrfunc.core.score.problem import Problem

__all__ = ["LinearPrefix"]

# The products of all features and weights take as long as some 80 runs of the layer: fewer coalitions do not pay for
# that, nor fewer rows for the run of the network that looks for the layer.
FEWEST_COALITIONS = 128
FEWEST_ROWS = 256
# Rounding errors may be so many times the layer's own.
LOSS = 64
# What the products of all features and weights may take.
MOST_BYTES = 2**28


@dataclass(frozen=True)
class LinearPrefix:
    """A leading linear layer, and what each group adds to its output.

    Attributes:
        problem: The problem behind the layer.
        point: The point there.
        start: The layer's output at the baseline, `(B, H)`.
        end: At the input.
        shares: What each group adds, `(B, n, H)`.
    """

    problem: Problem
    point: Point
    start: Tensor
    end: Tensor
    shares: Tensor

    @classmethod
    def find(
        cls, problem: Problem, start: Sequence[Tensor], end: Sequence[Tensor], ids: Sequence[Tensor], players: int
    ) -> LinearPrefix | None:
        """The prefix of a game, if it has one that is worth it.

        Args:
            problem: The problem.
            start: The point where all groups are replaced.
            end: The point where all are present.
            ids: The groups' numbers, as `Game` holds them.
            players: Number of groups.
        """
        if len(end) != 1 or end[0].dtype not in (torch.float32, torch.float64):
            return None
        if players >= 1 / torch.finfo(end[0].dtype).eps:
            return None  # their numbers go through the network's own views, in its dtype
        site = leading_linear_layer(problem)
        if site is None:
            return None
        before, behind = _at(problem, replace(site, side="input")), _at(problem, site)
        try:
            (low,), (high,) = (point.leaves for point in before.endpoints(start[0]))
            (numbers,) = before.endpoints(ids[0].to(end[0].dtype))[0].leaves
            first, last = behind.endpoints(start[0])
        except ModelError:
            return None  # its weight is used, but the module does not run
        weight: Any = problem.twin.modules[site.module].weight
        if high.dim() != 2 or high.numel() * len(weight) * high.element_size() > MOST_BYTES:
            return None
        places = (numbers.round().long() + players * torch.arange(len(high), device=high.device).unsqueeze(1)).flatten()
        if not _well_scaled(low, high, places, players, problem.twin.modules[site.module]):
            return None
        behind = replace(behind, plan=replace(behind.plan, unread=True))
        terms = (high - low).unsqueeze(2) * weight.T
        shares = terms.new_zeros(len(high) * players, len(weight)).index_add(0, places, terms.flatten(0, 1))
        return cls(behind, last, first.leaves[0], last.leaves[0], shares.unflatten(0, (len(high), players)))

    def coalitions(self, present: Tensor, rows: slice) -> list[Tensor]:
        """The layer's output `(K, rows, H)` for coalitions `(K, n)`."""
        added = torch.einsum("kn,bnh->kbh", present.to(self.shares), self.shares[rows])
        return [self.start[rows] + added]

    def nested(self, places: Tensor, counts: Sequence[int]) -> Callable[[slice, slice], list[Tensor]]:
        """The layer's output where of each example the first of so many groups are present, in an order of its own.

        Args:
            places: The place of each group in the order, `(B, n)`.
            counts: How many are present in each coalition.

        Returns:
            A function of some examples and some of the coalitions.
        """
        order = places.argsort(dim=1).unsqueeze(2).expand_as(self.shares)
        added = self.shares.gather(1, order).cumsum(1)

        def outputs(rows: slice, chosen: slice) -> list[Tensor]:
            found = [added[rows, count - 1] if count else torch.zeros_like(added[rows, 0]) for count in counts[chosen]]
            return [self.start[rows] + torch.stack(found)]

        return outputs

    def without_each(self, chosen: slice, rows: slice) -> list[Tensor]:
        """The layer's output `(K, rows, H)` with all groups (number 0) or without one (numbers from 1 on)."""
        missing = self.shares[rows, max(chosen.start - 1, 0) : chosen.stop - 1].movedim(1, 0)
        whole = self.end[rows].unsqueeze(0)
        return [torch.cat([whole, whole - missing]) if chosen.start == 0 else whole - missing]


def _at(problem: Problem, site: Site) -> Problem:
    """The problem whose point stands at a layer."""
    return replace(problem, view=replace(problem.view, place=AtLayers((site,))))


def _well_scaled(low: Tensor, high: Tensor, places: Tensor, players: int, layer: Any) -> bool:
    """Whether sums of shares are about as exact as the layer itself, for any coalition.

    A share that is taken away leaves its rounding errors, which the layer does not have: among columns like 1 and 1e9
    nothing but these would be left. Without a group there are its share's. In a coalition of groups whose baseline is
    large there are the baseline's.

    Args:
        low: The layer's input at the baseline, `(B or 1, N)`.
        high: At the input, `(B, N)`.
        places: The group of each element, numbered through all examples, `(B N,)`.
        players: Number of groups, n.
        layer: The layer.
    """
    size = layer.weight.abs().mean(0)
    bias = 0.0 if layer.bias is None else layer.bias.abs().mean()

    def of_groups(end: Tensor) -> Tensor:
        sizes = (end.abs() * size).expand_as(high).flatten()
        return sizes.new_zeros(len(high) * players).index_add(0, places, sizes).view(len(high), players)

    start, end = of_groups(low), of_groups(high)
    without_one = end.sum(1, keepdim=True) - end + start + bias
    replaced = torch.where(start > end, start - LOSS * end, 0).sum(1)
    kept = LOSS * (torch.where(start > end, 0, start).sum(1) + bias)
    return known((end <= LOSS * without_one).all() & (replaced <= kept).all()) is True
