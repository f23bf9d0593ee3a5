"""How far can an explanation be trusted? Mean and spread of attributions over an ensemble, in one vmapped call.

    python examples/ensemble.py [--output examples-output] [--members 10] [--steps 150]

Ten small networks learn to tell malignant from benign tumours (scikit-learn's breast cancer data, 30 measurements).
They differ in their initial weights and in the patients that they are trained on, drawn with replacement, and are about
equally good. What they do *not* agree on is an accident of training rather than something about the patient, and one
network alone cannot tell the two apart: this script draws the spread, and marks the measurements for which all networks
agree on the sign.

What is attributed is the log-odds of malignancy, along the path from the average patient of the training set. The mean
of the attributions explains the mean of the log-odds, since attributions are linear in the model.

How: `torch.func.stack_module_state` stacks the networks' parameters, `af.bind` puts one member's into a skeleton, and
`vmap` maps over members; the training step is mapped in the same way. That equals a loop over the members, which the
script checks and times.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.datasets import load_breast_cancer
from torch import Tensor, nn
from torch.func import grad, stack_module_state, vmap

import attrfunc as af

TRAINING, LEARNING_RATE, REPETITIONS = 400, 3e-3, 5


@dataclass(frozen=True)
class Patients:
    """Measurements `(N, 30)`, standardised with the training set's mean and deviation; label 1 is malignant."""

    training: Tensor
    training_labels: Tensor
    test: Tensor
    test_labels: Tensor
    names: list[str]


@dataclass(frozen=True)
class Result:
    """What came out.

    Attributes:
        attributions: Of each member and patient, `(members, patients, 30)`.
        accuracy: Of each member on the test set.
        difference: The largest between the vmapped call and the loop.
        gap: The largest deviation from completeness.
    """

    attributions: Tensor
    accuracy: Tensor
    difference: float
    gap: float


def load() -> Patients:
    """The data, split at random."""
    data = load_breast_cancer()
    x, labels = torch.tensor(data.data, dtype=torch.float32), torch.tensor(1.0 - data.target, dtype=torch.float32)
    train, test = torch.randperm(len(x), generator=torch.Generator().manual_seed(0)).split(
        [TRAINING, len(x) - TRAINING]
    )
    x = (x - x[train].mean(0)) / x[train].std(0)
    return Patients(x[train], labels[train], x[test], labels[test], data.feature_names.tolist())


def network() -> nn.Module:
    """A network that returns the log-odds of malignancy, one number a patient."""
    return nn.Sequential(nn.Linear(30, 32), nn.GELU(), nn.Linear(32, 1), nn.Flatten(0))


SKELETON = network()  # its own parameters are never used


