"""Auto-PGD in L1: sparse steps, in balls that shrink (Croce and Hein 2021)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from attrfunc.robust.ball import Ball, like_rows
from attrfunc.robust.best import Best
from attrfunc.robust.victim import Loss, Victim

__all__ = ["climbed_sparsely"]

# The first balls are so many times as large, each for a share of the steps; what they find is moved into the next one.
STAGES = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))
# The share of elements that the first steps change; each later number is that of the best point, divided by DENSER.
SHARE, DENSER = 0.2, 1.5
# Where the number of changed elements fell below SPARSER of what it was, steps begin anew at the longest length.
SPARSER, SHORTER, SHORTEST = 0.95, 1.5, 10.0


def climbed_sparsely(victim: Victim, ball: Ball, loss: Loss, start: Tensor, n_steps: int, aims: Tensor) -> Best:
    """The best of one run from a start, whose last part is in the ball itself."""
    counts = [max(1, round(share * n_steps)) for _, share in STAGES[:-1]]
    counts.append(max(1, n_steps - sum(counts)))
    stages = list(zip((factor for factor, _ in STAGES), counts, strict=True)) if n_steps >= 3 else [(1.0, n_steps)]
    for factor, steps in stages:
        larger = replace(ball, radius=factor * ball.radius)
        best = _climbed(victim, larger, loss, larger.project(start), steps, aims)
        start = best.x
    return best


def _climbed(victim: Victim, ball: Ball, loss: Loss, start: Tensor, n_steps: int, aims: Tensor) -> Best:
    width, period = start.shape[1:].numel(), max(1, round(0.04 * n_steps))
    length, count = ball.radius, torch.full_like(ball.radius, SHARE * width)
    logits, value, slope = victim.gradient(start, loss, aims)
    best, point, top = (
        Best(start),
        start,
        Best(start),
    )  # one that fools first; the largest loss, whether it fools or not
    best.take(start, value, victim.fooled(logits))
    nobody = torch.zeros_like(best.fooled)
    top.take(start, value, nobody)
    top_slope = slope
    changed = _changed(start, ball)
    for step in range(1, n_steps + 1):
        point = ball.project(point + like_rows(length, point) * _sparse_signs(slope, count))
        logits, value, slope = victim.gradient(point, loss, aims)
        best.take(point, value, victim.fooled(logits))
        top_slope = torch.where(like_rows(top.take(point, value, nobody), slope), slope, top_slope)
        if step % period == 0:
            now = _changed(top.x, ball)
            fewer = now < SPARSER * changed
            count = (now / DENSER).clamp(min=1)
            length = torch.where(fewer, ball.radius, (length / SHORTER).clamp(min=ball.radius / SHORTEST))
            point = torch.where(like_rows(fewer, point), top.x, point)
            slope = torch.where(like_rows(fewer, slope), top_slope, slope)
            changed = now
    return best


def _changed(point: Tensor, ball: Ball) -> Tensor:
    """How many elements differ from the centre."""
    return (point != ball.x).flatten(1).sum(1).to(point.dtype)


def _sparse_signs(slope: Tensor, count: Tensor) -> Tensor:
    """Signs of the largest slopes, so many `(B,)` of each example, of norm 1 in L1."""
    flat = slope.flatten(1)
    places = flat.abs().argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    signs = torch.where(places < count[:, None].clamp(min=1).floor(), flat.sign(), 0.0)
    return (signs / signs.abs().sum(1, keepdim=True).clamp(min=1)).view(slope.shape)
