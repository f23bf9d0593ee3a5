"""AutoAttack (Croce and Hein 2020): the standard four, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, positive
from attrfunc.core.score.views import Model
from attrfunc.core.trees import map_rows
from attrfunc.robust.apgd import apgd
from attrfunc.robust.ball import ball_around
from attrfunc.robust.fab import fab
from attrfunc.robust.numbers import finite
from attrfunc.robust.square import square
from attrfunc.robust.victim import attack, open_victim

__all__ = ["auto_attack"]


@attack
def auto_attack(
    model: Model,
    x: Tensor,
    *,
    label: Any,
    radius: Any,
    norm: str = "linf",
    bounds: Any = None,
    n_steps: int = 100,
    n_queries: int = 5000,
    targeted: bool = False,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Tensor:
    """APGD with the cross-entropy, APGD and FAB with target classes, and the square attack, on what is left each time.

    Args:
        model: A module, or any callable, with logits `(B, C)`.
        x: The inputs `(B, *S)`; this and others are documented in `attrfunc.robust.victim`.
        label: Their classes.
        radius: How far to go.
        norm: `"linf"`, `"l2"` or `"l1"`.
        bounds: The least and the largest value.
        n_steps: Steps of the three attacks with gradients.
        n_queries: Queries of the square attack.
        targeted: Refused: the attack chooses its classes itself.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        generator: The source of randomness.
        chunk_size: Examples evaluated at once.

    Returns:
        Perturbed inputs, as `x`; `x` itself where no attack succeeds, and where the model is wrong by itself.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If a logit is not finite, or there is no way for its gradient.

    Example:
        >>> model, x = torch.nn.Linear(4, 3), torch.randn(5, 4)
        >>> found = af.robust.auto_attack(model, x, label=1, radius=0.1, n_steps=5, n_queries=10)
        >>> (found - x).abs().max() <= 0.1001
        tensor(True)

    Reference:
        Croce, Hein: Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks,
        ICML 2020, https://arxiv.org/abs/2003.01690.
    """
    if targeted:
        raise ArgumentError("targeted", "True", "False", "Take apgd(targeted=True).")
    positive("n_queries", n_queries)
    victim = open_victim(model, x, label, args=args, kwargs=kwargs, chunk_size=chunk_size)
    ball, rows = ball_around(victim.x, norm, finite(radius), bounds), len(victim.x)
    found, fooled = victim.x.clone(), victim.fooled(victim.logits(victim.x))
    stages: list[Any] = [
        (apgd, {"n_steps": n_steps}),
        (apgd, {"n_steps": n_steps, "n_target_classes": 9}),
        (fab, {"n_steps": n_steps}),
        (square, {"n_queries": n_queries}),
    ]
    for stage, options in stages:
        left = (~fooled).nonzero().squeeze(1)
        if not len(left):
            break
        part = ball.at(left)
        follow = lambda leaf, left=left: leaf[left.to(leaf.device)]  # noqa: E731
        perturbed = stage(
            model,
            part.x,
            label=victim.labels[left],
            radius=part.radius,
            norm=norm,
            bounds=(part.low, part.high),
            args=map_rows(follow, tuple(args), rows),
            kwargs=map_rows(follow, dict(kwargs or {}), rows),
            generator=generator,
            chunk_size=chunk_size,
            **options,
        )
        some = victim.at(left)
        hit = some.fooled(some.logits(perturbed))
        found[left[hit]], fooled[left[hit]] = perturbed[hit], True
    return found
