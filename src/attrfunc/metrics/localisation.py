"""Whether attributions lie where an annotation says that the object is.

This is where `mask` is documented; the functions of this file refer here.

mask: Where the object is: booleans, or numbers 0 and 1, `(B, *S)` or `(1, *S)`. Along a dimension of size 1 (the
    channels of an image, say) attributions are added up. Both inside and outside of the mask there must be something.
"""

from __future__ import annotations

import math
from numbers import Real

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.model.engines import settled
from attrfunc.core.score.method import named
from attrfunc.metrics.subsets import ranks
from attrfunc.perturbation.precision import wide

__all__ = ["localisation_auc", "pointing_game", "relevance_mass", "relevance_rank"]


def pointing_game(attributions: Tensor, mask: Tensor, *, tolerance: float = 0.0) -> Tensor:
    """Whether the place of the largest attribution is in the mask, or near it.

    Args:
        attributions: A tensor `(B, *S)`.
        mask: Where the object is; see this module.
        tolerance: The Euclidean distance from the mask, in places, that still counts (15 pixels in the paper).

    Returns:
        1 or 0 for each example, `(B,)`. Of several largest attributions, the share that hit.

    Raises:
        ArgumentError: If the mask does not fit, or is empty or full.

    Example:
        >>> attributions = torch.tensor([[0.1, 0.2, 0.9], [0.8, 0.3, 0.1]])
        >>> af.metrics.pointing_game(attributions, torch.tensor([[0, 1, 1]]))
        tensor([1., 0.])

    Reference:
        Zhang, Lin, Brandt, Shen, Sclaroff: Top-down Neural Attention by Excitation Backprop, ECCV 2016,
        https://arxiv.org/abs/1608.00507.
    """
    return named("pointing_game", _pointing)(attributions, mask, tolerance)


def relevance_mass(attributions: Tensor, mask: Tensor) -> Tensor:
    """The share of the positive attributions that lies in the mask.

    Args:
        attributions: A tensor `(B, *S)`.
        mask: Where the object is; see this module.

    Returns:
        Shares `(B,)` from 0 to 1; for equal attributions, the mask's share of all places. NaN where none is positive.

    Raises:
        ArgumentError: If the mask does not fit, or is empty or full.

    Example:
        >>> af.metrics.relevance_mass(torch.tensor([[1.0, 3.0, -5.0]]), torch.tensor([[0, 1, 1]]))
        tensor([0.7500])

    Reference:
        Arras, Osman, Samek: CLEVR-XAI, Information Fusion 2022, https://arxiv.org/abs/2003.07258.
    """
    return named("relevance_mass", _mass)(attributions, mask)


def relevance_rank(attributions: Tensor, mask: Tensor) -> Tensor:
    """Of as many of the largest attributions as the mask has places, the share that lies in it.

    Args:
        attributions: A tensor `(B, *S)`.
        mask: Where the object is; see this module.

    Returns:
        Shares `(B,)` from 0 to 1. Equal attributions at the limit count with the share of them that is in the mask.

    Raises:
        ArgumentError: If the mask does not fit, or is empty or full.

    Example:
        >>> af.metrics.relevance_rank(torch.tensor([[4.0, 3.0, 1.0, 2.0]]), torch.tensor([[1, 0, 0, 1]]))
        tensor([0.5000])

    Reference:
        Arras, Osman, Samek: CLEVR-XAI, Information Fusion 2022, https://arxiv.org/abs/2003.07258.
    """
    return named("relevance_rank", _rank)(attributions, mask)


def localisation_auc(attributions: Tensor, mask: Tensor) -> Tensor:
    """The probability that a place in the mask has a larger attribution than one outside: the area under the ROC curve.

    Args:
        attributions: A tensor `(B, *S)`.
        mask: Where the object is; see this module.

    Returns:
        Areas `(B,)` from 0 to 1; 0.5 for attributions that tell nothing. Equal attributions count half.

    Raises:
        ArgumentError: If the mask does not fit, or is empty or full.

    Example:
        >>> af.metrics.localisation_auc(torch.tensor([[4.0, 3.0, 1.0, 2.0]]), torch.tensor([[1, 0, 0, 1]]))
        tensor([0.7500])

    Reference:
        Fawcett: An introduction to ROC analysis, 2006, https://doi.org/10.1016/j.patrec.2005.10.010.
    """
    return named("localisation_auc", _auc)(attributions, mask)


