"""Images as inputs of language models, by segments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attrfunc.captum.attr.interpretable_input import InterpretableInput
from attrfunc.core.errors import ArgumentError, describe

__all__ = ["ImageMaskInput", "draw_segments"]


class ImageMaskInput(InterpretableInput):
    """An image whose segments are painted over where they are absent.

    Args:
        image: An image of PIL.
        mask: The number of each pixel's segment, `(height, width)`; all of it is one segment by default.
        mask_list: Masks of segments that may overlap, in place of `mask`.
        baseline: The colour of what is absent.
        processor_fn: Makes of an image what the model is given.
    """

    def __init__(
        self,
        image: Any,
        mask: Tensor | None = None,
        mask_list: list[Tensor] | None = None,
        baseline: tuple[int, int, int] = (255, 255, 255),
        processor_fn: Callable[[Any], Any] = lambda image: image,
    ) -> None:
        shape = (image.size[1], image.size[0])
        for one in [mask] if mask_list is None else mask_list:
            if one is not None and tuple(one.shape) != shape:
                raise ArgumentError(
                    "mask" if mask_list is None else "mask_list",
                    describe(one),
                    f"the image's height and width {shape}",
                    "Resize it.",
                )
        if mask_list is not None:
            self.mask, ids = torch.empty(0), list(range(len(mask_list)))
        else:
            self.mask = torch.zeros(shape, dtype=torch.int32) if mask is None else mask
            ids = self.mask.unique().tolist()
        self.image, self.mask_list, self.baseline = image, mask_list or [], baseline
        self.processor_fn = processor_fn
        self.mask_id_to_idx = {int(one): place for place, one in enumerate(ids)}
        self.n_itp_features = len(ids)
        self.values = [f"image_feature_{one}" for one in ids]
        self.original_model_inputs = processor_fn(image)

    def to_tensor(self) -> Tensor:
        """All segments present, `(1, n)`."""
        return torch.ones(1, self.n_itp_features)

    def to_model_input(self, perturbed_tensor: Tensor | None = None) -> Any:
        """What the processor makes of the image with some segments painted over."""
        if perturbed_tensor is None:
            return self.original_model_inputs
        import numpy as np
        from PIL import Image

        pixels = np.array(self.image)
        for segment, present in zip(self.get_mask_list(), perturbed_tensor[0].tolist(), strict=True):
            if present == 0:
                pixels[segment.numpy().astype(bool)] = self.baseline
        return self.processor_fn(Image.fromarray(pixels.astype("uint8")))

    def get_mask_list(self) -> list[Tensor]:
        """The segments, one mask for each."""
        return self.mask_list or [self.mask == one for one in self.mask_id_to_idx]

    def format_pixel_attr(self, itp_attr: Tensor) -> Tensor:
        """Attributions `(..., n)` at the pixels, `(..., height, width)`; where segments overlap, their sum."""
        masks = torch.stack([mask.bool() for mask in self.get_mask_list()]).to(itp_attr.device)
        return torch.einsum("...n,nhw->...hw", itp_attr, masks.to(itp_attr.dtype))

    def plot_mask_overlay(self, show: bool = False, border_width: int = 0, show_legends: bool = True) -> Any:
        """Draw the segments over the image; figure and axes, or None if shown."""
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots()
        axes.imshow(self.image)
        colours = [(*plt.get_cmap("tab20")(place % 20)[:3], 0.6) for place in range(self.n_itp_features)]
        for mask, colour in zip(self.get_mask_list(), colours, strict=True):
            axes.imshow(mask.numpy().astype(bool)[..., None] * torch.tensor(colour).numpy())
        draw_segments(axes, self, border_width, show_legends, [(*colour[:3], 0.8) for colour in colours])
        axes.axis("off")
        if not show:
            return figure, axes
        plt.show()
        return None


def draw_segments(axes: Any, image: ImageMaskInput, border_width: int, show_legends: bool, colours: list[Any]) -> None:
    """Borders inside of segments, and their numbers at their middles."""
    for mask, name, colour in zip(image.get_mask_list(), image.mask_id_to_idx, colours, strict=True):
        segment = mask.bool()
        if not segment.any():
            continue
        if border_width > 0:
            # What is as near as that to a pixel outside of it.
            outside = torch.nn.functional.pad((~segment).float()[None, None], (border_width,) * 4, value=1.0)
            near = torch.nn.functional.max_pool2d(outside, 2 * border_width + 1, 1)[0, 0] > 0
            axes.imshow((segment & near)[..., None].numpy() * torch.tensor(colour).numpy())
        if show_legends:
            y, x = (float(places.float().mean()) for places in segment.nonzero(as_tuple=True))
            box = {"boxstyle": "round,pad=0.2", "facecolor": "black", "alpha": 0.6}
            axes.text(x, y, str(name), color="white", fontsize=10, ha="center", va="center", bbox=box)
