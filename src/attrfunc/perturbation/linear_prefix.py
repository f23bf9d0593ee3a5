"""The affine prefix of a game: what each group adds to the output of a leading linear layer is computed once.

A coalition's output there is then a sum of its groups' shares, and without one group it is a difference: the layer,
which holds most of the work of an MLP on many features, does not run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.affine_prefix import leading_linear_layer
from attrfunc.core.errors import ModelError
from attrfunc.core.layer_problem import LayerProblem
from attrfunc.core.problem import Problem

__all__ = ["LinearPrefix"]

# The products of all features and weights take as long as some 80 runs of the layer: fewer coalitions do not pay for
# that, nor fewer rows for the run of the network that looks for the layer.
FEWEST_COALITIONS = 128
FEWEST_ROWS = 256
# What the products of all features and weights may take.
MOST_BYTES = 2**28


@dataclass(frozen=True)
class LinearPrefix:
    """A leading linear layer, and what each group adds to its output.

    Attributes:
        problem: The problem behind the layer.
        start: The layer's output at the baseline, `(B, H)`.
        end: At the input.
        shares: What each group adds, `(B, n, H)`.
    """

    problem: LayerProblem
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
        before = LayerProblem(replace(problem.view, sites=(replace(site, side="input"),)), problem.inputs, problem.twin)
        behind = LayerProblem(replace(problem.view, sites=(site,)), problem.inputs, problem.twin)
        try:
            (low,), (high,) = before.ends(start[0], measure=False)
            (numbers,), _ = before.ends(ids[0].to(end[0].dtype), measure=False)
            (start_out,), (end_out,) = behind.ends(start[0], measure=False)
        except ModelError:
            return None  # its weight is used, but the module does not run
        weight: Any = problem.twin.modules[site.module].weight
        if high.dim() != 2 or high.numel() * len(weight) * high.element_size() > MOST_BYTES:
            return None
        behind.unread = True
        terms = (high - low).unsqueeze(2) * weight.T
        places = numbers.round().long() + players * torch.arange(len(high), device=high.device).unsqueeze(1)
        shares = terms.new_zeros(len(high) * players, len(weight)).index_add(0, places.flatten(), terms.flatten(0, 1))
        return cls(behind, start_out, end_out, shares.unflatten(0, (len(high), players)))

    def coalitions(self, present: Tensor, rows: slice) -> list[Tensor]:
        """The layer's output `(K, rows, H)` for coalitions `(K, n)`."""
        added = torch.einsum("kn,bnh->kbh", present.to(self.shares), self.shares[rows])
        return [self.start[rows] + added]

    def without_each(self, chosen: slice, rows: slice) -> list[Tensor]:
        """The layer's output `(K, rows, H)` with all groups (number 0) or without one (numbers from 1 on)."""
        missing = self.shares[rows, max(chosen.start - 1, 0) : chosen.stop - 1].movedim(1, 0)
        whole = self.end[rows].unsqueeze(0)
        return [torch.cat([whole, whole - missing]) if chosen.start == 0 else whole - missing]
