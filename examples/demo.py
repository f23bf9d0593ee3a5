"""Why does a real classifier see what it sees? Attributes photographs in several ways and writes a gallery.

    python examples/demo.py [--output demo-output] [--steps 160] [--photos coffee rocket ...]

What is explained is the *log-probability* of the class: unlike the logit it falls when another class gains, so what all
classes share drops out. The path starts from a *blurred* copy of the photograph. A single colour as baseline would give
zero to everything of that colour (a black tripod, for black; zeros in the normalised input are grey), and the score
changes so abruptly where an image first departs from a single colour that the integral would need many more points.
Superpixels, patches of similar colour, are replaced by their blurred copies, some at a time: LIME and Shapley values of
them take scores only, no gradients.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

import attrfunc as af
from classifier import PHOTOS, Photo, blurred, load_classifier, log_probability, to_input
from gallery import Page, Panel, Superpixels, draw_overview, draw_page, draw_superpixels

LAYERS = {"_blocks.10": "IG at block 11 of 16", "_blocks.15": "IG at the last block"}
FEATURES = "_avg_pooling"  # its input is what the final linear layer averages: 1280 features on 7 x 7 positions
PREACTIVATION = "_bn1"  # the same features before their ReLU6, which has no gradient once it saturates
COMPOSITE = af.rules.epsilon_gamma_box(-1.0, 1.0)  # inputs reach from -1 to 1
SAMPLES, NOISE = 24, 0.15  # of SmoothGrad; inputs reach from -1 to 1
SEGMENTS, COALITIONS, PERMUTATIONS = 20, 200, 16  # superpixels, about; samples of LIME; of Shapley values


@dataclass(frozen=True)
class Row:
    """One line of the table; `gap` is relative to the change of the score, None where a method promises none."""

    photo: str
    label: str
    probability: float
    method: str
    gap: float | None
    seconds: float
    points: int


class Explainer:
    """Attributes one photograph in every way, and keeps a row of the table for each.

    Args:
        model: The classifier.
        photo: The photograph.
        steps: Points on a path at the input; half as many at a layer.
        bar: Advances by one for each point evaluated.
    """

    def __init__(self, model: nn.Module, photo: Photo, steps: int, bar: tqdm) -> None:
        self.model, self.photo, self.steps, self.bar = model, photo, steps, bar
        self.image = photo.image()
        self.x, self.baseline = to_input(self.image), to_input(blurred(self.image))
        self.target = log_probability(photo.classes)
        with torch.no_grad():
            logits = model(self.x)
        self.probability = self.target(logits).exp().item()
        self.expected = int(logits.argmax()) in photo.classes
        self.rows: list[Row] = []

    def explain(self) -> Page:
        """Run all methods."""
        patches, of_patches = self._of_superpixels()
        panels = [*self._at_input(), *self._by_rules(), *self._at_layers(), *self._of_neuron(), *of_patches]
        title = f"{self.photo.name}: {self.photo.label}, probability {self.probability:.2f}"
        return Page(self.photo.name, title, self.image, blurred(self.image), panels, patches)

    def _at_input(self) -> list[Panel]:
        along_path = self._integrate("integrated gradients", self.model, self.steps, target=self.target)
        slope = self._differentiate("saliency", af.saliency)
        product = self._differentiate("input x gradient", af.input_x_gradient)
        generator = torch.Generator().manual_seed(0)
        smoothed = af.smooth(af.saliency, n_samples=SAMPLES, stdev=NOISE, generator=generator)
        smooth = self._differentiate("SmoothGrad", smoothed, points=SAMPLES)
        return [
            Panel("integrated gradients", "for (red) and against (blue)", along_path, "nats per pixel", signed=True),
            Panel("integrated gradients, size", "either sign", along_path, "nats per pixel"),
            Panel("saliency", "size of the gradient", slope, "nats per unit of input"),
            Panel("SmoothGrad", f"saliency, mean of {SAMPLES} samples", smooth, "nats per unit of input"),
            Panel("input x gradient, size", "either sign", product, "nats per pixel"),
        ]

    def _by_rules(self) -> list[Panel]:
        """What goes back under other rules than the derivative's."""
        product = lambda *args, **o: af.guided_grad_cam(  # noqa: E731
            *args, layer=FEATURES, side="input", interpolate_mode="bilinear", **o
        )
        differences = self._compare("DeepLIFT", af.deep_lift)
        # Relevance is a share of the score itself, and the logarithm of a probability near 1 is nearly nothing.
        logit = lambda logits: logits[:, list(self.photo.classes)].amax(1)  # noqa: E731
        relevance = self._differentiate("LRP", lambda model, x, target: af.lrp(model, x, target=logit, rules=COMPOSITE))
        guided = self._differentiate("guided Grad-CAM", product, points=2)
        return [
            Panel("DeepLIFT", "for (red) and against (blue)", differences, "nats per pixel", signed=True),
            Panel("LRP", "epsilon-gamma-box, of the logit", relevance, "logits per pixel", signed=True),
            Panel("guided Grad-CAM", "size", guided, "no unit"),
        ]

    def _at_layers(self) -> list[Panel]:
        panels = []
        for name, title in LAYERS.items():
            view = af.layer(self.model, name)
            attributions = self._integrate(title, view, self.steps // 2, target=self.target)
            note = f"{attributions.shape[-2]} x {attributions.shape[-1]} positions"
            panels.append(Panel(title, note, attributions, "nats per position", signed=True))
        inner, steps = next(iter(LAYERS)), self.steps // 2
        units = self._along("conductance", steps, lambda **o: af.conductance(self.model, self.x, layer=inner, **o))
        panels.append(Panel("conductance", "at block 11 of 16", units, "nats per position", signed=True))
        heat = self._differentiate("Grad-CAM", lambda *args, **o: af.grad_cam(*args, layer=FEATURES, side="input", **o))
        panels.append(Panel("Grad-CAM", f"{heat.shape[-2]} x {heat.shape[-1]} positions", heat, "nats", signed=True))
        return panels

    def _of_neuron(self) -> list[Panel]:
        """What drives the feature that the class owes most to, at the position that it owes most to."""
        features = af.layer(self.model, FEATURES, side="input")
        share = af.ig(features, self.x, baseline=self.baseline, target=self.target, n_steps=16)[0]
        row, column = divmod(int(share.sum(0).argmax()), share.shape[-1])
        channel = int(share[:, row, column].argmax())
        neuron = af.neuron(self.model, PREACTIVATION, (channel, row, column))
        drivers = self._integrate("IG of a neuron", neuron, self.steps)
        note, unit, cell = f"drivers of feature {channel}, framed", "activation per pixel", (row, column)
        return [
            Panel("IG of a neuron", note, drivers, unit, signed=True, cell=cell),
            Panel("IG of a neuron, size", note, drivers, unit, cell=cell),
        ]

    def _of_superpixels(self) -> tuple[Superpixels, list[Panel]]:
        """What each patch of the photograph is worth, by scores of photographs with some patches blurred."""
        mask = af.superpixels(self.x, n_segments=SEGMENTS)
        options = {"baseline": self.baseline, "target": self.target, "feature_mask": mask}
        seeded = lambda: torch.Generator().manual_seed(0)  # noqa: E731
        draws = {"n_samples": PERMUTATIONS, **options}
        lime = self._patches("LIME", af.lime, COALITIONS, n_samples=COALITIONS, generator=seeded(), **options)
        shapley = self._patches("Shapley values", af.shapley_sampling, PERMUTATIONS, generator=seeded(), **draws)
        error = self._patches("their errors", af.shapley_sampling_error, PERMUTATIONS, generator=seeded(), **draws)
        values = [of_groups(one, mask) for one in (shapley, error, lime)]
        note, unit = f"{len(values[0])} patches", "nats per patch"
        panels = [
            Panel("Shapley values of superpixels", note, shapley[:, :1], unit, signed=True, patches=True),
            Panel("LIME of superpixels", note, lime[:, :1], unit, signed=True, patches=True),
        ]
        return Superpixels(mask[0, 0], *values), panels

    def _patches(self, method: str, function: Callable[..., Tensor], points: int, **options: Any) -> Tensor:
        self.bar.set_postfix_str(f"{self.photo.name}, {method}")
        start = time.perf_counter()
        attributions = function(self.model, self.x, **options)
        seconds = time.perf_counter() - start
        if method == "Shapley values":
            change = af.score_change(self.model, self.x, baseline=self.baseline, target=self.target)
            total = of_groups(attributions, options["feature_mask"]).sum()
            self._record(f"{method} of superpixels", abs((total - change) / change).item(), seconds, points)
        elif method == "LIME":
            self._record(f"{method} of superpixels", None, seconds, points)
        self.bar.update(points)
        return attributions

    def _integrate(self, method: str, view: nn.Module | af.View, steps: int, **target: Any) -> Tensor:
        return self._along(method, steps, lambda **options: af.ig(view, self.x, **options), view, **target)

    def _along(
        self,
        method: str,
        steps: int,
        function: Callable[..., Tensor],
        view: nn.Module | af.View | None = None,
        **target: Any,
    ) -> Tensor:
        """What a method that integrates gives; `view` is that whose score changes along its path."""
        view, target = (view, target) if view is not None else (self.model, {"target": self.target})
        self.bar.set_postfix_str(f"{self.photo.name}, {method}")
        before, start = self.bar.n, time.perf_counter()
        attributions = function(
            baseline=self.baseline,
            n_steps=steps,
            progress=lambda done, total: self.bar.update(before + done - self.bar.n),
            **target,
        )
        seconds = time.perf_counter() - start
        change = af.score_change(view, self.x, baseline=self.baseline, **target)
        self._record(method, abs((attributions.sum() - change) / change).item(), seconds, steps)
        return attributions

    def _compare(self, method: str, function: Callable[..., Tensor]) -> Tensor:
        """What a method that compares with the baseline gives, in two runs."""
        self.bar.set_postfix_str(f"{self.photo.name}, {method}")
        options, start = {"baseline": self.baseline, "target": self.target}, time.perf_counter()
        attributions = function(self.model, self.x, **options)
        seconds = time.perf_counter() - start
        change = af.score_change(self.model, self.x, **options)
        self._record(method, abs((attributions.sum() - change) / change).item(), seconds, 2)
        self.bar.update(2)
        return attributions

    def _differentiate(self, method: str, function: Callable[..., Tensor], points: int = 1) -> Tensor:
        self.bar.set_postfix_str(f"{self.photo.name}, {method}")
        start = time.perf_counter()
        attributions = function(self.model, self.x, target=self.target)
        self._record(method, None, time.perf_counter() - start, points)
        self.bar.update(points)
        return attributions

    def _record(self, method: str, gap: float | None, seconds: float, points: int) -> None:
        self.rows.append(Row(self.photo.name, self.photo.label, self.probability, method, gap, seconds, points))


def of_groups(attributions: Tensor, mask: Tensor) -> Tensor:
    """The number that each group's elements have, which is the same for all of them."""
    groups, values = mask.flatten(), attributions[:, :1].flatten()
    return torch.zeros(int(groups.max()) + 1).scatter_reduce(0, groups, values, "mean", include_self=False)


def table(rows: Sequence[Row]) -> str:
    """The rows as text."""
    head = ("photo", "class", "probability", "method", "gap", "seconds", "points")
    cells = [head] + [
        (
            row.photo,
            row.label,
            f"{row.probability:.2f}",
            row.method,
            "-" if row.gap is None else f"{row.gap:.1%}",
            f"{row.seconds:.2f}",
            str(row.points),
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    numbers = {"probability", "gap", "seconds", "points"}
    lines = [
        "  ".join(
            cell.rjust(width) if name in numbers else cell.ljust(width)
            for cell, width, name in zip(line, widths, head, strict=True)
        ).rstrip()
        for line in cells
    ]
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([lines[0], rule, *lines[1:]])


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    names = [photo.name for photo in PHOTOS]
    parser = argparse.ArgumentParser(description="Attribute real photographs with a real classifier.")
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="folder of the gallery")
    parser.add_argument(
        "--steps", type=int, default=160, help="points on a path at the input; more of them narrow the gap"
    )
    parser.add_argument("--photos", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    options = parser.parse_args()
    if options.steps < 2:
        parser.error(f"--steps is {options.steps}; at a layer half as many are taken, so at least 2 are needed")
    return options


def main() -> None:
    """Run the demo."""
    options = parse_arguments()
    photos = [photo for photo in PHOTOS if photo.name in options.photos]
    options.output.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    print(f"What does EfficientNet-Lite0 see in {len(photos)} photograph(s)?")
    model = load_classifier()
    rows, pages, warnings = [], [], []
    steps = 2 * options.steps + (len(LAYERS) + 1) * (options.steps // 2)
    points = steps + SAMPLES + 8 + COALITIONS + 2 * PERMUTATIONS
    with tqdm(total=points * len(photos), unit="point", smoothing=0.05) as bar:
        for photo in photos:
            explainer = Explainer(model, photo, options.steps, bar)
            pages.append(explainer.explain())
            rows += explainer.rows
            if not explainer.expected:
                warnings.append(f"The classifier's first choice for {photo.name} is not {photo.label}.")
        bar.set_postfix_str("drawing")
        files = [draw(page, options.output) for page in pages for draw in (draw_page, draw_superpixels)]
    overview = draw_overview(pages, options.output)
    text = table(rows)
    (options.output / "table.txt").write_text(text + "\n")
    print(f"\n{text}\n")
    print("gap: how far the attributions are from summing to the change of the score between baseline and photograph,")
    print("relative to that change; a dash where the method promises no such thing. points: gradients evaluated;")
    print("coalitions of superpixels (LIME), or permutations of them (Shapley values).")
    for warning in warnings:
        print(f"Warning: {warning}")
    print(f"\nDone in {time.perf_counter() - started:.0f} s. Look at {overview} first; then, two pages a photograph:")
    for file in files:
        print(f"  {file}")
    print(f"The table is in {options.output / 'table.txt'}.")


if __name__ == "__main__":
    main()
