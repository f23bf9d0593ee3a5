"""A real ImageNet classifier and real photographs, all of which come inside installed packages."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from attrfunc.insights.photographs import CLASS_NAMES, PHOTOS, SIZE, Photo, load_classifier

__all__ = [
    "CLASS_NAMES",
    "PHOTOS",
    "SIZE",
    "Photo",
    "blurred",
    "load_classifier",
    "log_probability",
    "to_input",
]

BLUR_RADIUS = 20


def to_input(image: Image.Image) -> Tensor:
    """The classifier's input `(1, 3, 224, 224)`, with values from -1 to 1."""
    return (torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() - 127) / 128


def blurred(image: Image.Image, radius: float = BLUR_RADIUS) -> Image.Image:
    """The same photograph without its details."""
    return image.filter(ImageFilter.GaussianBlur(radius))


def log_probability(classes: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """A target: the log-probability that the image is of one of these classes."""
    return lambda logits: logits.log_softmax(1)[:, list(classes)].logsumexp(1)
