"""The fast adaptive boundary attack (Croce and Hein 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, positive
from attrfunc.core.score.views import Model
from attrfunc.robust.apgd import most_likely
from attrfunc.robust.ball import Ball, ball_around, like_rows, norms
from attrfunc.robust.best import Nearest
from attrfunc.robust.hyperplane import step_to_plane
from attrfunc.robust.losses import aimed_difference
from attrfunc.robust.victim import Victim, attack, open_victim

__all__ = ["fab"]

# How far beyond the boundary to step, how much of the way from the original counts at most, how far to go back.
BEYOND, MOST, BACK = 1.05, 0.1, 0.9


@attack
def fab(
    model: Model,
    x: Tensor,
    *,
    label: Any,
    radius: Any = None,
    norm: str = "linf",
    bounds: Any = None,
    n_steps: int = 100,
    n_restarts: int = 1,
    n_target_classes: int = 9,
    targeted: bool = False,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Tensor:
    """The nearest input of another class, by steps onto the boundary as the gradient places it (FAB-T).

    For one of the most likely other classes after the other: the decision boundary is taken for a hyperplane, onto
    which both the current point and the original are projected, within the bounds; the next point lies between the two.

    Args:
        model: A module, or any callable, with logits `(B, C)`.
        x: The inputs `(B, *S)`; this and others are documented in `attrfunc.robust.victim`.
        label: Their classes.
        radius: How far to go; what is found farther away is moved onto the ball.
        norm: `"linf"`, `"l2"` or `"l1"`.
        bounds: The least and the largest value.
        n_steps: How many gradients are taken for each class and start.
        n_restarts: How many starts; the first is at `x`, others at random around it.
        n_target_classes: How many classes.
        targeted: Refused: the attack chooses its classes itself.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        generator: The source of random starts.
        chunk_size: Examples evaluated at once.

    Returns:
        Perturbed inputs, as `x`; `x` itself where nothing was found, and where the model is wrong by itself. For a
        linear model of two classes the distance is exact: `|f| / ||w||` in the dual norm.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If a logit is not finite, or there is no way for its gradient.

    Example:
        >>> model, x = torch.nn.Linear(4, 2), torch.randn(5, 4)
        >>> label = model(x).argmax(1)
        >>> found = af.robust.fab(model, x, label=label, norm="l2", n_steps=10)
        >>> (model(found).argmax(1) != label).all()
        tensor(True)

    Reference:
        Croce, Hein: Minimally distorted Adversarial Examples with a Fast Adaptive Boundary Attack, ICML 2020,
        https://arxiv.org/abs/1907.02044.
    """
    if targeted:
        raise ArgumentError("targeted", "True", "False", "Take pgd(targeted=True).")
    victim = open_victim(model, x, label, args=args, kwargs=kwargs, chunk_size=chunk_size)
    ball, nearest = ball_around(victim.x, norm, radius, bounds), Nearest(ball_around(victim.x, norm, radius, bounds))
    steps, starts = positive("n_steps", n_steps), positive("n_restarts", n_restarts)
    nearest.take(victim.x, victim.fooled(victim.logits(victim.x)))
    for start in range(starts):
        for aims in most_likely(victim, positive("n_target_classes", n_target_classes)):
            point = victim.x if start == 0 else _around(ball, nearest, generator)
            _walk(victim, ball, nearest, point, aims, steps)
    return nearest.refined(victim)


def _walk(victim: Victim, ball: Ball, nearest: Nearest, point: Tensor, aims: Tensor, steps: int) -> None:
    """Look for nearer inputs from a start, in the direction of these classes."""
    _, value, slope = victim.gradient(point, aimed_difference, aims)
    for _ in range(steps):
        # Both onto {z: value + slope (z - point) = 0}.
        way = step_to_plane(ball, point, slope, -value)
        offset = (slope * (ball.x - point)).flatten(1).sum(1)
        own = step_to_plane(ball, ball.x, slope, -(value + offset))
        here, there = norms(way, ball.norm), norms(own, ball.norm)
        share = like_rows((here / (here + there).clamp(min=1e-30)).clamp(max=MOST), point)
        ahead = (1 - share) * (point + BEYOND * way) + share * (ball.x + BEYOND * own)
        point = ball.clipped(ahead)
        fooled = victim.fooled(victim.logits(point))
        nearest.take(point, fooled)
        back = ball.clipped(ball.x + BACK * (point - ball.x))
        point = torch.where(like_rows(fooled, point), back, point)
        logits, value, slope = victim.gradient(point, aimed_difference, aims)
        nearest.take(point, victim.fooled(logits))


def _around(ball: Ball, nearest: Nearest, generator: torch.Generator | None) -> Tensor:
    """Random inputs, half as far from the originals as what was found, or as the radius."""
    limit = torch.minimum(ball.radius, nearest.distance) / 2
    wide = Ball(ball.x, ball.norm, torch.where(limit.isfinite(), limit, 0.5), ball.low, ball.high)
    return wide.random(generator)
