"""RISE (Petsiuk et al. 2018): random masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from attrfunc.core.errors import ArgumentError, describe, positive
from attrfunc.core.loops.plan import planned
from attrfunc.core.loops.progress import Progress
from attrfunc.core.loops.samples import Draws
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.method import each_layer, method, open_problem
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model
from attrfunc.perturbation.precision import wide
from attrfunc.perturbation.soft_masks import masked_scores, require_apart

__all__ = ["rise"]

SMOOTH = {1: "linear", 2: "bilinear", 3: "trilinear"}
AT_ONCE = 64  # masks that are held at once where they are added up


@method
@each_layer
def rise(
    model: Model,
    x: Any,
    *,
    n_samples: int = 4000,
    cells: int = 7,
    probability: float = 0.5,
    baseline: Baseline = None,
    generator: torch.Generator | None = None,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """The mean of the score over random masks, at each place weighed by how much of it they show.

    `mean over masks of score(baseline + mask * (x - baseline)) * mask / probability`: what is expected of the score if
    the place is seen. A mask is a coarse grid, each cell of which is shown with this probability, resized smoothly to
    the input and shifted by a random part of a cell.

    Args:
        model: A module, any callable, or a view of one; no gradient is taken.
        x: The input, a tensor `(B, C, *S)` with 1 to 3 dimensions of positions, or a structure of them that one grid is
            laid over.
        n_samples: Number of masks, the same for all examples. The error falls with its root.
        cells: Cells of the grid along each dimension of positions.
        probability: How likely a cell is shown, above 0 and below 1.
        baseline: What is seen where a mask is 0; see `attrfunc.core.score.baseline`.
        generator: The source of randomness; see `attrfunc.core.loops.samples`.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Maps `(B, 1, *S)` in units of the score, with the structure of `x` (or of the layer's activation; for a list of
        layers, a list). They are levels, not shares: everywhere about the score's mean over masks, more where a place
        raises it. *Linearity* in the score; places that do not matter get the mean.

    Raises:
        ArgumentError: If an argument cannot be right, or a tensor has no positions.
        ModelError: If a score is not finite, or examples are not scored apart.

    Example:
        >>> bright = lambda images: images[:, :, :4, :4].mean((1, 2, 3))  # the first corner alone
        >>> generator = torch.Generator().manual_seed(0)
        >>> heat = af.rise(bright, torch.ones(1, 3, 8, 8), n_samples=500, cells=2, generator=generator)
        >>> heat.shape, bool(heat[0, 0, 1, 1] > heat[0, 0, 6, 6])
        (torch.Size([1, 1, 8, 8]), True)

    Reference:
        Petsiuk, Das, Saenko: RISE: Randomized Input Sampling for Explanation of Black-box Models, BMVC 2018.
        https://arxiv.org/abs/1806.07421
    """
    count, side = positive("n_samples", n_samples), positive("cells", cells)
    if not isinstance(probability, (int, float)) or not 0 < probability < 1:
        raise ArgumentError("probability", describe(probability), "a number above 0 and below 1", "Pass 0.5, say.")
    problem = planned(open_problem(model, x, target, args, kwargs, differentiate=False), chunk_size)
    start, end = problem.endpoints(baseline)
    dims = _positions(end.leaves)
    require_apart(problem, end, "maps")
    draws = Draws(x, 0.0, generator)
    grids = (draws.shared(torch.rand, count, *[side + 1] * dims) < probability).float()
    shifts = draws.shared(torch.rand, count, dims)

    def masks(chosen: slice, leaf: Tensor) -> Tensor:
        return _masks(grids[chosen], shifts[chosen], leaf.shape[2:], side).to(leaf.device)

    scores = masked_scores(
        problem,
        start,
        end,
        count,
        lambda rows, chosen: [masks(chosen, leaf)[:, None, None] for leaf in end.leaves],
        chunk_size=chunk_size,
        progress=progress,
    )
    factors = wide(scores) / (count * probability)
    maps = []
    for leaf in end.leaves:
        total = factors.new_zeros(len(leaf), leaf.shape[2:].numel())
        for first in range(0, count, AT_ONCE):
            chosen = slice(first, min(first + AT_ONCE, count))
            total = total + factors[chosen].T @ masks(chosen, leaf).flatten(1).to(factors.dtype)
        maps.append(total.view(len(leaf), 1, *leaf.shape[2:]).to(leaf.dtype))
    return end.restored(maps)


def _masks(grids: Tensor, shifts: Tensor, size: torch.Size, cells: int) -> Tensor:
    """Grids `(K, cells + 1, ...)` as masks `(K, *size)`.

    Args:
        grids: One more cell than are seen, in each dimension, for the shift.
        shifts: By which part of a cell each mask is shifted in each dimension.
        size: The positions.
        cells: Cells that are seen.
    """
    extents = [-(-length // cells) for length in size]
    whole = F.interpolate(grids[:, None], [(cells + 1) * extent for extent in extents], mode=SMOOTH[len(size)])[:, 0]
    for dim, (extent, length) in enumerate(zip(extents, size, strict=True)):
        first = (shifts[:, dim] * extent).long()
        places = first[:, None] + torch.arange(length)
        shape = [len(grids), *[1] * len(size)]
        shape[dim + 1] = length
        kept = list(whole.shape)
        kept[dim + 1] = length
        whole = whole.gather(dim + 1, places.view(shape).expand(kept))
    return whole


def _positions(leaves: Sequence[Tensor]) -> int:
    """How many dimensions of positions there are."""
    dims = {leaf.dim() - 2 for leaf in leaves}
    right = len(dims) == 1 and dims <= set(SMOOTH) and all(leaf.is_floating_point() for leaf in leaves)
    if not right or any(0 in leaf.shape[2:] for leaf in leaves):
        raise ArgumentError(
            "x",
            ", ".join(map(describe, leaves)),
            "floating-point tensors (B, C, *S) with 1 to 3 dimensions of positions, which the masks cover",
            "Give a signal (B, T) a dimension of channels, x[:, None], and other inputs in args=.",
        )
    return dims.pop()
