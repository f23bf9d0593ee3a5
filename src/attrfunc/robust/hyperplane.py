"""The shortest way to a hyperplane, within bounds."""

from __future__ import annotations

import torch
from torch import Tensor

from attrfunc.robust.ball import Ball

__all__ = ["step_to_plane"]


def step_to_plane(ball: Ball, point: Tensor, slope: Tensor, rise: Tensor) -> Tensor:
    """The shortest step, in the ball's norm, along which a linear function rises by so much.

    Where it cannot within the bounds, all elements go as far as they can. Each element moves at a speed of its own (1,
    or in L2 the size of its slope) until it meets its bound; the time at which the sum has risen enough is found among
    the times of these meetings. In L1 the element with the largest slope goes first, until it meets its bound.

    Args:
        ball: The norm and the bounds.
        point: Where to begin, `(B, *S)`.
        slope: The gradient of the linear function.
        rise: By how much it is to rise, `(B,)`; negative numbers let it fall.

    Returns:
        Steps `(B, *S)`.
    """
    rows, sign = len(point), torch.where(rise < 0, -1.0, 1.0).to(point.dtype)

    def flat(leaf: Tensor) -> Tensor:
        return leaf.reshape(rows, point.shape[1:].numel()).double()

    slopes, rise = flat(slope) * sign[:, None].double(), rise.abs().double()
    up = slopes >= 0
    room = torch.where(up, flat(ball.high - point), flat(point - ball.low)).clamp(min=0)
    sizes = slopes.abs()
    largest = sizes.amax(1, keepdim=True).clamp(min=1e-300)
    sizes, rise = sizes / largest, rise / largest.squeeze(1)  # squares of small slopes are not 0
    if ball.norm == "l1":
        lengths = _one_by_one(sizes, room, rise)
        return torch.where(up, lengths, -lengths).to(point.dtype).view(point.shape)
    speeds = torch.ones_like(sizes) if ball.norm == "linf" else sizes
    times = torch.where(speeds > 0, room / speeds.clamp(min=1e-300), torch.inf)
    times, order = times.sort(dim=1)
    ordered = [leaf.gather(1, order) for leaf in (sizes, speeds, room)]
    rates, limits = ordered[0] * ordered[1], torch.where(ordered[2].isfinite(), ordered[0] * ordered[2], 0.0)
    start = torch.zeros_like(rise)[:, None]
    arrived = torch.cat([start, limits.cumsum(1)], dim=1)  # what those that have met their bound add up to
    moving = torch.cat([rates.flip(1).cumsum(1).flip(1), start], dim=1)  # the rate of all others
    reached = arrived[:, :-1] + torch.where(moving[:, :-1] > 0, times * moving[:, :-1], 0.0)
    count = (reached < rise[:, None]).sum(1, keepdim=True)
    time = (rise[:, None] - arrived.gather(1, count)) / moving.gather(1, count).clamp(min=1e-300)
    time = torch.where(count == times.shape[1], torch.inf, time.clamp(min=0))
    free = torch.where(speeds > 0, time * speeds.clamp(min=1e-300), 0.0)
    lengths = torch.where(sizes > 0, torch.minimum(free, room), 0.0)
    lengths = torch.where(lengths.isfinite(), lengths, 0.0)  # a function without a slope, which rises nowhere
    return torch.where(up, lengths, -lengths).to(point.dtype).view(point.shape)


def _one_by_one(sizes: Tensor, room: Tensor, rise: Tensor) -> Tensor:
    """How far each element goes, if those with the largest slopes go first."""
    sizes, order = sizes.sort(dim=1, descending=True, stable=True)
    most = torch.where(sizes > 0, sizes * room.gather(1, order), 0.0)
    gains = torch.minimum(most, rise[:, None])
    gains = torch.minimum((rise[:, None] - (gains.cumsum(1) - gains)).clamp(min=0), gains)
    lengths = torch.where(sizes > 0, gains / sizes.clamp(min=1e-300), 0.0)
    return torch.zeros_like(lengths).scatter(1, order, lengths)
