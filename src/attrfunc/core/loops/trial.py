"""Trials: what a run of the batch, and one of some of its examples beside others, tell about a model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.loops.meter import Meter
from attrfunc.core.model.engines import settled
from attrfunc.core.model.folding import Folding, Pair
from attrfunc.core.model.sites import Edit, Site
from attrfunc.core.score.places import AtLayers, Reading
from attrfunc.core.score.point import Point
from attrfunc.core.score.problem import Problem

__all__ = ["MOST_EXAMPLES", "Trial", "close", "examples_first"]

# So many examples, at most, are evaluated once more.
MOST_EXAMPLES = 8


class Trial:
    """The batch, and some of its examples by themselves.

    Attributes:
        meter: What the batch takes.
        is_coupled: Whether the score of an example depends on others.
        is_random: Whether the same batch has other scores the next time.
    """

    def __init__(self, problem: Problem, sites: tuple[Site, ...]) -> None:
        self._problem, self._sites = problem, sites
        self.meter, self.is_coupled, self.is_random, self._first = Meter(), False, False, False
        self.folds: tuple[Pair, ...] = ()

    def verdict(self, images: bool, folds: bool) -> dict[str, bool]:
        """Whether examples are `apart`, the batch is `fixed`, and images may have their `channels_last`.

        Args:
            images: Whether to try images with their channels last.
            folds: Whether to look for batch norms to fold.
        """
        problem = self._problem
        problem.twin.restore()
        folding = Folding(problem.twin.modules if folds else {})
        with self.meter, folding if folds else nullcontext():
            scores, point = self._seen(problem, self.meter)  # raises, where the model does not run at all
        pairs = folding.pairs()
        for wide in (True, False):  # the model may not take what is out of the range of the examples
            some, numbers = _some(problem, wide)
            fast = replace(some, twin=some.twin.folded(pairs), plan=replace(some.plan, channels_last=images))
            if (images or pairs) and self._agree(scores, point, fast, numbers):
                self.folds = pairs
                return {"apart": self._first, "channels_last": images}
            agree = self._agree(scores, point, some, numbers)
            if agree is not None:
                break
        return {"apart": self._first} if agree else self._as_it_is(scores, point)

    def one_by_one(self) -> dict[str, bool]:
        """The same where a model need not take more than one example."""
        rows = self._problem.inputs.rows
        try:
            with self.meter:
                _, point = self._seen(self._problem.at(slice(rows - 1, rows)), self.meter)
        except Exception:  # whatever a model makes of one example; the whole batch raises what is the caller's
            return self._as_it_is(*self._seen(self._problem))
        try:
            scores, points = self._seen(self._problem)
        except Exception:  # it does not take more
            return {"apart": examples_first(point, 1)}
        alone = [(torch.tensor([row]), self._problem.at(slice(row, row + 1))) for row in {0, rows - 1}]
        agree = all(self._agree(scores, points, one, number) for number, one in alone)
        return {"apart": self._first} if agree else self._as_it_is(scores, points)

    def _agree(self, scores: Tensor, point: Point, some: Problem, numbers: Tensor) -> bool | None:
        """Whether some examples have the scores, and the shapes, that they have in the batch; None if they fail."""
        try:
            found, part = self._seen(some)
        except Exception:  # whatever a model makes of them
            return None
        pairs = zip(point.leaves, part.leaves, strict=False)
        first = all(a.shape[:1] == scores.shape and b.shape == (len(found), *a.shape[1:]) for a, b in pairs)
        self._first = first and len(point.leaves) == len(part.leaves)
        known, ordinary = numbers >= 0, numbers > -2
        spread = torch.cat([scores, found[ordinary.to(found.device)]])
        return close(found[known.to(found.device)], scores[numbers[known].to(scores.device)], spread)

    def _as_it_is(self, scores: Tensor, point: Point) -> dict[str, bool]:
        """The same for a model that takes no other batch: some of it is changed, and the scores of the others seen."""
        problem, rows = self._problem, self._problem.inputs.rows
        numbers = torch.arange(rows, device=scores.device)
        odd, late = numbers % 2 == 1, numbers >= rows // 2
        self.is_random = not close(self._seen(problem)[0], scores, scores)
        try:
            for changed in (odd, ~odd, late, ~late):
                x = pytree.tree_map(lambda leaf, changed=changed: _changed(leaf, changed), problem.inputs.x)
                moved, _ = self._seen(replace(problem, inputs=replace(problem.inputs, x=x)))
                self.is_coupled = self.is_coupled or not close(scores[~changed], moved[~changed], scores)
        except Exception:  # what it makes of a changed example is not the caller's error, and tells nothing
            self._seen(problem)  # but what it makes of the caller's batch is
            return {"apart": False, "fixed": True}
        return {"apart": examples_first(point, rows) and not self.is_coupled, "fixed": True}

    def _seen(self, problem: Problem, meter: Meter | None = None) -> tuple[Tensor, Point]:
        """The scores, and the activations at the sites."""
        reading = Reading(AtLayers(self._sites))
        edits = reading.edits()
        if meter is not None:
            edits = tuple((site, _marking(meter, edit)) for site, edit in edits)
        return problem.scored(edits), reading.point() if self._sites else Point([], ())


def _some(problem: Problem, wide: bool) -> tuple[Problem, Tensor]:
    """Some of the examples, in another order, behind changed ones; with their numbers.

    Nobody compares the scores of changed ones, whose numbers are negative. The range of number -2 is larger than any
    example's, both ways: a largest number, or that by which quantised layers scale, is then one of the whole batch.
    What the model makes of it is out of the range in which scores are compared.
    """
    rows = problem.inputs.rows
    extra = [-1] * (rows == 1) + [-2] * wide
    numbers = torch.arange(rows - 1, -1, -max(2 if rows > 2 else 1, rows // MOST_EXAMPLES))
    # One of them twice, or a changed one: without the others, what they have in common may by chance be what all have.
    # And another number than there are: a model may take no other.
    twice = int(not wide) + int(len(extra) + len(numbers) + (not wide) == rows) if rows > 1 else 0
    numbers = torch.cat([torch.tensor(extra, dtype=torch.long), *[numbers[:1]] * twice, numbers])
    some = problem.at(numbers.clamp(min=0))
    x = pytree.tree_map(lambda leaf: _changed(leaf, numbers == -1), some.inputs.x)
    x = pytree.tree_map(lambda leaf: _changed(leaf, numbers == -2, _widened), x)
    return replace(some, inputs=replace(some.inputs, x=x)), numbers


def _moved(leaf: Tensor) -> Tensor:
    return leaf * 0.5 + 0.25


def _widened(leaf: Tensor) -> Tensor:
    signs = torch.arange(leaf[:1].numel(), device=leaf.device) % 2
    return leaf * (4.0 - 7.0 * signs).to(leaf.dtype).view(1, *leaf.shape[1:]) + 0.25


def _changed(leaf: Tensor, rows: Tensor, change: Callable[[Tensor], Tensor] = _moved) -> Tensor:
    """A batch with some of its examples changed; identifiers are taken from others, so that they exist."""
    moved = change(leaf) if leaf.is_floating_point() else leaf.flip(0)
    return torch.where(rows.to(leaf.device).view(-1, *[1] * (leaf.dim() - 1)), moved, leaf)


def _marking(meter: Meter, edit: Edit) -> Edit:
    def read(value: Any) -> Any:
        meter.mark()
        return edit(value)

    return read


def examples_first(point: Point, rows: int) -> bool:
    """Whether the dimension in front counts the examples."""
    return all(leaf.dim() > 0 and leaf.shape[0] == rows for leaf in point.leaves)


def close(one: Tensor, other: Tensor, scores: Tensor) -> bool:
    """Whether scores are the same, up to what another batch size changes in their rounding."""
    differences, sizes = {torch.float64: (1e-6, 1e-10), torch.float32: (1e-3, 3e-5)}.get(scores.dtype, (5e-2, 5e-2))
    allowed = differences * (scores.amax() - scores.amin()) + sizes * one.abs()
    return settled(((one - other).abs() <= allowed) | (one == other) | (one.isnan() & other.isnan()))
