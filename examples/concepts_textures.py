"""Does a network think of stripes when it sees a zebra? Concepts made by hand, on a real ImageNet classifier.

    python examples/concepts_textures.py [--output examples-output] [--sets 10] [--layer _blocks.12]

Stripes, dots and checks are drawn, with random widths, directions and colours. For each texture a direction is found in
which a layer's activations differ from those of random crops of photographs, and it is tested whether the scores of
some classes grow along it more than along the directions that tell random crops from each other (`tcav_test`).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

import attrfunc as af
from classifier import PHOTOS, load_classifier, to_input

CLASSES = {340: "zebra", 599: "honeycomb", 918: "crossword puzzle", 967: "espresso"}
EXAMPLES, SIDE = 12, 128


def textures(kind: str, count: int, generator: torch.Generator) -> Tensor:
    """Images `(count, 3, SIDE, SIDE)` of a texture."""
    down, across = torch.meshgrid(*[torch.arange(float(SIDE))] * 2, indexing="ij")
    found = []
    for _ in range(count):
        angle, width, one, other = torch.rand(4, generator=generator).tolist()
        angle, width = 3.1416 * angle, 0.2 + 0.5 * width
        first = torch.sin(
            width * (down * torch.cos(torch.tensor(angle)) + across * torch.sin(torch.tensor(angle))) + 6 * one
        )
        second = torch.sin(
            width * (across * torch.cos(torch.tensor(angle)) - down * torch.sin(torch.tensor(angle))) + 6 * other
        )
        wave = {"stripes": first, "dots": first + second - 0.7, "checks": first * second}[kind]
        share = torch.sigmoid(8 * wave)[None]
        ends = 2 * torch.rand(2, 3, 1, 1, generator=generator) - 1
        found.append(share * ends[0] + (1 - share) * ends[1])
    return torch.stack(found)


def crops(photos: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Random crops of photographs."""
    found = []
    for _ in range(count):
        draw = torch.rand(3, generator=generator)
        room = photos.shape[-1] - SIDE
        top, left = int(draw[0] * room), int(draw[1] * room)
        found.append(photos[int(draw[2] * len(photos)), :, top : top + SIDE, left : left + SIDE])
    return torch.stack(found)


def draw(tests: dict[str, af.concepts.TcavTest], kinds: Sequence[str], shown: Tensor, file: Path) -> None:
    """One texture each, and the mean sensitivities of each class beside those of random directions."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    grid = figure.add_gridspec(2, len(kinds), height_ratios=(1, 2))
    for place, (kind, image) in enumerate(zip(kinds, shown, strict=True)):
        axes = figure.add_subplot(grid[0, place])
        axes.imshow(((image.permute(1, 2, 0) + 1) / 2).numpy())
        axes.set_title(kind)
        axes.axis("off")
    axes = figure.add_subplot(grid[1, :])
    for row, test in enumerate(tests.values()):
        axes.plot([test.low, test.high], [row, row], color="#bbbbbb", lw=9, solid_capstyle="butt")
        for marker, kind, mean, p in zip("so^", kinds, test.mean, test.p, strict=True):
            colour, label = "#b2182b" if p < 0.05 else "#333333", None if row else kind
            axes.plot(mean, row, marker, color=colour, markerfacecolor=colour if p < 0.05 else "white", label=label)
    axes.legend(loc="upper left", ncols=len(kinds))
    axes.set_yticks(range(len(tests)), tests)
    axes.margins(y=0.35)
    axes.set_xlabel(
        "mean change of the logit along a concept; grey: where 95 % of random directions lie; red: p < 0.05"
    )
    figure.savefig(file, dpi=110)


def main(arguments: Sequence[str] | None = None) -> dict[str, af.concepts.TcavTest]:
    """Fit, test, print and draw."""
    parser = argparse.ArgumentParser(description="Concepts of textures on an ImageNet classifier.")
    parser.add_argument("--output", type=Path, default=Path("examples-output"), help="folder of the picture")
    parser.add_argument("--sets", type=int, default=10, help="sets of random crops")
    parser.add_argument("--layer", default="_blocks.12", help="the layer")
    options = parser.parse_args(arguments)
    if options.sets < 3:
        parser.error("--sets has to be at least 3, to compare with")
    started, generator, model = time.perf_counter(), torch.Generator().manual_seed(0), load_classifier()
    photos = torch.cat([to_input(photo.image()) for photo in PHOTOS])
    concepts = {kind: textures(kind, EXAMPLES, generator) for kind in ("stripes", "dots", "checks")}
    random = [crops(photos, EXAMPLES, generator) for _ in range(options.sets)]
    x, view = crops(photos, 16, generator), af.layer(model, options.layer)
    shared = {"concepts": concepts, "random": random, "statistic": "mean", "fit": af.concepts.mean_difference()}
    tests = {name: af.concepts.tcav_test(view, x, target=index, **shared) for index, name in CLASSES.items()}
    for name, test in tests.items():
        print(f"{name}\n{test}\n")
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "concepts_textures.png"
    draw(tests, list(concepts), torch.stack([images[0] for images in concepts.values()]), file)
    print(f"Done in {time.perf_counter() - started:.0f} s. Look at {file}.")
    return tests


if __name__ == "__main__":
    main()
