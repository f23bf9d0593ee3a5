"""What replaces features that are taken away.

This is where `imputer` is documented; `perturbation_curve` refers here.

imputer: `None` takes the baseline. Otherwise a callable that gets the point's structure once, for the whole batch, and
    returns `fill(rows, present)`: for a slice of the examples, and booleans `(K, rows, *S)` (nested as the point is)
    which say what stays, points `(K, rows, *S)`. `noisy_linear` makes one; a blurred image is

    `lambda x: lambda rows, present: torch.where(present, x[rows], blurred(x)[rows])`
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.loops.samples import Draws
from attrfunc.core.score.point import Point

__all__ = ["Imputer", "filling", "noisy_linear"]

Imputer = Callable[[Any], Callable[[slice, Any], Any]]

# The weights of a pixel's neighbours: 1/6 beside, 1/12 across.
_BESIDE, _ACROSS = 1 / 6, 1 / 12
# Where the error of the linear system is below this share of its right side.
_SMALL = 1e-6
_MOST_STEPS = 1000


def filling(imputer: Imputer, point: Point) -> Callable[[slice, list[Tensor]], list[Tensor]]:
    """How an imputer replaces features of a point."""
    if not callable(imputer):
        fix = "Pass af.metrics.noisy_linear(), say."
        raise ArgumentError("imputer", describe(imputer), "None, or a callable x -> fill(rows, present)", fix)
    fill = imputer(point.restored())

    def imputed(rows: slice, present: list[Tensor]) -> list[Tensor]:
        made = pytree.tree_leaves(fill(rows, point.restored(present)))
        expected = [tuple(mask.shape) for mask in present]
        shapes = [tuple(leaf.shape) if isinstance(leaf, Tensor) else leaf for leaf in made]
        if shapes != expected:
            fix = "Let fill return points of the shape of `present`."
            raise ArgumentError("imputer", f"points of shapes {shapes}", f"shapes {expected}", fix)
        return [leaf.to(like.dtype) for leaf, like in zip(made, point.leaves, strict=True)]

    return imputed


def noisy_linear(*, stdev: float = 0.01, generator: torch.Generator | None = None) -> Imputer:
    """An imputer of images: each pixel that is taken away becomes a mean of its neighbours, and a little noise.

    The neighbours beside a pixel weigh 1/6 each, those across 1/12; where they are taken away, too, all these means
    hold together, as a system of linear equations (solved by conjugate gradients). At the border, the weights are those
    of the neighbours that there are. What is taken away thus does not show by its shape, which a network could read.

    Args:
        stdev: Standard deviation of the noise.
        generator: The source of randomness; see `attrfunc.core.loops.samples`. Each image has one noise for all steps.

    Returns:
        What `imputer` takes, for images `(B, C, H, W)` of which whole pixels are taken away, with all their channels:
        `feature_mask` joins these. An image of which nothing is left becomes its mean.

    Raises:
        ArgumentError: If an argument cannot be right, or the channels of a pixel are not taken away together.

    Example:
        >>> x = torch.rand(2, 3, 8, 8)
        >>> pixels = torch.arange(64).view(1, 1, 8, 8)
        >>> model = lambda x: x.flatten(1).square().sum(1)
        >>> attributions = af.input_x_gradient(model, x)
        >>> af.metrics.perturbation_curve(
        ...     model, x, attributions, feature_mask=pixels, imputer=af.metrics.noisy_linear(), n_steps=4
        ... ).shape
        torch.Size([2, 5])

    Reference:
        Rong, Leemann, Borisov, Kasneci, Kasneci: A Consistent and Efficient Evaluation Strategy for Attribution
        Methods, ICML 2022, https://arxiv.org/abs/2202.00449.
    """
    if not isinstance(stdev, Real) or not 0 <= float(stdev) < math.inf:
        fix = "Pass stdev=0.01, say."
        raise ArgumentError("stdev", describe(stdev), "a finite number of at least 0", fix).within("noisy_linear")

    def imputer(x: Any) -> Callable[[slice, Any], Any]:
        if not isinstance(x, Tensor) or x.dim() != 4 or not x.is_floating_point():
            fix = "Leave the imputer out, for the baseline, or write one for this input."
            raise ArgumentError("imputer", f"noisy_linear for {describe(x)}", "images (B, C, H, W)", fix)
        noise = Draws(x, float(stdev), generator).noisy() - x

        def fill(rows: slice, present: Tensor) -> Tensor:
            known = present[:, :, :1]
            if not bool((present == known).all()):
                fix = "Pass feature_mask=torch.arange(H * W).view(1, 1, H, W), or a mask of larger patches."
                raise ArgumentError("feature_mask", "channels taken away apart", "whole pixels", fix)
            images = x[rows].expand(present.shape)
            return torch.where(present, images, solved(images, known) + noise[rows])

        return fill

    return imputer


def solved(images: Tensor, known: Tensor) -> Tensor:
    """Images `(..., C, H, W)` whose pixels that are not known `(..., 1, H, W)` are the means of their neighbours."""
    shape = images.shape
    images, known = images.flatten(0, -4).double(), known.flatten(0, -4)
    mean = images.mean((2, 3), keepdim=True)
    known = torch.where(known.any(dim=(2, 3), keepdim=True), known, torch.ones_like(known))
    emptied = (known.flatten(1).all(1)).view(-1, 1, 1, 1)  # nothing to solve: all or nothing is known
    unknown = (~known).to(images.dtype)
    degree = _neighbours(torch.ones_like(unknown))
    # Deviations from the mean, which are smaller; (degree - neighbours) u = what the known neighbours give.
    centred = images - mean
    right = _neighbours(centred * (1 - unknown)) * unknown
    values = _conjugate_gradients(lambda u: (degree * u - _neighbours(u)) * unknown, right, degree)
    filled = torch.where(known, images, values + mean)
    return torch.where(emptied, mean.expand_as(images), filled).to(images.dtype).view(shape)


def _neighbours(values: Tensor) -> Tensor:
    """The weighted sum of each pixel's eight neighbours, channel by channel."""
    padded = torch.nn.functional.pad(values, (1, 1, 1, 1))
    rows = padded[..., :-2, :] + padded[..., 2:, :]
    across = rows[..., :-2] + rows[..., 2:]
    beside = rows[..., 1:-1] + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]
    return _BESIDE * beside + _ACROSS * across


def _conjugate_gradients(apply: Callable[[Tensor], Tensor], right: Tensor, diagonal: Tensor) -> Tensor:
    """Solve a positive definite system for each image and channel, with its diagonal as preconditioner."""

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum((2, 3), keepdim=True)

    solution, residual = torch.zeros_like(right), right
    scaled = residual / diagonal
    way, product = scaled, dot(residual, scaled)
    limit = _SMALL**2 * dot(right, right)
    for _ in range(_MOST_STEPS):
        active = dot(residual, residual) > limit
        if not bool(active.any()):
            break
        image = apply(way)
        curvature = dot(way, image)
        rate = torch.where(active, product / torch.where(curvature > 0, curvature, 1.0), 0.0)
        solution, residual = solution + rate * way, residual - rate * image
        scaled = residual / diagonal
        before, product = product, dot(residual, scaled)
        way = scaled + torch.where(active, product / torch.where(before > 0, before, 1.0), 0.0) * way
    return solution
