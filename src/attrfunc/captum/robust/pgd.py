"""Projected gradient descent."""

from __future__ import annotations

from typing import Any

import torch

from attrfunc.captum.convert import captum_call
from attrfunc.captum.robust.perturbation import GradientAttack, as_masks, as_tuple, losses_and_gradients
from attrfunc.core.errors import ArgumentError, describe
from attrfunc.robust.ball import ball_around, like_rows

__all__ = ["PGD"]


class PGD(GradientAttack):
    """Steps along the loss's gradient, each followed by a projection; see `attrfunc.robust.pgd`.

    Args:
        forward_func: The model.
        loss_func: `(outputs, target)` gives a loss, of each example or of the batch.
        lower_bound: The least value of an element.
        upper_bound: The largest.
    """

    @captum_call
    def perturb(
        self,
        inputs: Any,
        radius: float,
        step_size: float,
        step_num: int,
        target: Any,
        additional_forward_args: Any = None,
        targeted: bool = False,
        random_start: bool = False,
        norm: str = "Linf",
        mask: Any = None,
    ) -> Any:
        """Perturb inputs.

        Args:
            inputs: A tensor, or a tuple of them.
            radius: How far to go, in each of several inputs.
            step_size: Length of a step.
            step_num: How many steps; none leaves the start.
            target: The right class, or that to reach; what `loss_func` takes.
            additional_forward_args: Further arguments of the model.
            targeted: Whether the loss is to fall.
            random_start: Whether to start at random in the ball.
            norm: `"Linf"` or `"L2"`.
            mask: 1 where inputs may be changed, 0 elsewhere.

        Returns:
            Perturbed inputs, as the inputs.
        """
        tensors = as_tuple(inputs)
        if norm not in ("Linf", "L2"):
            raise ArgumentError("norm", repr(norm), "'Linf' or 'L2'", "Pass norm='Linf'.")
        masks, sign = as_masks(mask, tensors), -1 if targeted else 1
        balls = [ball_around(leaf.detach(), norm.lower(), radius, None) for leaf in tensors]
        pairs = list(zip(balls, masks, strict=True))
        point = [ball.x + (ball.random(None) - ball.x) * m if random_start else ball.x for ball, m in pairs]
        point = [self.bound(leaf) for leaf in point]
        best, least = point, torch.full((len(tensors[0]),), -torch.inf, dtype=torch.float64)
        if isinstance(step_num, bool) or not isinstance(step_num, int) or step_num < 0:
            fix = "Pass 0 for the random start alone."
            raise ArgumentError("step_num", describe(step_num), "a whole number of at least 0", fix)
        for step in range(step_num + 1):
            loss, slopes, _ = losses_and_gradients(
                self.forward_func, tuple(point), target, additional_forward_args, self.loss_func
            )
            loss = sign * loss.double().cpu()
            higher = loss >= least
            least = torch.where(higher, loss, least)
            best = [
                torch.where(like_rows(higher.to(new.device), new), new, old)
                for new, old in zip(point, best, strict=True)
            ]
            if step < step_num:
                moves = zip(point, slopes, pairs, strict=True)
                point = [
                    self.bound(ball.project(leaf + sign * step_size * ball.steepest(slope) * m))
                    for leaf, slope, (ball, m) in moves
                ]
        return tuple(best) if isinstance(inputs, tuple) else best[0]
