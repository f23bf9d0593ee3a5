"""Helpers that make feature masks; what these are says `attrfunc.perturbation.feature_groups`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.quadrature import positive
from attrfunc.perturbation.windows import Extent, extents

__all__ = ["grid_mask", "superpixels"]


def grid_mask(x: Tensor, cell: Extent) -> Tensor:
    """A feature mask of the cells of a grid, one group each.

    Args:
        x: The input `(B, *S)`.
        cell: The extent of a cell, as of a window; see `attrfunc.perturbation.windows`. The last cells may be smaller.

    Returns:
        Numbers of the cells from 0 on, row by row, `(1, *S)` with 1 in place of dimensions that a cell takes whole.

    Raises:
        ArgumentError: If a cell does not fit into an example.

    Example:
        >>> af.grid_mask(torch.zeros(8, 3, 4, 6), (2, 3))[0, 0]
        tensor([[0, 0, 0, 1, 1, 1],
                [0, 0, 0, 1, 1, 1],
                [2, 2, 2, 3, 3, 3],
                [2, 2, 2, 3, 3, 3]])
    """
    shape = x.shape[1:]
    number = torch.zeros([1] * x.dim(), dtype=torch.long, device=x.device)
    try:
        sizes = extents("cell", cell, shape)
    except ArgumentError as error:
        raise error.within("grid_mask")  # noqa: B904  # the same error, now with its name
    for dim, (length, size) in enumerate(zip(shape, sizes, strict=True)):
        if size < length:
            place = torch.arange(length, device=x.device) // size
            number = number * math.ceil(length / size) + place.view(-1, *[1] * (len(shape) - dim - 1))
    return number


def superpixels(image: Tensor, *, n_segments: int = 50, compactness: float | None = None, sigma: float = 1.0) -> Tensor:
    """A feature mask of superpixels: connected patches of similar colour, by SLIC (needs scikit-image).

    Args:
        image: Images `(B, C, H, W)` of any range of values; three channels are taken for red, green and blue.
        n_segments: About how many patches an image is cut into.
        compactness: How much nearness counts beside colour; more makes patches squarer. `None` is 10 for three
            channels, and 0.1 for others, whose values differ less than colours do.
        sigma: Width of the blur before.

    Returns:
        Numbers of the patches from 0 on, for each image `(B, 1, H, W)`.

    Raises:
        ArgumentError: If `image` has another shape, or scikit-image is missing.

    Example:
        >>> images = torch.rand(2, 3, 32, 32)
        >>> af.superpixels(images, n_segments=9).shape
        torch.Size([2, 1, 32, 32])

    Reference:
        Achanta et al.: SLIC Superpixels Compared to State-of-the-art Superpixel Methods, TPAMI 2012.
    """
    try:
        if not isinstance(image, Tensor) or image.dim() != 4:
            raise ArgumentError("image", describe(image), "images of shape (B, C, H, W)", "Add a batch dimension.")
        count = positive("n_segments", n_segments)
        slic = _slic()
    except ArgumentError as error:
        raise error.within("superpixels")  # noqa: B904  # the same error, now with its name
    weight = (10.0 if image.shape[1] == 3 else 0.1) if compactness is None else compactness
    pixels = image.detach().cpu().double().movedim(1, -1).numpy()
    found = [slic(one, count, compactness=weight, sigma=sigma, start_label=0, channel_axis=-1) for one in pixels]
    masks = [torch.from_numpy(np.ascontiguousarray(one)).long() for one in found]
    return torch.stack(masks)[:, None].to(image.device)


def _slic() -> Any:
    try:
        from skimage.segmentation import slic
    except ImportError:
        raise ArgumentError(
            "image",
            "images without scikit-image installed",
            "the package scikit-image, which segments them",
            "Install the extra attrfunc[superpixels], or pass a feature_mask of your own, of grid_mask say.",
        ) from None
    return slic
