"""The fast gradient sign method (Goodfellow et al. 2015)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.score.views import Model
from attrfunc.robust.ball import ball_around
from attrfunc.robust.losses import loss_of, warn_of_flat
from attrfunc.robust.victim import attack, open_victim

__all__ = ["fgsm"]


@attack
def fgsm(
    model: Model,
    x: Tensor,
    *,
    label: Any,
    radius: Any,
    norm: str = "linf",
    bounds: Any = None,
    targeted: bool = False,
    loss: Any = "cross_entropy",
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Tensor:
    """One step of the length of the radius, in the direction in which the loss rises most.

    `x + radius * sign(gradient)` in the largest change, `x + radius * gradient / ||gradient||` in L2; in L1 the
    elements with the largest slopes go as far as their bounds, until the radius is spent.

    Args:
        model: A module, or any callable, with logits `(B, C)`.
        x: The inputs `(B, *S)`; this and all below are documented in `attrfunc.robust.victim`.
        label: Their classes.
        radius: How far to go.
        norm: `"linf"`, `"l2"` or `"l1"`.
        bounds: The least and the largest value.
        targeted: Whether `label` is the class to reach.
        loss: What is maximised.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        generator: Not used: nothing is drawn. All attacks take it.
        chunk_size: Examples evaluated at once.

    Returns:
        Perturbed inputs, as `x`. For a linear loss there are none with a larger one in the ball.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If the loss is not finite, or there is no way for its gradient.

    Example:
        >>> model, x = torch.nn.Linear(4, 3), torch.zeros(5, 4)
        >>> af.robust.fgsm(model, x, label=1, radius=0.1).abs().max()
        tensor(0.1000)

    Reference:
        Goodfellow, Shlens, Szegedy: Explaining and Harnessing Adversarial Examples, ICLR 2015,
        https://arxiv.org/abs/1412.6572.
    """
    victim = open_victim(model, x, label, targeted=targeted, args=args, kwargs=kwargs, chunk_size=chunk_size)
    ball = ball_around(victim.x, norm, radius, bounds)
    logits, _, slope = victim.gradient(victim.x, loss_of(loss, victim))
    warn_of_flat(slope, victim.fooled(logits))
    return ball.ahead(victim.x, slope, ball.radius)
