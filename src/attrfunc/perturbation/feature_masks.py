"""Helpers that make feature masks; what these are says `attrfunc.perturbation.feature_groups`."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe, positive
from attrfunc.core.trees import batch_size
from attrfunc.perturbation.joining import join_neighbours
from attrfunc.perturbation.windows import Extent, extents

__all__ = ["grid_mask", "superpixels"]

PIECES = 10  # for each patch that is asked for


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
        >>> af.masks.grid_mask(torch.zeros(8, 3, 4, 6), (2, 3))[0, 0]
        tensor([[0, 0, 0, 1, 1, 1],
                [0, 0, 0, 1, 1, 1],
                [2, 2, 2, 3, 3, 3],
                [2, 2, 2, 3, 3, 3]])
    """
    try:
        batch_size(x)
        shape = x.shape[1:]
        sizes = extents("cell", cell, shape)
    except ArgumentError as error:
        raise error.within("grid_mask")  # noqa: B904  # the same error, now with its name
    number = torch.zeros([1] * x.dim(), dtype=torch.long, device=x.device)
    for dim, (length, size) in enumerate(zip(shape, sizes, strict=True)):
        if size < length:
            place = torch.arange(length, device=x.device) // size
            number = number * math.ceil(length / size) + place.view(-1, *[1] * (len(shape) - dim - 1))
    return number


def superpixels(image: Tensor, *, n_segments: int = 50, compactness: float | None = None, sigma: float = 1.0) -> Tensor:
    """A feature mask of superpixels: connected patches of similar colour (needs scikit-image).

    SLIC by itself promises no number, and gives 8 patches of some photographs where 20 are asked for. So it cuts an
    image into many small pieces, and neighbours are joined until as many patches as asked for are left: each time the
    two whose union adds least to the squared distances of pixels from their patch's mean, in colour and place. Patches
    follow the object, and are as large as the object is plain.

    Args:
        image: Images `(B, C, H, W)` of any range of values; three channels are taken for red, green and blue.
        n_segments: How many patches each image is cut into.
        compactness: How much nearness counts beside colour; more makes patches rounder. `None` is 10 for three
            channels, and 0.1 for others, whose values differ less than colours do.
        sigma: Width of the blur before.

    Returns:
        Numbers of the patches of each image `(B, 1, H, W)`, from 0 to `n_segments - 1`; an image of fewer pixels has
        a patch for each of them.

    Raises:
        ArgumentError: If `image` has another shape or is not finite, another argument is out of range, or scikit-image
            is missing.

    Example:
        >>> images = torch.rand(2, 3, 32, 32)
        >>> af.masks.superpixels(images, n_segments=9).unique().tolist()
        [0, 1, 2, 3, 4, 5, 6, 7, 8]

    References:
        Achanta et al.: SLIC Superpixels Compared to State-of-the-art Superpixel Methods, TPAMI 2012.
        Ward: Hierarchical grouping to optimize an objective function, JASA 1963.
    """
    try:
        _check_image(image)
        count = positive("n_segments", n_segments)
        weight = (10.0 if image.shape[1] == 3 else 0.1) if compactness is None else compactness
        _check_number("compactness", weight, positive=True)
        _check_number("sigma", sigma, positive=False)
        _require_skimage()
    except ArgumentError as error:
        raise error.within("superpixels")  # noqa: B904  # the same error, now with its name
    pixels = image.detach().cpu().double().movedim(1, -1).numpy()
    masks = [_segment(one, count, weight, sigma) for one in pixels]
    return torch.from_numpy(np.stack(masks))[:, None].to(image.device)


def _segment(pixels: np.ndarray, count: int, compactness: float, sigma: float) -> np.ndarray:
    """The patches of one image `(H, W, C)`."""
    from skimage.color import rgb2lab
    from skimage.filters import gaussian

    low, span = pixels.min(), np.ptp(pixels)
    unit = (pixels - low) / (span or 1.0)
    colour = rgb2lab(unit) if unit.shape[-1] == 3 else unit
    colour = gaussian(colour, sigma, channel_axis=-1) if sigma else colour
    place = np.moveaxis(np.indices(unit.shape[:2]), 0, -1)
    step = math.sqrt(place[..., 0].size / count)  # the side of a square patch
    features = np.concatenate([colour / compactness, place / step], -1)
    return join_neighbours(_pieces(unit, count, compactness, sigma), features, count)


def _pieces(unit: np.ndarray, count: int, compactness: float, sigma: float) -> np.ndarray:
    """Small connected pieces, at least `count` of them where there are as many pixels."""
    from skimage.measure import label
    from skimage.segmentation import slic

    single = np.arange(unit[..., 0].size).reshape(unit.shape[:2])
    if PIECES * count * 4 > single.size:
        return single  # pieces of fewer than four pixels save nothing
    options = {"compactness": compactness, "sigma": sigma, "start_label": 0, "channel_axis": -1}
    found = slic(unit, PIECES * count, enforce_connectivity=False, **options)
    pieces: np.ndarray = label(found, background=-1, connectivity=1) - 1
    return pieces if pieces.max() >= count - 1 else single


def _check_image(image: Tensor) -> None:
    if not isinstance(image, Tensor) or image.dim() != 4:
        raise ArgumentError("image", describe(image), "images of shape (B, C, H, W)", "Add a batch dimension.")
    if not image.numel() or image.is_complex():
        raise ArgumentError("image", describe(image), "real images of at least one pixel", "Pass images.")
    if not image.isfinite().all():
        fix = "Replace what is not finite, by torch.nan_to_num say."
        raise ArgumentError("image", f"{describe(image)} with NaN or infinite values", "finite values", fix)


def _check_number(name: str, value: float, *, positive: bool) -> None:
    number = isinstance(value, (int, float)) and math.isfinite(value)
    if not number or value < 0 or (positive and value == 0):
        expected = "a finite number above 0" if positive else "a finite number of at least 0"
        raise ArgumentError(name, describe(value), expected, f"Leave out {name} for its default.")


def _require_skimage() -> None:
    try:
        import skimage.segmentation  # noqa: F401
    except ImportError:
        raise ArgumentError(
            "image",
            "images without scikit-image installed",
            "the package scikit-image, which segments them",
            "Install the extra attrfunc[superpixels], or pass a feature_mask of your own, of grid_mask say.",
        ) from None
