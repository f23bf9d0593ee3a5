"""The set that an attack searches: all within a radius, and within bounds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.score.baseline import fitted

__all__ = ["Ball", "ball_around", "drawn", "like_rows", "norms"]

NORMS = ("linf", "l2", "l1")


@dataclass(frozen=True)
class Ball:
    """All inputs that an attack may give.

    Attributes:
        x: The centres `(B, *S)`.
        norm: `"linf"`, `"l2"` or `"l1"`.
        radius: `(B,)`; infinity for any distance.
        low: The least values, which broadcast to `x`.
        high: The largest.
    """

    x: Tensor
    norm: str
    radius: Tensor
    low: Tensor
    high: Tensor

    def at(self, rows: Tensor) -> Ball:
        """The same for some of the examples."""
        low, high = (end[rows] if end.shape[0] == len(self.x) else end for end in (self.low, self.high))
        return replace(self, x=self.x[rows], radius=self.radius[rows], low=low, high=high)

    def project(self, point: Tensor) -> Tensor:
        """The nearest input of the ball (in L2 with bounds: one that is no farther from the centre)."""
        if self.norm == "l1":
            return self._nearest_in_l1(point)
        radius = like_rows(self.radius, point)
        if self.norm == "linf":
            point = torch.minimum(torch.maximum(point, self.x - radius), self.x + radius)
        else:
            change = point - self.x
            size = like_rows(norms(change, "l2"), point)
            point = torch.where(size > radius, self.x + change * (radius / size.clamp(min=1e-30)), point)
        return self.clipped(point)

    def clipped(self, point: Tensor) -> Tensor:
        """The nearest input within the bounds."""
        return torch.minimum(torch.maximum(point, self.low), self.high)

    def _nearest_in_l1(self, point: Tensor) -> Tensor:
        """All elements move back by the same amount, as far as to their centre, those beyond a bound from there on."""
        rows = len(point)
        if not rows:
            return point
        change = (point - self.x).reshape(rows, point.shape[1:].numel()).double()
        most = (self.clipped(point) - self.x).reshape(change.shape).double().abs()
        size = change.abs()
        most = torch.minimum(most, size)
        # The sum of all sizes falls linearly between the amounts at which an element leaves its bound or arrives.
        steps = torch.cat([size - most, size], dim=1)
        turns = torch.cat([torch.ones_like(size), -torch.ones_like(size)], dim=1)
        steps, order = steps.sort(dim=1)
        moving = turns.gather(1, order).cumsum(1)
        fallen = (moving[:, :-1] * steps.diff(dim=1)).cumsum(1)
        # Up to the first of them, nothing moves.
        left = torch.cat([most.sum(1, keepdim=True), most.sum(1, keepdim=True) - fallen], dim=1)
        radius = self.radius.double()[:, None]
        place = ((left > radius).sum(1, keepdim=True) - 1).clamp(min=0)
        over = (left.gather(1, place) - radius).clamp(min=0)
        amount = steps.gather(1, place) + over / moving.gather(1, place).clamp(min=1)
        amount = torch.where(left[:, :1] > radius, amount, 0.0)
        lengths = torch.minimum((size - amount).clamp(min=0), most)
        return self.clipped(self.x + (lengths * change.sign()).to(point.dtype).view(point.shape))

    def ahead(self, point: Tensor, slope: Tensor, length: Tensor) -> Tensor:
        """The input behind a step of a length `(B,)` along which a function with this gradient rises most.

        In L1 the elements with the largest slopes go first, each as far as its bound.
        """
        if self.norm != "l1":
            return self.project(point + like_rows(length, point) * self.steepest(slope))
        rows = len(point)
        length = length[:, None]
        flat = slope.reshape(rows, point.shape[1:].numel())
        room = torch.where(slope > 0, self.high - point, point - self.low).reshape(flat.shape).clamp(min=0)
        room = torch.where(flat == 0, 0.0, torch.minimum(room, length))
        order = flat.abs().argsort(dim=1, descending=True, stable=True)
        room = room.gather(1, order)
        taken = torch.minimum((length - (room.cumsum(1) - room)).clamp(min=0), room)
        step = torch.zeros_like(flat).scatter(1, order, taken) * flat.sign()
        return self.project(point + step.view(point.shape))

    def steepest(self, slope: Tensor) -> Tensor:
        """The direction of norm 1 in which a function with this gradient rises most; 0 where it is 0."""
        if self.norm == "linf":
            return slope.sign()
        # Two steps: the square of a small gradient is 0 in single precision.
        slope = slope / like_rows(norms(slope, "linf"), slope).clamp(min=torch.finfo(slope.dtype).tiny)
        return slope / like_rows(norms(slope, "l2"), slope).clamp(min=1e-30)

    def random(self, generator: torch.Generator | None) -> Tensor:
        """A random input of each ball, uniform before it is clipped to the bounds."""
        if self.norm == "linf":
            change = 2 * drawn(torch.rand, self.x, generator) - 1
        elif self.norm == "l1":
            # Spacings of n + 1 exponential numbers are uniform in the simplex.
            sizes = -(1 - drawn(torch.rand, self.x, generator)).log()
            rest = -(1 - drawn(torch.rand, self.radius, generator)).log()
            signs = torch.where(drawn(torch.rand, self.x, generator) < 0.5, -1.0, 1.0).to(self.x)
            change = signs * sizes / like_rows((norms(sizes, "l1") + rest).clamp(min=1e-30), sizes)
        else:
            change = drawn(torch.randn, self.x, generator)
            share = drawn(torch.rand, self.radius, generator) ** (1 / max(self.x.shape[1:].numel(), 1))
            change = change * like_rows(share / norms(change, "l2").clamp(min=1e-30), change)
        return self.project(self.x + change * like_rows(self.radius, change))

    def distances(self, point: Tensor) -> Tensor:
        """How far inputs are from the centres, `(B,)`."""
        return norms(point - self.x, self.norm)


def norms(change: Tensor, norm: str) -> Tensor:
    """Norms `(B,)` of changes `(B, *S)`."""
    flat = change.reshape(len(change), change.shape[1:].numel())
    if not flat.numel():
        return flat.new_zeros(len(flat))
    return flat.abs().amax(1) if norm == "linf" else flat.norm(p=1.0 if norm == "l1" else 2.0, dim=1)


def like_rows(values: Tensor, like: Tensor) -> Tensor:
    """Numbers `(B,)` with as many dimensions as a tensor `(B, *S)`."""
    return values.view(-1, *[1] * (like.dim() - 1))


def drawn(draw: Callable[..., Tensor], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Random numbers of a tensor's shape, the same in every precision and on every device."""
    if generator is not None and not isinstance(generator, torch.Generator):
        fix = "Pass torch.Generator().manual_seed(0)."
        raise ArgumentError("generator", describe(generator), "a torch.Generator or None", fix)
    source = like.device if generator is None else generator.device
    return draw(like.shape, generator=generator, device=source, dtype=torch.float32).to(like)


