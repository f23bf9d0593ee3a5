"""What does an ImageNet classifier see in four photographs? Three methods, in one picture.

    python examples/photograph.py [--output examples-output] [--steps 16]

EfficientNet-lite0 and the photographs come inside packages. Integrated gradients share out the logit among pixels,
Grad-CAM shows which positions of the last layer speak for the class, and DeepLIFT goes through all layers at once. What
the first and the last miss of the score's change is printed: nothing, up to the steps and to rounding.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import attrfunc as af
from classifier import PHOTOS, SIZE, load_classifier, to_input

SHOWN = ("coffee", "chelsea", "camera", "flower")


def main(arguments: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Explain, draw and print; give the gaps of the methods that are complete."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("examples-output"))
    parser.add_argument("--steps", type=int, default=16)
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)

    photos = [photo for photo in PHOTOS if photo.name in SHOWN]
    images = torch.stack([torch.tensor(np.asarray(photo.image())).permute(2, 0, 1) for photo in photos])
    x = torch.cat([to_input(photo.image()) for photo in photos])
    model = load_classifier()
    with torch.no_grad():
        best = torch.tensor([photo.classes[0] for photo in photos])

    attributions = {
        "integrated gradients": af.ig(model, x, target=best, n_steps=options.steps),
        "DeepLIFT": af.deep_lift(model, x, target=best),
    }
    gaps = {name: af.completeness_gap(model, x, found, target=best) for name, found in attributions.items()}
    change = af.score_change(model, x, target=best)
    for name, gap in gaps.items():
        print(f"{name} misses {gap.abs().amax():.1e} of changes of {change.amin():.1f} to {change.amax():.1f}")

    heat = af.grad_cam(model, x, layer="_conv_head", target=best, relu=True)
    maps = {**attributions, "Grad-CAM": af.viz.interpolate(heat, SIZE, mode="bilinear")}
    names = [photo.label.partition(" / ")[0] for photo in photos]
    figure = af.viz.images(maps, images, names=names)
    figure.savefig(options.output / "photograph.png", dpi=60)
    print(f"see {options.output / 'photograph.png'}")
    return gaps


if __name__ == "__main__":
    main()
