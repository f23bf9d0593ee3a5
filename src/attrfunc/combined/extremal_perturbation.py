"""Extremal perturbations (Fong et al. 2019): the mask of a given area that keeps the score highest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from attrfunc.core.errors import ArgumentError, describe, positive
from attrfunc.core.loops.examples import baseline_at, by_examples
from attrfunc.core.loops.plan import planned
from attrfunc.core.loops.progress import Progress
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.method import method, open_problem
from attrfunc.core.score.problem import Problem
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model, as_view
from attrfunc.perturbation.soft_masks import require_apart

__all__ = ["extremal_perturbation"]

SMOOTH = {1: "linear", 2: "bilinear", 3: "trilinear"}
MOMENTUM, GROWTH, COLDNESS = 0.9, 1.0035, 20.0  # as in the paper
CELLS = 32 * 32


@method
def extremal_perturbation(
    model: Model,
    x: Any,
    *,
    area: float = 0.1,
    baseline: Baseline = None,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    cell: int | None = None,
    sigma: float | None = None,
    n_steps: int = 800,
    learning_rate: float = 0.01,
    penalty: float = 300.0,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Tensor:
    """A smooth mask of a given area, for which the score of what it shows is as high as can be.

    Gradient steps upwards on `score(baseline + mask * (x - baseline)) - penalty * distance`, where the distance is the
    mean square between the mask's sorted elements and a vector with `area` ones among zeros. The mask is a soft maximum
    of smooth bumps at the cells of a grid, `exp(-2 * max(distance / sigma - 1 / 2, 0)^2)`, times numbers from 0 to 1,
    which are all 1 at first and which the steps change, with momentum. The penalty grows by 0.35 % each step.

    Args:
        model: A module, any callable, or a view of one by `af.bind` or `af.neuron`.
        x: Images, a tensor `(B, C, *S)` with 1 to 3 dimensions of positions.
        area: The share of the positions that the mask is to show, above 0 and below 1.
        baseline: What is seen where the mask is 0; see `attrfunc.core.score.baseline`. The paper takes the image after
            a strong blur: a callable, `baseline=lambda x: torchvision.transforms.functional.gaussian_blur(x, 51)`.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        cell: The side of a cell of the grid, in elements. `None` is a 32nd of the smallest extent: 7 of 224.
        sigma: The radius of a bump, in elements; `None` is three cells.
        n_steps: Number of steps, each with one gradient.
        learning_rate: Their length, as a multiple of the gradient, on the paper's grid of 32 * 32 cells. With fewer,
            each has a larger part in the distance, and steps are shorter in proportion.
        penalty: What a distance of one costs, at first, in units of the score. The paper's is for logits of images of
            224 by 224. If it is too large, the mask has the area but not the place, which scores can hardly change; if
            it is too small, the mask is larger than asked for.
        chunk_size: Examples at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Masks `(B, 1, *S)` between 0 and 1, without a unit and without a derivative: they come out of a search. It
        satisfies no axiom; that the score of what it shows is near that of the image is what to check.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If the score is not finite, examples are not scored apart, or torch.func cannot trace the model.

    Example:
        >>> corner = lambda images: 10 * images[:, :, :4, :4].mean((1, 2, 3))
        >>> mask = af.extremal_perturbation(corner, torch.ones(1, 3, 12, 12), area=0.15, n_steps=400, penalty=100.0)
        >>> bool(mask[0, 0, :4, :4].mean() > 0.8), bool(mask[0, 0, 8:, 8:].mean() < 0.3)
        (True, True)

    Reference:
        Fong, Patrick, Vedaldi: Understanding Deep Networks via Extremal Perturbations and Smooth Masks, ICCV 2019.
        https://arxiv.org/abs/1910.08485
    """
    view = as_view(model)
    _require_images(view.sites, x)
    steps, share = positive("n_steps", n_steps), _number("area", area, most=1.0)
    side = max(1, round(min(x.shape[2:]) / 32)) if cell is None else positive("cell", cell)
    radius = 3.0 * side if sigma is None else _number("sigma", sigma)
    rate, weight = _number("learning_rate", learning_rate), _number("penalty", penalty)
    maker, count = _Masks(x, side, radius), x.shape[2:].numel()
    rate = rate * math.prod(maker.grid) / CELLS

    def attribute(part: Problem, rows: slice) -> Tensor:
        start, end = part.endpoints(baseline_at(baseline, x, rows, problem.inputs.rows))
        require_apart(part, end, "masks")
        low, way = start.leaves[0], end.leaves[0] - start.leaves[0]
        wanted = (torch.arange(count, device=x.device) >= int(count * (1 - share))).to(low)
        numbers, moved = low.new_ones(len(low), *maker.grid), None

        def shown(numbers: Tensor) -> tuple[Tensor, Tensor]:
            mask = maker(numbers)
            return mask, (mask.flatten(1).sort(1)[0] - wanted).square().mean(1)

        for step in range(steps):
            (mask, _), pull = torch.func.vjp(shown, numbers)  # type: ignore[misc]  # three values only with has_aux
            _, slopes = part.gradients(end.like([(low + mask * way)[None]]))
            cost = low.new_full((len(low),), -weight * GROWTH**step)
            (gradient,) = pull(((slopes[0][0] * way).sum(1, keepdim=True), cost))
            moved = gradient if moved is None else MOMENTUM * moved + (1 - MOMENTUM) * gradient
            numbers = (numbers + rate * moved).clamp(0, 1)
        return maker(numbers).to(x.dtype)

    with torch.no_grad():
        problem = planned(open_problem(view, x, target, args, kwargs), chunk_size, share=False)
        found: Tensor = by_examples(problem, attribute, chunk_size, progress)
    return found.detach()


class _Masks:
    """Makes masks `(B, 1, *S)` of the numbers of a grid's cells.

    Args:
        x: The images.
        cell: The side of a cell.
        sigma: The radius of the bump around each.

    Attributes:
        grid: How many cells there are in each dimension.
    """

    def __init__(self, x: Tensor, cell: int, sigma: float) -> None:
        self._size, self._cell = x.shape[2:], cell
        self.grid = [math.ceil(length / cell) for length in self._size]
        axes = [torch.arange(count, dtype=torch.float64) * cell for count in self.grid]
        places = torch.cartesian_prod(*axes).view(-1, len(axes))
        far = torch.cdist(places, places) / sigma
        self._bumps = (-2 * (far - 0.5).clamp(min=0).square()).exp().to(x.device)  # (cells, cells)

    def __call__(self, numbers: Tensor) -> Tensor:
        """The masks of numbers `(B, *grid)`."""
        bumps = self._bumps.to(numbers.dtype) * numbers.flatten(1)[:, None]
        heights = (bumps * (COLDNESS * bumps).softmax(2)).sum(2).view(len(numbers), 1, *self.grid)
        whole = F.interpolate(heights, scale_factor=float(self._cell), mode=SMOOTH[len(self.grid)])
        for dim, length in enumerate(self._size):
            whole = whole.narrow(2 + dim, 0, length)
        return whole


def _require_images(sites: Sequence[Any], x: Any) -> None:
    if sites:
        raise ArgumentError(
            "model",
            f"a view of layer {sites[0].name!r}",
            "a model of images, whose positions are masked",
            "Pass the model itself, or af.neuron(model, ...) for a neuron.",
        )
    if not isinstance(x, Tensor) or not 3 <= x.dim() <= 5 or not x.is_floating_point() or 0 in x.shape[2:]:
        raise ArgumentError(
            "x",
            describe(x),
            "one floating-point tensor (B, C, *S) with 1 to 3 dimensions of positions",
            "Give a signal (B, T) a dimension of channels, x[:, None], and other inputs in args=.",
        )


def _number(name: str, value: float, *, most: float = math.inf) -> float:
    right = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not right or not 0 < value < most:
        expected = "a finite number above 0" if most == math.inf else f"a number above 0 and below {most:g}"
        raise ArgumentError(name, describe(value), expected, f"Leave out {name} for its default.")
    return float(value)