def ball_around(x: Tensor, norm: str, radius: Any, bounds: Any) -> Ball:
    """The ball that arguments of an attack describe.

    Args:
        x: The centres.
        norm: `"linf"`, `"l2"` or `"l1"`.
        radius: A number, one for each example, or None.
        bounds: `(low, high)`, or None.

    Raises:
        ArgumentError: If one of them cannot be right.
    """
    if norm not in NORMS:
        raise ArgumentError("norm", repr(norm), f"one of {', '.join(NORMS)}", "Pass norm='linf', say.")
    if not bool(x.isfinite().all()):
        raise ArgumentError("x", "numbers that are NaN or infinite", "finite numbers", "Mend the data.")
    return Ball(x, norm, _radius(radius, x), *_bounds(bounds, x))


def _radius(radius: Any, x: Tensor) -> Tensor:
    if radius is None:
        return torch.full((len(x),), math.inf, dtype=x.dtype, device=x.device)
    if isinstance(radius, Real) and not isinstance(radius, bool):
        given = torch.full((len(x),), float(radius), dtype=x.dtype, device=x.device)
    elif isinstance(radius, Tensor) and radius.shape in ((), (len(x),)):
        given = radius.detach().to(x.device, x.dtype).expand(len(x))
    else:
        fix = "Pass radius=8 / 255, say."
        raise ArgumentError("radius", describe(radius), f"a number, or a tensor of shape ({len(x)},)", fix)
    if not bool((given >= 0).all()):
        got = describe(radius) if not isinstance(radius, Tensor) else f"{float(given.min())} for an example"
        raise ArgumentError("radius", got, "a distance of at least 0", "Pass radius=8 / 255, say.")
    return given


def _as_tensor(end: Any, x: Tensor) -> Tensor:
    return torch.as_tensor(fitted("bounds", end, x), dtype=x.dtype, device=x.device)


def _bounds(bounds: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    if bounds is None:
        bounds = (-math.inf, math.inf)
    if not isinstance(bounds, tuple | list) or len(bounds) != 2:
        raise ArgumentError("bounds", describe(bounds), "a pair (low, high), or None", "Pass bounds=(0, 1), say.")
    ends: list[Tensor] = []
    for end in bounds:
        right = isinstance(end, Real | Tensor) and not isinstance(end, bool)
        value = _as_tensor(end, x) if right else None
        try:
            fits = value is not None and torch.broadcast_shapes(value.shape, x.shape) == x.shape
        except RuntimeError:
            fits = False
        if value is None or not fits:
            fix = "Pass numbers, or a tensor (1, *S) or (B, *S) for each end."
            raise ArgumentError("bounds", describe(end), f"what broadcasts to the input's shape {tuple(x.shape)}", fix)
        ends.append(value.view(*[1] * (x.dim() - value.dim()), *value.shape))
    low, high = ends
    outside = (x < low) | (x > high)
    if bool(outside.any()):
        first = float(x[outside][0])
        fix = "Bounds are in units of the input: those of x.min() and x.max() over the data, after normalisation."
        raise ArgumentError("bounds", f"{describe(bounds)}, which exclude {first:g}", "bounds that hold all of x", fix)
    return low, high
