"""DeepFool (Moosavi-Dezfooli et al. 2016)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, positive
from attrfunc.core.score.views import Model
from attrfunc.robust.apgd import most_likely
from attrfunc.robust.ball import ball_around, like_rows, norms
from attrfunc.robust.best import Nearest
from attrfunc.robust.hyperplane import step_to_plane
from attrfunc.robust.losses import aimed_difference
from attrfunc.robust.numbers import number
from attrfunc.robust.victim import attack, open_victim

__all__ = ["deepfool"]


@attack
def deepfool(
    model: Model,
    x: Tensor,
    *,
    label: Any,
    radius: Any = None,
    norm: str = "l2",
    bounds: Any = None,
    n_steps: int = 50,
    n_target_classes: int = 9,
    overshoot: float = 0.02,
    targeted: bool = False,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Tensor:
    """Steps onto the nearest boundary, as the gradients of all classes place it, until the class changes.

    Args:
        model: A module, or any callable, with logits `(B, C)`.
        x: The inputs `(B, *S)`; this and others are documented in `attrfunc.robust.victim`.
        label: Their classes.
        radius: How far to go; what is found farther away is moved onto the ball.
        norm: `"l2"`, `"linf"` or `"l1"`.
        bounds: The least and the largest value.
        n_steps: How many steps at most; each takes a gradient for each class.
        n_target_classes: How many of the most likely other classes are looked at.
        overshoot: How far beyond the boundary to go, as a share of the way. What is found is then moved back as far as
            it still has another class.
        targeted: Refused: the attack chooses its classes itself.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        generator: Not used: nothing is drawn. All attacks take it.
        chunk_size: Examples evaluated at once.

    Returns:
        Perturbed inputs, as `x`; `x` itself where nothing was found, and where the model is wrong by itself. What is
        given was seen to fool the model. For a linear model the distance is exact: the least `|f_k - f_y| / ||w_k -
        w_y||` in the dual norm.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If a logit is not finite, or there is no way for its gradient.

    Example:
        >>> model, x = torch.nn.Linear(4, 3), torch.randn(5, 4)
        >>> label = model(x).argmax(1)
        >>> (model(af.robust.deepfool(model, x, label=label)).argmax(1) != label).all()
        tensor(True)

    Reference:
        Moosavi-Dezfooli, Fawzi, Frossard: DeepFool: a simple and accurate method to fool deep neural networks, CVPR
        2016, https://arxiv.org/abs/1511.04599.
    """
    if targeted:
        raise ArgumentError("targeted", "True", "False", "Take pgd(targeted=True).")
    beyond = 1 + number("overshoot", overshoot, 0)
    victim = open_victim(model, x, label, args=args, kwargs=kwargs, chunk_size=chunk_size)
    ball = ball_around(victim.x, norm, radius, bounds)
    nearest, classes = Nearest(ball), most_likely(victim, positive("n_target_classes", n_target_classes))
    dual = {"l2": "l2", "linf": "l1", "l1": "linf"}[norm]
    way, done = torch.zeros_like(victim.x), torch.zeros(len(victim.x), dtype=torch.bool, device=victim.x.device)
    for step in range(positive("n_steps", n_steps) + 1):
        point = ball.clipped(victim.x + (beyond if step else 1) * way)
        fooled = victim.fooled(victim.logits(point))
        nearest.take(point, fooled)
        done = done | fooled
        if bool(done.all()) or step == n_steps:
            break
        inner = ball.clipped(victim.x + way)
        least = torch.full_like(ball.radius, torch.inf)
        chosen = torch.zeros_like(way)
        for aims in classes:
            _, value, slope = victim.gradient(inner, aimed_difference, aims)
            distance = value.abs() / norms(slope, dual).clamp(min=1e-30)
            nearer = distance < least
            least = torch.where(nearer, distance, least)
            ahead = step_to_plane(ball, inner, slope, (-value).clamp(min=0))
            chosen = torch.where(like_rows(nearer, chosen), ahead, chosen)
        # A step of no length, where rounding has the two classes equal, would never end.
        chosen = chosen * (1 + 1e-6 / like_rows(norms(chosen, "linf").clamp(min=1e-30), chosen))
        way = torch.where(like_rows(done, way), way, inner + chosen - victim.x)
    return nearest.refined(victim)
