"""Carlini and Wagner's attack (2017)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, positive
from attrfunc.core.score.views import Model
from attrfunc.robust.apgd import most_likely
from attrfunc.robust.ball import Ball, ball_around, like_rows
from attrfunc.robust.best import Nearest
from attrfunc.robust.losses import aimed_difference, margin, margins
from attrfunc.robust.numbers import finite, number
from attrfunc.robust.victim import Loss, Victim, attack, open_victim

__all__ = ["carlini_wagner"]


@attack
def carlini_wagner(
    model: Model,
    x: Tensor,
    *,
    label: Any,
    radius: Any = None,
    norm: str = "l2",
    bounds: Any = None,
    n_steps: int = 500,
    n_searches: int = 9,
    learning_rate: float = 0.01,
    initial_weight: float = 0.1,
    confidence: float = 0.0,
    n_target_classes: int | None = None,
    targeted: bool = False,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Tensor:
    """The nearest input of another class in L2, by Adam on `||d||^2 + c * max(margin + confidence, 0)`.

    The margin is the label's logit less the largest other one (the reverse, if targeted). The weight c is searched for
    each example: halved between bounds where the model is fooled, ten times as large where it never was. Finite bounds
    are kept by a change of variables, `low + (high - low) (tanh(w) + 1) / 2`.

    Args:
        model: A module, or any callable, with logits `(B, C)`.
        x: The inputs `(B, *S)`; this and others are documented in `attrfunc.robust.victim`.
        label: Their classes.
        radius: How far to go; what is found farther away is moved onto the ball.
        norm: `"l2"`.
        bounds: The least and the largest value, both finite or none.
        n_steps: Steps of Adam for each weight.
        n_searches: How many weights are tried.
        learning_rate: Of Adam.
        initial_weight: Where the search begins.
        confidence: By how much the margin is to be exceeded.
        n_target_classes: Go for so many of the most likely other classes, one after the other, and keep the nearest: as
            often as many evaluations. `None` goes for the largest other logit, which need not be the nearest class.
        targeted: Whether `label` is the class to reach.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        generator: Not used: nothing is drawn. All attacks take it.
        chunk_size: Examples evaluated at once.

    Returns:
        Perturbed inputs, as `x`; `x` itself where nothing was found. For a linear model the distance comes near the
        exact one, `|f| / ||w||`, from above.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If a logit is not finite, or there is no way for its gradient.

    Example:
        >>> model, x = torch.nn.Linear(4, 3), torch.randn(5, 4)
        >>> label = model(x).argmax(1)
        >>> found = af.robust.carlini_wagner(model, x, label=label, n_steps=50, learning_rate=0.05)
        >>> (model(found).argmax(1) != label).all()
        tensor(True)

    Reference:
        Carlini, Wagner: Towards Evaluating the Robustness of Neural Networks, 2017, https://arxiv.org/abs/1608.04644.
    """
    if norm != "l2":
        raise ArgumentError("norm", repr(norm), "'l2'", "Take fab or deepfool for 'linf'.")
    number("confidence", confidence, 0)
    finite(learning_rate, "learning_rate"), finite(initial_weight, "initial_weight")
    victim = open_victim(model, x, label, targeted=targeted, args=args, kwargs=kwargs, chunk_size=chunk_size)
    ball, box = ball_around(victim.x, norm, radius, bounds), _Box(ball_around(victim.x, norm, radius, bounds))
    nearest = Nearest(ball)
    nearest.take(victim.x, margins(victim, victim.logits(victim.x)) >= max(confidence, 1e-12))
    steps = positive("n_steps", n_steps)
    aims: list[Tensor | None] = [None]
    if n_target_classes is not None:
        if targeted:
            raise ArgumentError("n_target_classes", repr(n_target_classes), "None for a targeted attack", "Drop it.")
        aims = list(most_likely(victim, positive("n_target_classes", n_target_classes)))
    for aim in aims:
        weight = torch.full_like(ball.radius, initial_weight)
        low, high = torch.zeros_like(weight), torch.full_like(weight, torch.inf)
        for _ in range(positive("n_searches", n_searches)):
            fooled = _descend(victim, box, nearest, weight, aim, steps, learning_rate, confidence)
            low, high = torch.where(fooled, low, weight), torch.where(fooled, weight, high)
            weight = torch.where(high.isfinite(), (low + high) / 2, weight * 10)
    return nearest.refined(victim) if confidence == 0 else ball.project(nearest.x)


def _descend(
    victim: Victim,
    box: _Box,
    nearest: Nearest,
    weight: Tensor,
    aims: Tensor | None,
    steps: int,
    rate: float,
    confidence: float,
) -> Tensor:
    """Adam with these weights; says which examples were fooled on the way."""
    free = box.free(victim.x)
    first, second = torch.zeros_like(free), torch.zeros_like(free)
    fooled = torch.zeros_like(weight, dtype=torch.bool)
    short = _shortfall(victim.targeted, aims is not None, confidence)
    for step in range(1, steps + 1):
        point = box.inside(free)
        logits, _, slope = victim.gradient(point, short, aims)
        beyond = margins(victim, logits)
        hit = (beyond >= confidence) & (beyond > 0)
        fooled = fooled | hit
        nearest.take(point, hit)
        slope = (2 * (point - victim.x) + like_rows(weight, slope) * slope) * box.rate(free)
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope.square()
        change = (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
        free = free - rate * change
    return fooled


def _shortfall(targeted: bool, aimed: bool, confidence: float) -> Loss:
    """How much is missing until a model is fooled."""

    def loss(logits: Tensor, labels: Tensor, aims: Tensor) -> Tensor:
        found = (aimed_difference if aimed else margin)(logits, labels, aims)
        return (confidence - (-found if targeted else found)).clamp(min=0)

    return loss


class _Box:
    """The change of variables that keeps finite bounds; none without."""

    def __init__(self, ball: Ball) -> None:
        ends = torch.stack([ball.low.isfinite().all(), ball.high.isfinite().all()])
        if bool(ends.any()) != bool(ends.all()):
            fix = "Pass both, or None."
            raise ArgumentError("bounds", "one finite and one infinite end", "two finite ends, or none", fix)
        self._bounded, self._low, self._width = bool(ends.all()), ball.low, ball.high - ball.low

    def free(self, x: Tensor) -> Tensor:
        if not self._bounded:
            return x
        share = (x - self._low) / torch.where(self._width > 0, self._width, 1.0)
        return torch.atanh((2 * share - 1).clamp(-1 + 1e-6, 1 - 1e-6))

    def inside(self, free: Tensor) -> Tensor:
        return self._low + self._width * (free.tanh() + 1) / 2 if self._bounded else free

    def rate(self, free: Tensor) -> Tensor:
        return self._width / 2 * (1 - free.tanh().square()) if self._bounded else torch.ones_like(free)
