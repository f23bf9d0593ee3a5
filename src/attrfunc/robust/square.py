"""The square attack (Andriushchenko et al. 2020), which takes no gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import positive
from attrfunc.core.score.views import Model
from attrfunc.robust.ball import Ball, ball_around, drawn, like_rows, norms
from attrfunc.robust.best import Best
from attrfunc.robust.losses import margins
from attrfunc.robust.numbers import finite, number
from attrfunc.robust.victim import attack, open_victim

__all__ = ["square"]

# Of 10,000 queries, those behind which the squares' area is halved.
HALVED = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


@attack
def square(
    model: Model,
    x: Tensor,
    *,
    label: Any,
    radius: Any,
    norm: str = "linf",
    bounds: Any = None,
    n_queries: int = 5000,
    initial_share: float = 0.8,
    targeted: bool = False,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Tensor:
    """Random search: squares at random places, kept where the margin rises. No gradient is taken.

    In the largest change each square has one sign for each channel; in L2 and L1, what a window has is given to another
    one.
    The squares become smaller. Inputs that are not images are taken for images of one row (without a channel dimension,
    of one channel), so that squares are windows of a sequence.

    Args:
        model: A module, or any callable, with logits `(B, C)`; one without gradients, too.
        x: The inputs `(B, *S)`; this and others are documented in `attrfunc.robust.victim`.
        label: Their classes.
        radius: How far to go.
        norm: `"linf"`, `"l2"` or `"l1"`.
        bounds: The least and the largest value.
        n_queries: How often the model is asked, for each example that is not fooled yet.
        initial_share: The first squares' share of an image.
        targeted: Whether `label` is the class to reach.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        generator: The source of randomness.
        chunk_size: Examples evaluated at once.

    Returns:
        Perturbed inputs, as `x`. Each example's do not depend on which others are fooled.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If a logit is not finite.

    Example:
        >>> model, x = torch.nn.Linear(6, 3), torch.zeros(5, 6)
        >>> label = model(x).argmax(1)
        >>> af.robust.square(model, x, label=label, radius=0.1, n_queries=20).abs().max()
        tensor(0.1000)

    Reference:
        Andriushchenko, Croce, Flammarion, Hein: Square Attack: a query-efficient black-box adversarial attack via
        random search, ECCV 2020, https://arxiv.org/abs/1912.00049.
    """
    victim = open_victim(model, x, label, targeted=targeted, args=args, kwargs=kwargs, chunk_size=chunk_size)
    ball, queries = ball_around(victim.x, norm, finite(radius), bounds), positive("n_queries", n_queries)
    share, form = number("initial_share", initial_share, 0, 1), _Form(victim.x)
    first = form.stripes(generator) if norm == "linf" else form.tiles(generator)
    wrong = victim.fooled(victim.logits(victim.x))
    start = torch.where(like_rows(wrong, victim.x), victim.x, _scaled(ball, first.view(victim.x.shape)))
    best, logits = Best(start), victim.logits(start)
    best.take(start, margins(victim, logits), victim.fooled(logits))
    for query in range(1, queries):
        side = form.side(share / 2 ** sum(10_000 * query // queries > limit for limit in HALVED))
        moves = form.signs(side, generator) if norm == "linf" else form.moves(side, generator)
        left = (~best.fooled).nonzero().squeeze(1)
        if not len(left):
            break
        some, part = victim.at(left), ball.at(left)
        change, mine = form.like(best.x[left] - part.x), [move[left] for move in moves]
        if norm == "linf":
            moved = torch.where(mine[0], mine[1] * like_rows(part.radius, change), change)
        else:
            moved = form.exchanged(change, mine, part.radius, 2 if norm == "l2" else 1)
        ahead = _scaled(part, moved.view(part.x.shape))
        logits = some.logits(ahead)
        _spread(best, left, ahead, margins(some, logits), some.fooled(logits))
    return best.x


def _spread(best: Best, left: Tensor, ahead: Tensor, value: Tensor, fooled: Tensor) -> None:
    """Take what some of the examples have come to."""
    whole, values, hits = (
        best.x.clone(),
        torch.full_like(best.fooled, -torch.inf, dtype=value.dtype),
        best.fooled.clone(),
    )
    whole[left], values[left], hits[left] = ahead, value, fooled
    best.take(whole, values, hits)


def _scaled(ball: Ball, change: Tensor) -> Tensor:
    """The original with a change that is as large as the radius allows."""
    size = like_rows(norms(change, ball.norm).clamp(min=1e-30), change)
    return ball.project(ball.x + change / size * like_rows(ball.radius, change))


class _Form:
    """Inputs as images `(B, C, H, W)`, and random changes of these."""

    def __init__(self, x: Tensor) -> None:
        self._x = x
        rows, shape = len(x), x.shape[1:]
        if len(shape) < 2:
            self._shape = (rows, 1, 1, shape.numel())
        elif len(shape) == 2:
            self._shape = (rows, shape[0], 1, shape[1])
        else:
            self._shape = (rows, shape[0], shape[1:-1].numel(), shape[-1])

    def like(self, change: Tensor) -> Tensor:
        """Changes of some of the inputs as changes of images."""
        return change.reshape(len(change), *self._shape[1:])

    def side(self, share: float) -> tuple[int, int]:
        """Height and width of a square of this share of an image."""
        _, _, height, width = self._shape
        if height == 1:
            return 1, min(width, max(1, round(share * width)))
        side = max(1, round((share * height * width) ** 0.5))
        return min(side, height), min(side, width)

    def stripes(self, generator: torch.Generator | None) -> Tensor:
        """A sign for each column and channel."""
        rows, channels, _, width = self._shape
        return self._signs((rows, channels, 1, width), generator).expand(self._shape)

    def tiles(self, generator: torch.Generator | None) -> Tensor:
        """Bumps of random signs side by side, five in a row."""
        rows, channels, height, width = self._shape
        tall, wide = max(1, height // 5), max(1, width // 5)
        down, across = -(-height // tall), -(-width // wide)
        signs = self._signs((rows, channels, down, across), generator)
        bump = _bump(tall, wide).to(self._x)
        tiled = signs.repeat_interleave(tall, 2).repeat_interleave(wide, 3) * bump.repeat(down, across)
        return tiled[:, :, :height, :width]

    def signs(self, side: tuple[int, int], generator: torch.Generator | None) -> list[Tensor]:
        """Squares at random places, and a sign for each of their channels."""
        rows, channels, _, _ = self._shape
        return [self._window(side, generator)[0], self._signs((rows, channels, 1, 1), generator)]

    def moves(self, side: tuple[int, int], generator: torch.Generator | None) -> list[Tensor]:
        """Two windows at random places, and what the first is to gain: a bump beside its negative."""
        rows, channels, height, width = self._shape
        one, corner = self._window(side, generator)
        other, _ = self._window(side, generator)
        tall, wide = side
        flat = _pair(tall, wide)
        turned = _pair(wide, tall).T
        upright = drawn(torch.rand, self._x.new_zeros(rows), generator) < 0.5
        bumps = torch.where(upright[:, None, None], flat.to(self._x), turned.to(self._x))
        signs = self._signs((rows, channels, 1, 1), generator)
        gain = self._x.new_zeros(rows, 1, height, width)
        places = self._places(corner, side)
        gain[torch.arange(rows)[:, None, None], 0, places[0], places[1]] = bumps
        return [one, other, gain * signs]

    def exchanged(self, change: Tensor, moves: list[Tensor], radius: Tensor, order: int) -> Tensor:
        """A change whose first window has what both windows have, and what the ball of the norm p = `order` leaves."""
        one, other, gain = moves

        def size(leaf: Tensor, dims: tuple[int, ...] = (2, 3)) -> Tensor:
            return leaf.abs().pow(order).sum(dims, keepdim=True).pow(1 / order)

        whole, both = size(change, (1, 2, 3)), size(torch.where(one | other, change, 0.0))
        inside = torch.where(one, change, 0.0)
        gained = inside / size(inside).clamp(min=1e-12) + gain
        gained = gained / size(gained).clamp(min=1e-12)
        room = (like_rows(radius, change).pow(order) - whole.pow(order)).clamp(min=0) / change.shape[1]
        moved = torch.where(other, 0.0, change)
        return torch.where(one, gained * (both.pow(order) + room).pow(1 / order), moved)

    def _window(self, side: tuple[int, int], generator: torch.Generator | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        rows, _, height, width = self._shape
        place = drawn(torch.rand, self._x.new_zeros(2, rows), generator)
        top = (place[0] * (height - side[0] + 1)).long().clamp(max=height - side[0])
        left = (place[1] * (width - side[1] + 1)).long().clamp(max=width - side[1])
        mask = torch.zeros(rows, 1, height, width, dtype=torch.bool, device=self._x.device)
        places = self._places((top, left), side)
        mask[torch.arange(rows)[:, None, None], 0, places[0], places[1]] = True
        return mask, (top, left)

    @staticmethod
    def _places(corner: tuple[Tensor, Tensor], side: tuple[int, int]) -> tuple[Tensor, Tensor]:
        device = corner[0].device
        down = corner[0][:, None, None] + torch.arange(side[0], device=device)[None, :, None]
        across = corner[1][:, None, None] + torch.arange(side[1], device=device)[None, None, :]
        return down, across

    def _signs(self, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
        return torch.where(drawn(torch.rand, self._x.new_zeros(shape), generator) < 0.5, -1.0, 1.0).to(self._x)


def _bump(height: int, width: int) -> Tensor:
    """Numbers that fall from the middle to the edges, of norm 1: sums of 1 / (k + 1)^2 from the distance k on."""
    down = (torch.arange(height) - height // 2).abs()[:, None]
    across = (torch.arange(width) - width // 2).abs()[None]
    distance = torch.maximum(down, across)
    terms = 1 / torch.arange(1, int(distance.max()) + 2).double().square()
    bump = terms.flip(0).cumsum(0).flip(0)[distance]
    return bump / bump.norm()


def _pair(height: int, width: int) -> Tensor:
    """A bump above its negative, of norm 1; of a single row, side by side."""
    if height == 1 and width == 1:
        return torch.ones(1, 1).double()
    if height == 1:
        return _pair(width, 1).T
    top = height // 2
    pair = torch.cat([_bump(top, width), -_bump(height - top, width)])
    return pair / pair.norm()
