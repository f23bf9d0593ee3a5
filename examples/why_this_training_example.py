"""Which training examples made the network say that? Proponents and opponents of predictions, checked by retraining.

    python examples/why_this_training_example.py [--output examples-output] [--queries 4] [--subsets 60]

A small network learns 400 of scikit-learn's digits. For test images that it finds hard, the page shows the training
images that have helped the prediction most, and those that have hurt it most, by influence functions with EK-FAC.
Whether that means anything is tried: the network is trained anew on random halves of the data, all of them in one
program by `vmap`, and the linear datamodelling score says how well scores, added up over a half, rank what comes out.
It is compared with TracIn at the end of training, and with images that the last hidden layer finds similar.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn

import attrfunc as af

TRAINING, CANDIDATES, SHOWN, STEPS, DECAY = 400, 300, 5, 120, 1e-2
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Result:
    """What came out.

    Attributes:
        scores: The influence of each training image on each query.
        lds: How well each way of scoring predicts retraining.
        queries: How many queries were asked about.
    """

    scores: Tensor
    lds: dict[str, af.influence.Lds]
    queries: int


def load() -> tuple[Batch, Batch]:
    """Training images and test images."""
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1))
    x, y = torch.tensor(images / 16, dtype=torch.float32)[order], torch.tensor(labels)[order]
    return (x[:TRAINING], y[:TRAINING]), (x[TRAINING:][:CANDIDATES], y[TRAINING:][:CANDIDATES])


def network() -> nn.Module:
    """A network for images of 64 pixels."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 24), nn.Tanh(), nn.Linear(24, 10))


SKELETON = network()
START = {name: value.detach().clone() for name, value in SKELETON.named_parameters()}


def loss(model: nn.Module, batch: Batch) -> Tensor:
    """One number for each example."""
    return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")


def train(weights: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Gradient descent with momentum, as a pure function of the examples' weights."""

    def objective(state: dict[str, Tensor]) -> Tensor:
        model = lambda x: torch.func.functional_call(SKELETON, state, (x,))  # noqa: E731
        decay = sum(value.square().sum() for value in state.values())
        return (weights * loss(model, batch)).sum() / weights.sum() + DECAY / 2 * decay

    state, speed = START, {name: torch.zeros_like(value) for name, value in START.items()}
    for _ in range(STEPS):
        slopes = torch.func.grad(objective)(state)
        speed = {name: 0.9 * speed[name] + slopes[name] for name in state}
        state = {name: state[name] - 0.1 * speed[name] for name in state}
    return state


def show(axes: Axes, image: Tensor, title: str, colour: str = "black") -> None:
    """One image with its label."""
    axes.imshow(image.view(8, 8).numpy(), cmap="gray_r")
    axes.set_title(title, fontsize=9, color=colour)
    axes.axis("off")


def draw(model: nn.Module, queries: Batch, training: Batch, scores: Tensor, file: Path) -> None:
    """A row for each query."""
    figure = Figure(figsize=(13, 1.5 * len(scores) + 0.8), layout="constrained")
    grid = figure.subplots(len(scores), 2 * SHOWN + 2, squeeze=False)
    said = model(queries[0]).argmax(1)
    for row, axes in enumerate(grid):
        show(axes[0], queries[0][row], f"a {int(queries[1][row])}, said {int(said[row])}")
        axes[SHOWN + 1].axis("off")
        order = scores[row].argsort(descending=True)
        picked = [*order[:SHOWN].tolist(), None, *order.flip(0)[:SHOWN].tolist()]
        for place, index in zip(axes[1:], picked, strict=True):
            if index is not None:
                colour = "seagreen" if scores[row, index] > 0 else "firebrick"
                show(place, training[0][index], f"{int(training[1][index])} ({scores[row, index]:+.3f})", colour)
    figure.suptitle("Queries; the training images that help most (green) and that hurt most (red), in nats of the loss")
    figure.savefig(file, dpi=110)


def main(arguments: Sequence[str] | None = None) -> Result:
    """Train, score, retrain, draw."""
    parser = argparse.ArgumentParser(description="Proponents and opponents of predictions.")
    parser.add_argument("--output", type=Path, default=Path("examples-output"), help="folder of the picture")
    parser.add_argument("--queries", type=int, default=4, help="predictions to explain in the picture")
    parser.add_argument("--subsets", type=int, default=60, help="halves of the data to train on")
    options = parser.parse_args(arguments)
    if options.queries < 1 or options.subsets < 10:
        parser.error("--queries has to be at least 1, and --subsets at least 10")
    started = time.perf_counter()
    training, test = load()
    model = network().eval()
    model.load_state_dict(train(torch.ones(TRAINING), training))
    hard = loss(model, test).argsort(descending=True)[: max(options.queries, 20)]
    queries, data = (test[0][hard], test[1][hard]), [training]
    curvature = af.influence.ekfac(model, data, loss=loss, damping=DECAY)
    scores = {
        "EK-FAC": af.influence.influence_function(model, queries, data=data, loss=loss, curvature=curvature),
        "TracIn": af.influence.tracin(model, queries, data=data, loss=loss),
        "similar": af.influence.activation_similarity(af.layer(model, "1"), queries[0], data=[training[0]]),
    }
    scored = time.perf_counter()

    def measure(weights: Tensor) -> Tensor:
        state = train(weights, training)
        return -loss(lambda x: torch.func.functional_call(SKELETON, state, (x,)), queries)

    masks = (torch.rand(options.subsets, TRAINING, generator=torch.Generator().manual_seed(2)) < 0.5).float()
    truth = af.influence.retrain(measure, masks)
    seconds = time.perf_counter() - scored
    lds = {name: af.influence.lds(one, masks, truth) for name, one in scores.items()}
    print(f"Test accuracy {(model(test[0]).argmax(1) == test[1]).float().mean():.1%}; {len(hard)} hard queries.")
    print(f"{options.subsets} trainings in one program took {seconds:.1f} s. How well scores predict them (LDS):")
    for name, (mean, (low, high)) in lds.items():
        print(f"  {name:8} {mean:+.2f}   ({low:+.2f} to {high:+.2f})")
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "why_this_training_example.png"
    shown = options.queries
    draw(model, (queries[0][:shown], queries[1][:shown]), training, scores["EK-FAC"][:shown], file)
    print(f"Done in {time.perf_counter() - started:.0f} s. Look at {file}.")
    return Result(scores["EK-FAC"], lds, len(hard))


if __name__ == "__main__":
    main()
