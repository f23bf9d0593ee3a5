"""Which labels are wrong? Digits of which 5 % have a wrong label, found by their influence on themselves.

    python examples/mislabelled.py [--output examples-output] [--images 1200] [--steps 1000]

A small network learns scikit-learn's digits, of which one in twenty was given a wrong label. A wrong label has to be
learned by heart: its gradients are large, and point where few others do, so that it helps itself above all. The
self-influence of TracIn adds the squares of its gradients up along the training. The page shows the images that it
suspects first, and how many wrong labels one finds by looking at them in this order, beside the order of the losses at
the end. These order as well while a network has not yet learned wrong labels by heart (--steps 120), and worse the
longer it trains; self-influence remembers.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn

import attrfunc as af

SHARE, EVERY, SHOWN = 0.05, 50, 24
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Result:
    """What came out.

    Attributes:
        auc: The area under the curve of finding wrong labels, by way of ordering.
        found: The share of wrong labels among as many suspects as there are wrong labels, likewise.
        suspects: The images in the order of self-influence.
    """

    auc: dict[str, float]
    found: dict[str, float]
    suspects: Tensor


def load(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images, labels of which some are wrong, and right ones."""
    images, labels = load_digits(return_X_y=True)
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(images), generator=generator)[:count]
    x, right = torch.tensor(images[chosen] / 16, dtype=torch.float32), torch.tensor(labels[chosen])
    wrong = torch.rand(count, generator=generator) < SHARE
    shift = torch.randint(1, 10, (count,), generator=generator)
    return x, torch.where(wrong, (right + shift) % 10, right), right


def loss(model: nn.Module, batch: Batch) -> Tensor:
    """One number for each example."""
    return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")


def train(batch: Batch, steps: int) -> tuple[nn.Module, list[tuple[dict[str, Tensor], float]]]:
    """A network, and its state on the way with the learning rate."""
    torch.manual_seed(0)
    model, rate = nn.Sequential(nn.Linear(64, 48), nn.GELU(), nn.Linear(48, 10)), 0.5
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.5)
    states = []
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        loss(model, batch).mean().backward()
        optimizer.step()
        if step % EVERY == 0:
            states.append(({name: value.clone() for name, value in model.state_dict().items()}, rate * EVERY))
    return model.eval(), states


def curve(order: Tensor, wrong: Tensor) -> Tensor:
    """The share of wrong labels that have been seen after each image."""
    return wrong[order].cumsum(0) / wrong.sum()


def draw(orders: dict[str, Tensor], x: Tensor, labels: Tensor, right: Tensor, file: Path) -> None:
    """The suspects, and the curves."""
    wrong = labels != right
    figure = Figure(figsize=(12, 5.2), layout="constrained")
    left, side = figure.subfigures(1, 2, width_ratios=[1.15, 1])
    for axes, index in zip(left.subplots(4, SHOWN // 4).flat, orders["self-influence"], strict=False):
        axes.imshow(x[index].view(8, 8).numpy(), cmap="gray_r")
        colour = "firebrick" if wrong[index] else "black"
        axes.set_title(f"labelled {int(labels[index])}", fontsize=9, color=colour)
        axes.axis("off")
    left.suptitle("The first suspects (red: the label was indeed changed)")
    axes = side.subplots()
    share = torch.arange(1, len(x) + 1) / len(x)
    for name, order in orders.items():
        axes.plot(share.numpy(), curve(order, wrong).numpy(), label=name)
    axes.plot([0, 1], [0, 1], color="grey", lw=1, ls=":", label="chance")
    axes.set_xlim(0, 4 * SHARE)
    axes.set_xlabel("share of the images that were looked at")
    axes.set_ylabel("share of the wrong labels that were found")
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=110)


def main(arguments: Sequence[str] | None = None) -> Result:
    """Train, order, draw."""
    parser = argparse.ArgumentParser(description="Wrong labels, found by self-influence.")
    parser.add_argument("--output", type=Path, default=Path("examples-output"), help="folder of the picture")
    parser.add_argument("--images", type=int, default=1200, help="images to train on")
    parser.add_argument("--steps", type=int, default=1000, help="training steps")
    options = parser.parse_args(arguments)
    if options.steps < EVERY or options.images < 200:
        parser.error(f"--steps has to be at least {EVERY}, and --images at least 200")
    started = time.perf_counter()
    x, labels, right = load(options.images)
    model, states = train((x, labels), options.steps)
    data = list(zip(x.split(200), labels.split(200), strict=True))
    trained = time.perf_counter()
    scores = {
        "self-influence": af.influence.self_influence(model, data, loss=loss, checkpoints=states),
        "loss at the end": loss(model, (x, labels)).detach(),
    }
    took, wrong = time.perf_counter() - trained, labels != right
    orders = {name: score.argsort(descending=True) for name, score in scores.items()}
    auc = {name: af.influence.mislabel_auc(score, wrong) for name, score in scores.items()}
    first = int(wrong.sum())
    found = {name: float(wrong[order[:first]].float().mean()) for name, order in orders.items()}
    print(f"{len(x)} images, {first} of them with a wrong label; {len(states)} checkpoints, {1e3 * took:.0f} ms.")
    for name in scores:
        print(
            f"  {name:16} area under the curve {auc[name]:.3f}; of the first {first} suspects {found[name]:.0%} wrong"
        )
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "mislabelled.png"
    draw(orders, x, labels, right, file)
    print(f"Done in {time.perf_counter() - started:.0f} s. Look at {file}.")
    return Result(auc, found, orders["self-influence"])


if __name__ == "__main__":
    main()
