"""Which measurements does a diagnosis need? Hard concrete gates under a growing L0 penalty.

    python examples/feature_selection.py [--output examples-output] [--steps 400]

A linear classifier of breast cancer data (scikit-learn's, 30 measurements) is trained behind one gate for each
measurement. The penalty on the expected number of open gates grows from left to right in the picture: gates close one
after the other, and the accuracy on patients that were not seen tells how few measurements are enough.

All penalties are trained at once: `vmap` maps the training step over them, with the pure functions of `attrfunc.gates`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.func import grad, vmap

import attrfunc as af
from ensemble import Patients, load

PENALTIES = torch.logspace(-3.5, -0.5, 16)
LEARNING_RATE, SAMPLES = 0.05, 8


@dataclass(frozen=True)
class Selection:
    """What came out, for each penalty.

    Attributes:
        gates: `(penalties, 30)`.
        accuracy: On the test set, `(penalties,)`.
    """

    gates: Tensor
    accuracy: Tensor


def loss(state: dict[str, Tensor], penalty: Tensor, patients: Patients, generator: torch.Generator) -> Tensor:
    """The mean cross-entropy over random gates, and the expected number of open ones."""
    gates = af.gates.hard_concrete(state["log_alpha"], shape=(SAMPLES,), generator=generator)
    log_odds = (gates * state["weight"]) @ patients.training.T + state["bias"]
    labels = patients.training_labels.expand_as(log_odds)
    error = torch.nn.functional.binary_cross_entropy_with_logits(log_odds, labels)
    return error + penalty * af.gates.active_probability(state["log_alpha"]).sum()


def train(patients: Patients, steps: int) -> dict[str, Tensor]:
    """Adam, for all penalties at once."""
    count, features = len(PENALTIES), patients.training.shape[1]
    state = {
        "weight": torch.zeros(count, features),
        "bias": torch.zeros(count, 1),
        "log_alpha": torch.zeros(count, features),
    }
    state["log_alpha"] += 1.0
    first, second = ({name: torch.zeros_like(leaf) for name, leaf in state.items()} for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    slopes = vmap(grad(loss), in_dims=(0, 0, None, None), randomness="same")
    for step in range(1, steps + 1):
        for name, slope in slopes(state, PENALTIES, patients, generator).items():
            first[name] = 0.9 * first[name] + 0.1 * slope
            second[name] = 0.999 * second[name] + 0.001 * slope.square()
            change = first[name] / (1 - 0.9**step) / ((second[name] / (1 - 0.999**step)).sqrt() + 1e-8)
            state[name] = state[name] - LEARNING_RATE * change
    return state


def draw(found: Selection, names: Sequence[str], file: Path) -> None:
    """The gates and the accuracy along the path."""
    figure = Figure(figsize=(10, 5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    last = sorted(range(len(names)), key=lambda feature: -float(found.gates[:, feature].sum()))[:6]
    for feature in range(len(names)):
        shown = feature in last
        label = names[feature] if shown else None
        left.semilogx(
            PENALTIES, found.gates[:, feature], color=None if shown else "#cccccc", label=label, lw=2 if shown else 1
        )
    left.set(xlabel="penalty for each open gate", ylabel="gate", title="Gates close as the penalty grows")
    left.legend(fontsize=8)
    counts = (found.gates > 0).sum(1)
    right.plot(counts, 100 * found.accuracy, "o-", color="#333333")
    right.set(xlabel="measurements in use", ylabel="accuracy on the test set, %", title="What is lost by using fewer")
    right.invert_xaxis()
    figure.savefig(file, dpi=110)


def main(arguments: Sequence[str] | None = None) -> Selection:
    """Train along the path, report and draw."""
    parser = argparse.ArgumentParser(description="Feature selection by gates with an L0 penalty.")
    parser.add_argument("--output", type=Path, default=Path("examples-output"), help="folder of the picture")
    parser.add_argument("--steps", type=int, default=400, help="training steps")
    options = parser.parse_args(arguments)
    patients = load()
    state = train(patients, options.steps)
    gates = af.gates.expected_gate(state["log_alpha"])
    log_odds = (gates * state["weight"]) @ patients.test.T + state["bias"]
    found = Selection(gates, ((log_odds > 0) == patients.test_labels).float().mean(1))
    for penalty, open_, accuracy in zip(PENALTIES, gates > 0, found.accuracy, strict=True):
        print(f"penalty {penalty:.4f}: {int(open_.sum()):2} measurements, test accuracy {accuracy:.1%}")
    kept = max((gates > 0).sum(1).tolist().index(n) for n in set((gates > 0).sum(1).tolist()) if n > 0)
    print(
        "The last to close:", ", ".join(name for name, one in zip(patients.names, gates[kept] > 0, strict=True) if one)
    )
    options.output.mkdir(parents=True, exist_ok=True)
    draw(found, patients.names, options.output / "feature_selection.png")
    print(f"Look at {options.output / 'feature_selection.png'}.")
    return found


if __name__ == "__main__":
    main()