def _pointing(attributions: Tensor, mask: Tensor, tolerance: float) -> Tensor:
    if not isinstance(tolerance, Real) or not 0 <= float(tolerance) < math.inf:
        fix = "Pass a number of pixels."
        raise ArgumentError("tolerance", describe(tolerance), "a finite distance of at least 0", fix)
    relevance, inside = _places(attributions, mask)
    if float(tolerance) < 1:  # no neighbour is so near
        flat, hits = relevance.flatten(1), inside.flatten(1)
        largest = flat == flat.amax(1, keepdim=True)
        return (largest & hits).sum(1).to(flat.dtype) / largest.sum(1)
    shares = []
    for values, hit in zip(relevance, inside, strict=True):
        largest = (values == values.max()).nonzero().double()
        near = torch.cdist(largest, hit.nonzero().double()).amin(1) <= float(tolerance)
        shares.append(near.to(relevance.dtype).mean())
    return torch.stack(shares) if shares else relevance.new_zeros(0)


def _mass(attributions: Tensor, mask: Tensor) -> Tensor:
    relevance, inside = (part.flatten(1) for part in _places(attributions, mask))
    positive = relevance.clamp(min=0)
    total = positive.sum(1)
    return (positive * inside).sum(1) / torch.where(total > 0, total, math.nan)


def _rank(attributions: Tensor, mask: Tensor) -> Tensor:
    relevance, inside = (part.flatten(1) for part in _places(attributions, mask))
    count = inside.sum(1, keepdim=True)
    largest = relevance.topk(int(count.max()) if len(count) else 0, dim=1).values
    limit = largest.gather(1, count - 1)
    above, level = relevance > limit, relevance == limit
    room = count.squeeze(1) - above.sum(1)
    shared = (level & inside).sum(1).double() / level.sum(1) * room
    return (((above & inside).sum(1) + shared) / count.squeeze(1)).to(relevance.dtype)


def _auc(attributions: Tensor, mask: Tensor) -> Tensor:
    relevance, inside = (part.flatten(1) for part in _places(attributions, mask))
    hits = inside.sum(1).double()
    others = inside.shape[1] - hits
    total = (ranks(relevance.T).T * inside).sum(1) - hits * (hits - 1) / 2
    return (total / (hits * others)).to(relevance.dtype)


def _places(attributions: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Attributions `(B, *S)` of the places that the mask tells apart, and which of them are inside."""
    if not isinstance(attributions, Tensor) or attributions.dim() < 2 or not attributions.is_floating_point():
        fix = "Measure each tensor of a structure by itself, with a mask of its own."
        raise ArgumentError("attributions", describe(attributions), "floating-point numbers (B, *S)", fix)
    if not settled(attributions.isfinite()):
        fix = "Find out where the method divides by zero, or overflows."
        raise ArgumentError("attributions", "numbers that are NaN or infinite", "finite numbers", fix)
    shape = tuple(attributions.shape)
    fits = isinstance(mask, Tensor) and mask.dim() == len(shape)
    if not fits or any(size not in (1, full) for size, full in zip(mask.shape, shape, strict=True)):
        fix = "Give it a dimension for the examples, and one of size 1 for channels: mask[:, None]."
        raise ArgumentError("mask", describe(mask), f"a shape that broadcasts to the attributions' {shape}", fix)
    if not settled((mask == 0) | (mask == 1)):
        raise ArgumentError("mask", "numbers beside 0 and 1", "booleans, or 0 and 1", "Pass mask > 0.5, say.")
    pooled = tuple(dim for dim in range(1, len(shape)) if mask.shape[dim] == 1)
    relevance = wide(attributions)
    relevance = relevance.sum(pooled, keepdim=True) if pooled else relevance
    inside = (mask != 0).to(relevance.device).expand(relevance.shape)
    flat = inside.flatten(1)
    if not settled(flat.any(1) & ~flat.all(1)):
        row = int((~flat.any(1) | flat.all(1)).nonzero()[0])
        fix = "Leave such examples out: nothing is to be found there, or everything is right."
        raise ArgumentError("mask", f"a mask of example {row} that is empty or full", "places inside and outside", fix)
    return relevance, inside
