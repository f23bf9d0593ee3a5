"""What corruptions of images are made of: lengths, filters, and images at other places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.extras import require

__all__ = ["Draw", "filtered", "gray", "kornia", "pixels", "places_of", "sampled", "smooth_noise", "smoothed"]

Draw = Callable[..., Tensor]
"""A function `(torch.rand or torch.randn, like) -> random numbers` of the shape of `like`."""


def kornia() -> Any:
    """The library, or an error that says how to install it."""
    return require("kornia", "corruptions")


def pixels(image: Tensor, length: float) -> float:
    """A length for images of 224 pixels in those of this image; between ImageNet-C and CIFAR-10-C it goes like this."""
    return length * (min(image.shape[2:]) / 224) ** 0.7


def gray(image: Tensor) -> Tensor:
    """How bright images are, `(B, 1, H, W)`: of red, green and blue as eyes see it, else the mean of the channels."""
    if image.shape[1] != 3:
        return image.mean(1, keepdim=True)
    return (image * image.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)


def filtered(image: Tensor, kernel: Tensor) -> Tensor:
    """A correlation with kernels `(1 or B, k, k)`; edges are mirrored as far as there is something to mirror."""
    small = min(image.shape[2:]) <= kernel.shape[-1] // 2
    border = "replicate" if small else "reflect"
    return kornia().filters.filter2d(image, kernel.to(image), border)


def smoothed(image: Tensor, sigma: float) -> Tensor:
    """Blurred by a Gaussian."""
    weights = _gaussian(sigma)
    return filtered(image, (weights[:, None] * weights)[None])


def smooth_noise(noise: Tensor, sigma: float) -> Tensor:
    """Normal noise, blurred by a Gaussian, and of variance 1 as before."""
    return smoothed(noise, sigma) / float(_gaussian(sigma).square().sum())


def _gaussian(sigma: float) -> Tensor:
    offset = torch.arange(-round(4 * sigma + 0.5), round(4 * sigma + 0.5) + 1).double()
    weights = (-0.5 * (offset / sigma).square()).exp()
    return weights / weights.sum()


def places_of(image: Tensor) -> Tensor:
    """Where each pixel is, `(H, W, 2)`: across and down."""
    down, across = torch.meshgrid(*(torch.arange(size) for size in image.shape[2:]), indexing="ij")
    return torch.stack([across, down], 2).to(image)


def sampled(image: Tensor, places: Tensor) -> Tensor:
    """The image at other places, `(H, W, 2)` or of each example; beyond its edges it is mirrored."""
    # From -1 at the outer edge of the first pixel to 1 at that of the last.
    places = (2 * places + 1) / image.new_tensor([image.shape[3], image.shape[2]]) - 1
    places = places.expand(len(image), -1, -1, -1)
    return torch.nn.functional.grid_sample(image, places, padding_mode="reflection", align_corners=False)