def attribute(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """Integrated gradients of one member; a baseline of zeros is the average patient."""
    return af.ig(af.bind(SKELETON, state), x)


def train(patients: Patients, members: int, steps: int) -> dict[str, Tensor]:
    """Train all members in one vmapped call a step; returns their stacked parameters."""
    torch.manual_seed(0)
    state = {name: leaf.detach() for name, leaf in stack_module_state([network() for _ in range(members)])[0].items()}
    drawn = torch.randint(TRAINING, (members, TRAINING))

    def loss(state: dict[str, Tensor], x: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(af.bind(SKELETON, state)(x), labels)

    optimizer = torch.optim.Adam(state.values(), lr=LEARNING_RATE)
    for _ in range(steps):
        gradients = vmap(grad(loss))(state, patients.training[drawn], patients.training_labels[drawn])
        for name, leaf in state.items():
            leaf.grad = gradients[name]
        optimizer.step()
    return {name: leaf.detach() for name, leaf in state.items()}


def fastest(function: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """The result, and the least seconds of several calls."""
    seconds = []
    for _ in range(REPETITIONS):
        started = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - started)
    return result, min(seconds)


def agreement(attributions: Tensor) -> Tensor:
    """For each attribution, the share of members that have the sign of the majority: from one half to 1."""
    positive = (attributions > 0).float().mean(0)
    return torch.maximum(positive, 1 - positive)


def draw_patient(axes: Axes, attributions: Tensor, names: Sequence[str], title: str) -> None:
    """Bars for the mean, whiskers for the spread; `attributions` is `(members, 30)`."""
    mean, spread, agreed = attributions.mean(0), attributions.std(0), agreement(attributions) == 1
    order = mean.abs().argsort()
    places = range(len(order))
    colours = [("firebrick" if mean[i] > 0 else "steelblue") if agreed[i] else "lightgrey" for i in order]
    axes.barh(places, mean[order].numpy(), color=colours)
    axes.errorbar(mean[order].numpy(), places, xerr=spread[order].numpy(), fmt="none", ecolor="black", lw=1, capsize=2)
    axes.set_yticks(places, [names[i] for i in order], fontsize=9)
    axes.set_ylim(-0.7, len(order) - 0.3)
    axes.axvline(0, color="black", lw=0.8)
    axes.grid(axis="x", alpha=0.3)
    axes.set_title(title, fontsize=11)
    axes.set_xlabel("integrated gradients, log-odds of malignancy")


def draw(attributions: Tensor, chosen: dict[str, int], log_odds: Tensor, names: Sequence[str], file: Path) -> None:
    """Draw a patient of each class side by side."""
    figure = Figure(figsize=(13, 8.2), layout="constrained")
    for axes, (kind, index) in zip(figure.subplots(1, 2), chosen.items(), strict=True):
        odds = log_odds[:, index]
        title = f"a {kind} tumour (log-odds of malignancy {odds.min():.1f} to {odds.max():.1f})"
        draw_patient(axes, attributions[:, index], names, title)
    figure.suptitle(
        f"Mean and standard deviation of attributions over {len(attributions)} networks\n"
        "coloured where all networks agree on the sign (red: speaks for malignancy, blue: against), grey where not",
        fontsize=12,
    )
    figure.savefig(file, dpi=110)


def report(attributions: Tensor, chosen: dict[str, int], names: Sequence[str]) -> None:
    """Print what the ensemble agrees on."""
    mean, spread, agreed = attributions.mean(0), attributions.std(0), agreement(attributions)
    unanimous = agreed == 1
    held = (mean.abs() * unanimous).sum() / mean.abs().sum()
    print(
        f"All {len(attributions)} networks agree on the sign of {unanimous.float().mean():.0%} of the attributions "
        f"in the test set; these hold\n{held:.0%} of the size of the mean attributions."
    )
    for kind, index in chosen.items():
        print(f"\nThe five largest for a {kind} tumour (log-odds; agreement on the sign)")
        for i in mean[index].abs().argsort(descending=True)[:5].tolist():
            print(f"  {names[i]:24}{mean[index, i]:+6.2f} +/- {spread[index, i]:.2f}   {agreed[index, i]:4.0%}")


def main(arguments: Sequence[str] | None = None) -> Result:
    """Train, attribute, check and draw."""
    parser = argparse.ArgumentParser(description="Mean and spread of attributions over an ensemble.")
    parser.add_argument("--output", type=Path, default=Path("examples-output"), help="folder of the picture")
    parser.add_argument("--members", type=int, default=10, help="networks in the ensemble")
    parser.add_argument("--steps", type=int, default=150, help="training steps")
    options = parser.parse_args(arguments)
    if options.members < 2:
        parser.error("--members has to be at least 2, to have a spread")
    started = time.perf_counter()
    patients = load()
    state = train(patients, options.members, options.steps)
    members = [{name: leaf[i] for name, leaf in state.items()} for i in range(options.members)]
    attributions, together = fastest(lambda: vmap(attribute, in_dims=(0, None))(state, patients.test))
    looped, apart = fastest(lambda: torch.stack([attribute(member, patients.test) for member in members]))
    difference = float((attributions - looped).abs().max())
    gaps = [
        af.completeness_gap(af.bind(SKELETON, member), patients.test, one)
        for member, one in zip(members, attributions, strict=True)
    ]
    with torch.no_grad():
        log_odds = torch.stack([af.bind(SKELETON, member)(patients.test) for member in members])
    accuracy = ((log_odds > 0) == patients.test_labels).float().mean(1)
    gap = float(torch.stack(gaps).abs().max())
    print(f"{options.members} networks, test accuracy {accuracy.min():.1%} to {accuracy.max():.1%}")
    print(f"Attributions reach {attributions.abs().max():.1f} in size; the largest completeness gap is {gap:.1e}.")
    print(f"One vmapped call and a loop differ by at most {difference:.1e}.", end=" ")
    print(f"They take {1e3 * together:.0f} and {1e3 * apart:.0f} ms: {apart / together:.1f} x as fast.\n")
    chosen = {
        kind: int((patients.test_labels == label).nonzero()[0]) for label, kind in enumerate(("benign", "malignant"))
    }
    report(attributions, chosen, patients.names)
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "ensemble.png"
    draw(attributions, chosen, log_odds, patients.names, file)
    print(f"\nDone in {time.perf_counter() - started:.0f} s. Look at {file}.")
    return Result(attributions, accuracy, difference, gap)


if __name__ == "__main__":
    main()
