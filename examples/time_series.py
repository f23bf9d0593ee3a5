"""When is a hand with a gun told from one without? A convolutional network on GunPoint, and three methods.

    python examples/time_series.py [--output examples-output] [--steps 150]

Actors draw a gun, or point with a finger; a series is the height of the right hand in 150 steps of time. The data come
inside the aeon package. Whether a method finds the steps that matter is checked: those that it says speak most for the
class are replaced by the mean series, and the score has to fall by more than where as many are chosen by chance.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

import attrfunc as af

KEPT = 30  # of 150 steps are replaced


class Found(NamedTuple):
    """What was found.

    Attributes:
        accuracy: On series that the network was not trained on.
        lost: What the score loses without the steps that a method says matter most, on average, by its name.
        by_chance: The same without as many steps in a row, drawn at random.
    """

    accuracy: float
    lost: dict[str, float]
    by_chance: float


def load(part: str) -> tuple[Tensor, Tensor]:
    """Series `(B, 1, 150)` and classes: 0 with a gun, 1 without."""
    package = Path(importlib.util.find_spec("aeon").origin).parent  # which is not imported: it asks for a compiler
    lines = (package / "datasets" / "data" / "GunPoint" / f"GunPoint_{part}.ts").read_text().splitlines()
    rows = [line.split(":") for line in lines if line and line[0] not in "#@"]
    series = torch.tensor([[float(number) for number in row[0].split(",")] for row in rows])
    return series[:, None], torch.tensor([int(row[1]) - 1 for row in rows])


def trained(x: Tensor, labels: Tensor, steps: int) -> nn.Module:
    """A small convolutional network."""
    torch.manual_seed(0)
    layers = [nn.Conv1d(1, 16, 9, padding=4), nn.ReLU(), nn.Conv1d(16, 16, 9, padding=4), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool1d(10), nn.Flatten(), nn.Linear(160, 2))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), labels).backward()
        optimizer.step()
    return model.eval()


def main(arguments: Sequence[str] | None = None) -> Found:
    """Train, explain, check, draw and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("examples-output"))
    parser.add_argument("--steps", type=int, default=150)
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)

    train, labels = load("TRAIN")
    x, classes = load("TEST")
    model, mean = trained(train, labels, options.steps), train.mean(0)
    predicted = model(x).argmax(1)
    accuracy = (predicted == classes).float().mean().item()
    against = {"baseline": mean, "target": predicted}
    found = {
        "integrated gradients": af.ig(model, x, **against),
        "DeepLIFT": af.deep_lift(model, x, **against),
        "occlusion": af.occlusion(model, x, window=(1, 10), stride=(1, 5), **against),
    }

    def lost(chosen: Tensor) -> float:
        """What the scores lose on average where these steps `(B, 1, 150)` are those of the mean series."""
        with torch.no_grad():
            change = model(x) - model(torch.where(chosen, mean, x))
        return change.gather(1, predicted[:, None]).mean().item()

    def most(values: Tensor) -> Tensor:
        return torch.zeros_like(x, dtype=torch.bool).scatter(2, values.topk(KEPT, 2).indices, True)

    losses = {name: lost(most(values)) for name, values in found.items()}
    generator = torch.Generator().manual_seed(0)
    starts = torch.randint(150 - KEPT, (20, len(x), 1, 1), generator=generator)
    times = torch.arange(150)
    by_chance = sum(lost((times >= start) & (times < start + KEPT)) for start in starts) / len(starts)
    print(f"{accuracy:.0%} of other series are told right")
    for name, loss in losses.items():
        print(f"without the {KEPT} steps that {name} names the score falls by {loss:.2f} (by chance: {by_chance:.2f})")

    pair = [int((classes == label).nonzero()[0]) for label in (0, 1)]
    figure = af.viz.series(
        found["DeepLIFT"][pair, 0], x[pair, 0], names=["with a gun", "without"], unit="logit", xlabel="time"
    )
    figure.savefig(options.output / "time_series.png")
    print(f"see {options.output / 'time_series.png'}")
    return Found(accuracy, losses, by_chance)


if __name__ == "__main__":
    main()
