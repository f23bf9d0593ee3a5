"""The best input that an attack has seen, for each example."""

from __future__ import annotations

import torch
from torch import Tensor

from attrfunc.robust.ball import Ball, like_rows
from attrfunc.robust.victim import Victim

__all__ = ["Best", "Nearest"]


class Best:
    """Keeps the input with the largest loss; one that fools the model comes before one that does not.

    Args:
        x: Where to begin.

    Attributes:
        x: The inputs.
        fooled: Which of them fool the model.
    """

    def __init__(self, x: Tensor) -> None:
        self.x = x.clone()
        self.fooled = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        self._value = torch.full((len(x),), -torch.inf, dtype=x.dtype, device=x.device)

    def take(self, x: Tensor, value: Tensor, fooled: Tensor) -> Tensor:
        """Look at other inputs; says where they are better."""
        value = value.to(self._value.dtype)
        better = (fooled & ~self.fooled) | ((fooled == self.fooled) & (value > self._value))
        self.x = x if bool(better.all()) else torch.where(like_rows(better, x), x, self.x)
        self._value = torch.where(better, value, self._value)
        self.fooled = self.fooled | fooled
        return better


class Nearest:
    """Keeps the input that fools the model and is nearest to the original; the original where there is none.

    Args:
        ball: The ball around the originals.

    Attributes:
        x: The inputs.
        distance: How far they are; infinity where there is none.
    """

    def __init__(self, ball: Ball) -> None:
        self._ball, self.x = ball, ball.x.clone()
        self.distance = torch.full_like(ball.radius, torch.inf)

    def take(self, x: Tensor, fooled: Tensor) -> Tensor:
        """Look at other inputs; says where they are nearer."""
        distance = self._ball.distances(x)
        nearer = fooled & (distance < self.distance)
        self.x = torch.where(like_rows(nearer, x), x, self.x)
        self.distance = torch.where(nearer, distance, self.distance)
        return nearer

    def refined(self, victim: Victim, steps: int = 12) -> Tensor:
        """The same, moved towards the originals as far as they still fool the model, and into the ball."""
        found = self.distance.isfinite() & (self.distance > 0)
        low, high = torch.zeros_like(self.distance), torch.ones_like(self.distance)
        for _ in range(steps if bool(found.any()) else 0):
            middle = (low + high) / 2
            x = self._ball.x + (self.x - self._ball.x) * like_rows(middle, self.x)
            fooled = victim.fooled(victim.logits(x))
            low, high = torch.where(fooled, low, middle), torch.where(fooled, middle, high)
        moved = self._ball.x + (self.x - self._ball.x) * like_rows(high, self.x)
        return self._ball.project(torch.where(like_rows(found & (high < 1), moved), moved, self.x))
