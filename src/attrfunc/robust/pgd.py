"""Projected gradient descent (Madry et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import positive
from attrfunc.core.score.views import Model
from attrfunc.robust.ball import ball_around
from attrfunc.robust.best import Best
from attrfunc.robust.losses import loss_of, warn_of_flat
from attrfunc.robust.numbers import finite
from attrfunc.robust.victim import attack, open_victim

__all__ = ["pgd"]


@attack
def pgd(
    model: Model,
    x: Tensor,
    *,
    label: Any,
    radius: Any,
    norm: str = "linf",
    bounds: Any = None,
    n_steps: int = 40,
    step_size: float | None = None,
    n_restarts: int = 1,
    random_start: bool = True,
    targeted: bool = False,
    loss: Any = "cross_entropy",
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Tensor:
    """Steps in the direction in which the loss rises most, each followed by a projection onto the ball.

    Steps are of equal length in the norm of the ball: signs in the largest change, normalised gradients in L2, and in
    L1 the elements with the largest slopes, each as far as its bound (`apgd` chooses how many by itself). Of all points
    on the way the best is kept: one that fools the model before one that does not, then the larger loss.

    Args:
        model: A module, or any callable, with logits `(B, C)`.
        x: The inputs `(B, *S)`; this and others are documented in `attrfunc.robust.victim`.
        label: Their classes.
        radius: How far to go.
        norm: `"linf"`, `"l2"` or `"l1"`.
        bounds: The least and the largest value.
        n_steps: How many gradients are taken from each start.
        step_size: Length of a step; `None` is 2.5 radii divided by `n_steps`.
        n_restarts: How many starts.
        random_start: Start at random in the ball; `False` starts at `x` (so one start is enough).
        targeted: Whether `label` is the class to reach.
        loss: What is maximised.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        generator: The source of random starts.
        chunk_size: Examples evaluated at once.

    Returns:
        Perturbed inputs, as `x`.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If the loss is not finite, or there is no way for its gradient.

    Example:
        >>> model, x = torch.nn.Linear(4, 3), torch.zeros(5, 4)
        >>> found = af.robust.pgd(model, x, label=1, radius=0.5, norm="l2")
        >>> found.norm(dim=1).max() <= 0.5001
        tensor(True)

    Reference:
        Madry, Makelov, Schmidt, Tsipras, Vladu: Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR
        2018, https://arxiv.org/abs/1706.06083.
    """
    victim = open_victim(model, x, label, targeted=targeted, args=args, kwargs=kwargs, chunk_size=chunk_size)
    ball, rising = ball_around(victim.x, norm, finite(radius), bounds), loss_of(loss, victim)
    steps, starts = positive("n_steps", n_steps), positive("n_restarts", n_restarts)
    length = 2.5 * ball.radius / steps if step_size is None else finite(step_size, "step_size") + 0 * ball.radius
    best, unmoved = Best(victim.x), torch.zeros_like(victim.x)
    for _ in range(starts):
        point = ball.random(generator) if random_start else victim.x
        for _ in range(steps):
            logits, value, slope = victim.gradient(point, rising)
            best.take(point, value, victim.fooled(logits))
            unmoved = unmoved + slope.abs()
            point = ball.ahead(point, slope, length)
        logits = victim.logits(point)
        best.take(point, rising(logits, victim.labels, victim.labels), victim.fooled(logits))
    warn_of_flat(unmoved, best.fooled)
    return best.x
