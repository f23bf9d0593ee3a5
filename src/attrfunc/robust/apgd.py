"""Auto-PGD (Croce and Hein 2020)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, positive
from attrfunc.core.score.views import Model
from attrfunc.robust.ball import Ball, ball_around, like_rows
from attrfunc.robust.best import Best
from attrfunc.robust.losses import aimed_difference, aimed_dlr, loss_of
from attrfunc.robust.numbers import finite
from attrfunc.robust.sparse import climbed_sparsely
from attrfunc.robust.victim import Loss, Victim, attack, open_victim

__all__ = ["apgd", "climbed", "most_likely"]

MOMENTUM = 0.75
# A step is halved where the loss rose in fewer than this share of the steps.
RISES = 0.75


@attack
def apgd(
    model: Model,
    x: Tensor,
    *,
    label: Any,
    radius: Any,
    norm: str = "linf",
    bounds: Any = None,
    n_steps: int = 100,
    n_restarts: int = 1,
    n_target_classes: int | None = None,
    targeted: bool = False,
    loss: Any = "cross_entropy",
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Tensor:
    """Projected gradient ascent with momentum, whose steps of two radii are halved where they make no progress.

    In L1 steps are sparse, in as many elements as the best point so far has changed, and the first 60 % of them go to
    balls of three and two radii; the projection is the exact one onto the ball within the bounds.

    Args:
        model: A module, or any callable, with logits `(B, C)`.
        x: The inputs `(B, *S)`; this and others are documented in `attrfunc.robust.victim`.
        label: Their classes.
        radius: How far to go.
        norm: `"linf"`, `"l2"` or `"l1"`.
        bounds: The least and the largest value.
        n_steps: How many gradients are taken from each start.
        n_restarts: How many starts at random.
        n_target_classes: Go for so many of the most likely other classes instead, one after the other (APGD-T): the
            targeted DLR loss, the class's logit less the label's in relation to the spread of the four largest. With
            fewer than four classes, where this spread does not exist, it is the difference itself. `loss` is not used.
        targeted: Whether `label` is the class to reach.
        loss: What is maximised.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        generator: The source of random starts.
        chunk_size: Examples evaluated at once.

    Returns:
        Perturbed inputs, as `x`: the best on the way. Examples that are fooled are left alone by later starts.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If the loss is not finite, or there is no way for its gradient.

    Example:
        >>> model, x = torch.nn.Linear(4, 3), torch.zeros(5, 4)
        >>> af.robust.apgd(model, x, label=1, radius=0.1, n_steps=10).abs().max() <= 0.1001
        tensor(True)

    Reference:
        Croce, Hein: Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks,
        ICML 2020, https://arxiv.org/abs/2003.01690; Croce, Hein: Mind the box: l1-APGD for sparse adversarial attacks
        on image classifiers, ICML 2021, https://arxiv.org/abs/2103.01208.
    """
    victim = open_victim(model, x, label, targeted=targeted, args=args, kwargs=kwargs, chunk_size=chunk_size)
    ball = ball_around(victim.x, norm, finite(radius), bounds)
    rising, aims = loss_of(loss, victim), [victim.labels]
    if n_target_classes is not None:
        if targeted:
            fix = "Drop n_target_classes."
            raise ArgumentError("n_target_classes", repr(n_target_classes), "None for a targeted attack", fix)
        rising = aimed_dlr if victim.classes > 3 else aimed_difference
        aims = most_likely(victim, positive("n_target_classes", n_target_classes))
    steps, starts = positive("n_steps", n_steps), positive("n_restarts", n_restarts)
    climb = climbed_sparsely if norm == "l1" else climbed
    found, fooled = victim.x.clone(), victim.fooled(victim.logits(victim.x))
    for _ in range(starts):
        for aim in aims:
            start = ball.random(generator)
            left = (~fooled).nonzero().squeeze(1)
            if len(left):
                best = climb(victim.at(left), ball.at(left), rising, start[left], steps, aim[left])
                found[left], fooled[left] = best.x, best.fooled
    return found


def most_likely(victim: Victim, count: int) -> list[Tensor]:
    """So many of the most likely classes beside the label, each `(B,)`."""
    logits = victim.logits(victim.x).scatter(1, victim.labels[:, None], -torch.inf)
    return list(logits.topk(min(count, victim.classes - 1), dim=1).indices.T)


def climbed(victim: Victim, ball: Ball, loss: Loss, start: Tensor, n_steps: int, aims: Tensor) -> Best:
    """The best of one run from a start."""
    checkpoints = _checkpoints(n_steps)
    length = 2 * ball.radius
    logits, value, slope = victim.gradient(start, loss, aims)
    best, point, before, previous = Best(start), start, start, value
    top, top_x, top_slope = value, start, slope  # the largest loss, whether it fools or not
    best.take(start, value, victim.fooled(logits))
    rises, since, halved = torch.zeros_like(value), 0, torch.ones_like(value, dtype=torch.bool)
    top_then = value
    for step in range(1, n_steps + 1):
        ahead = ball.project(point + like_rows(length, point) * ball.steepest(slope))
        if step > 1:
            ahead = ball.project(point + MOMENTUM * (ahead - point) + (1 - MOMENTUM) * (point - before))
        before, point = point, ahead
        logits, value, slope = victim.gradient(point, loss, aims)
        best.take(point, value, victim.fooled(logits))
        higher = value > top
        top, top_x = torch.where(higher, value, top), torch.where(like_rows(higher, point), point, top_x)
        top_slope = torch.where(like_rows(higher, slope), slope, top_slope)
        rises, previous, since = rises + (value > previous), value, since + 1
        if step in checkpoints:
            stuck = (rises < RISES * since) | (~halved & (top == top_then))
            length = torch.where(stuck, length / 2, length)
            point = torch.where(like_rows(stuck, point), top_x, point)
            before = torch.where(like_rows(stuck, point), top_x, before)
            slope = torch.where(like_rows(stuck, slope), top_slope, slope)
            rises, since, halved, top_then = torch.zeros_like(rises), 0, stuck, top
    return best


def _checkpoints(n_steps: int) -> set[int]:
    """The steps at which progress is looked at: closer and closer to each other."""
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    return {math.ceil(share * n_steps) for share in shares[1:]}
