"""What is to be explained, and what a method finds.

What is explained is the *log-probability* of the class: unlike the logit it falls when another class gains, so what all
classes share drops out. Methods that compare start from a *blurred* copy of the photograph. A single colour as baseline
would give zero to everything of that colour (a black tripod, for black; zeros in the normalised input are grey), and
the score changes so abruptly where an image first departs from a single colour that the integral would need many more
points. Patches of similar colour are replaced by their blurred copies, some at a time, and scored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

import attrfunc as af
from classifier import Photo, blurred, log_probability, to_input

PATCHES = 20
RADII = (8, 16, 32, 64)  # of the blurs that methods with several baselines start from


@dataclass(frozen=True)
class Case:
    """A photograph to be explained.

    Attributes:
        model: The classifier.
        photo: The photograph.
        steps: Points on a path, or samples.
    """

    model: nn.Module
    photo: Photo
    steps: int

    @cached_property
    def x(self) -> Tensor:
        """The input."""
        return to_input(self.photo.image())

    @cached_property
    def blurred(self) -> Image.Image:
        """The photograph without its details."""
        return blurred(self.photo.image())

    @cached_property
    def baseline(self) -> Tensor:
        """What it is compared with: the input of the blurred photograph."""
        return to_input(self.blurred)

    @cached_property
    def baselines(self) -> Tensor:
        """Blurred by little to much."""
        return torch.cat([to_input(blurred(self.photo.image(), radius)) for radius in RADII])

    @cached_property
    def target(self) -> Callable[[Tensor], Tensor]:
        """The log-probability of the photograph's classes."""
        return log_probability(self.photo.classes)

    @cached_property
    def logits(self) -> Tensor:
        """What the classifier says, `(1000,)`."""
        with torch.no_grad():
            return self.model(self.x)[0]

    @property
    def probability(self) -> float:
        """What the classifier gives to the photograph's classes."""
        return self.target(self.logits[None]).exp().item()

    @property
    def rival(self) -> int:
        """The most probable class that is none of the photograph's."""
        return next(one for one in self.logits.argsort(descending=True).tolist() if one not in self.photo.classes)

    @cached_property
    def patches(self) -> Tensor:
        """The number of each pixel's patch, `(1, 1, H, W)`."""
        return af.masks.superpixels(self.x, n_segments=PATCHES)

    @property
    def compared(self) -> dict[str, Any]:
        """The options of methods with a baseline."""
        return {"baseline": self.baseline, "target": self.target}

    @cached_property
    def change(self) -> Tensor:
        """By how much the score changes from the baseline to the photograph."""
        return af.score_change(self.model, self.x, **self.compared)


@dataclass(frozen=True)
class Finding:
    """What a method gives.

    Attributes:
        values: Attributions `(1, C, H, W)`.
        effort: What was evaluated, and how often.
        gap: How far they are from summing to what they should, relative to it; None where nothing is promised.
        caution: What to know before believing the picture.
        cell: A position `(row, column)` on a 7 x 7 grid to be framed.
    """

    values: Tensor
    effort: str
    gap: float | None = None
    caution: str = ""
    cell: tuple[int, int] | None = None


def seeded() -> torch.Generator:
    """The same randomness in every run."""
    return torch.Generator().manual_seed(0)


def complete(values: Tensor, change: Tensor, effort: str, **more: Any) -> Finding:
    """A finding of a method that promises that its values sum to the change of the score."""
    return Finding(values, effort, ((values.sum() - change) / change).abs().item(), **more)
