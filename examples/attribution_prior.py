"""Right for the right reasons: a prior on attributions inside the training loss keeps a classifier off a shortcut.

    python examples/attribution_prior.py [--output examples-output] [--seeds 5] [--steps 300]

The data are scikit-learn's handwritten digits with a stamp on each, a square at one of ten places. While training,
its place tells the digit; in the test set it tells nothing (after the decoys of Ross et al. 2017). A plain network
learns the stamp, which is easier than to read, and fails. The prior (after Erion et al. 2021) adds one term to the
loss: the size of the integrated gradients on the stamp.

Networks are compared on equal seeds, splits, initial weights and batches: without the prior, with it at several
strengths, and, as the ceiling, without it where the stamp tells nothing in training either. The prior has to know where
the stamps of the training set are, and nothing at test time. (Whoever can *redraw* the stamps at random trains the
ceiling, and needs no prior.) How strong it has to be cannot be seen in training, where the stamp is never wrong: the
strength is chosen on a few validation digits whose stamps tell nothing, and none of these is trained on.

How: `af.ig` is an ordinary differentiable function, and `af.bind` puts the parameters that are trained in place of the
module's own. So `torch.func.grad` differentiates the loss through the attributions, and `vmap` trains all seeds in one
call.

References:
    Ross, Hughes, Doshi-Velez: Right for the Right Reasons, IJCAI 2017.
    Erion, Janizek, Sturmfels, Lundberg, Lee: Improving performance of deep learning models with axiomatic attribution
    priors and expected gradients, Nature Machine Intelligence 2021.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.func import grad, stack_module_state, vmap

import attrfunc as af

TRAINING, VALIDATION, BATCH, LEARNING_RATE = 1200, 100, 64, 3e-3
STRENGTHS = (1, 10, 100)
PLACES = torch.tensor([(row, column) for column in (0, 6) for row in range(5)])  # upper left corners
PATH_POINTS = 4  # a rough integral is enough for a prior; what is reported is integrated with 50 points


@dataclass(frozen=True)
class Digits:
    """Images `(N, 8, 8)` with values from 0 to 1, their labels, and where their stamps are."""

    images: Tensor
    labels: Tensor
    stamps: Tensor


@dataclass(frozen=True)
class Outcome:
    """What was reached, for each seed: accuracies, and the stamp's share of all attributions on the test set."""

    name: str
    parameters: dict[str, Tensor]
    training_accuracy: Tensor
    validation_accuracy: Tensor
    test_accuracy: Tensor
    stamp_share: Tensor


def network() -> nn.Module:
    """A small network that returns log-probabilities. Smooth: the prior needs second derivatives."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 10), nn.LogSoftmax(-1))


SKELETON = network()  # its own parameters are never used


def stamp(images: Tensor, labels: Tensor, generator: torch.Generator, *, telling: bool) -> Digits:
    """Put a square on each image; its place follows the label, or is random."""
    anywhere = torch.randint(10, labels.shape, generator=generator)
    row, column = PLACES[labels if telling else anywhere].T[:, :, None, None]
    grid = torch.arange(8)
    stamps = ((grid[:, None] - row) // 2 == 0) & ((grid - column) // 2 == 0)
    return Digits(torch.where(stamps, 1.0, images), labels, stamps)


def prepare(seeds: int, *, telling: bool) -> list[Digits]:
    """Training, validation and test set; each seed splits and stamps in its own way; all are stacked in dimension 0."""
    images, labels = load_digits(return_X_y=True)
    images, labels = torch.tensor(images, dtype=torch.float32).reshape(-1, 8, 8) / 16, torch.tensor(labels)
    splits = []
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(images), generator=generator)
        parts = order.tensor_split([TRAINING, TRAINING + VALIDATION])
        tells = (telling, False, False)
        splits.append([stamp(images[p], labels[p], generator, telling=t) for p, t in zip(parts, tells, strict=True)])
    return [
        Digits(*(torch.stack([getattr(one, name) for one in part]) for name in ("images", "labels", "stamps")))
        for part in zip(*splits, strict=True)
    ]


def loss(parameters: dict[str, Tensor], strength: float, images: Tensor, labels: Tensor, stamps: Tensor) -> Tensor:
    """Cross-entropy, and the attributions to the stamps."""
    model = af.bind(SKELETON, parameters)
    value = nn.functional.nll_loss(model(images), labels)
    if strength:
        attributions = af.ig(model, images, target=labels, n_steps=PATH_POINTS)
        value = value + strength * (attributions * stamps).abs().sum((1, 2)).mean()
    return value


def train(data: Digits, strength: float, steps: int) -> dict[str, Tensor]:
    """Train a network for each seed, all in one vmapped call; returns their parameters, stacked."""
    seeds = len(data.images)
    torch.manual_seed(0)
    parameters = {
        name: leaf.detach() for name, leaf in stack_module_state([network() for _ in range(seeds)])[0].items()
    }
    optimizer = torch.optim.Adam(parameters.values(), lr=LEARNING_RATE)
    slope = vmap(grad(loss), in_dims=(0, None, 0, 0, 0))
    for _ in range(steps):
        batch = torch.arange(seeds)[:, None], torch.randint(TRAINING, (seeds, BATCH))
        gradients = slope(parameters, strength, data.images[batch], data.labels[batch], data.stamps[batch])
        for name, leaf in parameters.items():
            leaf.grad = gradients[name]
        optimizer.step()
    return parameters


def examine(name: str, parameters: dict[str, Tensor], sets: Sequence[Digits]) -> Outcome:
    """Measure a network of each seed on the training, validation and test set."""

    def accuracy(parameters: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        return (af.bind(SKELETON, parameters)(images).argmax(1) == labels).float().mean()

    def share(parameters: dict[str, Tensor], images: Tensor, labels: Tensor, stamps: Tensor) -> Tensor:
        sizes = af.ig(af.bind(SKELETON, parameters), images, target=labels).abs()
        return (sizes * stamps).sum() / sizes.sum()

    test = sets[-1]
    with torch.no_grad():
        accuracies = [vmap(accuracy)(parameters, one.images, one.labels) for one in sets]
        return Outcome(name, parameters, *accuracies, vmap(share)(parameters, test.images, test.labels, test.stamps))


def table(outcomes: Sequence[Outcome]) -> str:
    """Mean and standard deviation over seeds."""

    def cell(values: Tensor) -> str:
        return f"{values.mean():6.1%} +/- {values.std():4.1%}"

    heads = ("training accuracy", "validation", "test", "stamp share")
    lines = [f"{'':28}" + "".join(f"{text:>18}" for text in heads)]
    for one in outcomes:
        values = (one.training_accuracy, one.validation_accuracy, one.test_accuracy, one.stamp_share)
        lines.append(f"{one.name:28}" + "".join(f"{cell(value):>18}" for value in values))
    return "\n".join(lines)


def draw(plain: Outcome, prior: Outcome, test: Digits, file: Path) -> None:
    """Draw why both networks of the first seed say what they say, on the same test digits."""
    images, labels, stamps = test.images[0], test.labels[0], test.stamps[0]
    models = [af.bind(SKELETON, {name: leaf[0] for name, leaf in one.parameters.items()}) for one in (plain, prior)]
    with torch.no_grad():
        guesses = torch.stack([model(images).argmax(1) for model in models])
        plain_right, prior_right = guesses == labels
        misled, fine = prior_right & ~plain_right, prior_right & plain_right
        chosen = torch.cat([misled.nonzero()[:4, 0], fine.nonzero()[:4, 0]])
        answers = guesses[:, chosen]
        maps = [af.ig(model, images[chosen], target=answer) for model, answer in zip(models, answers, strict=True)]
    top = float(torch.stack(maps).abs().quantile(0.99))
    figure = Figure(figsize=(1.35 * len(chosen) + 1, 5.4), layout="constrained")
    grid = figure.subplots(3, len(chosen))
    for column, index in enumerate(chosen.tolist()):
        grid[0, column].imshow(images[index].numpy(), cmap="gray_r", vmin=0, vmax=1)
        grid[0, column].set_title(f"a {labels[index]}", fontsize=10)
        for axes, heat, answer in zip(grid[1:, column], maps, answers[:, column], strict=True):
            drawn = axes.imshow(heat[column].numpy(), cmap="RdBu_r", vmin=-top, vmax=top)
            axes.set_title(f"says {answer}", fontsize=10, color="black" if answer == labels[index] else "crimson")
        top_row, left = stamps[index].nonzero()[0].tolist()
        for axes in grid[:, column]:
            axes.set(xticks=[], yticks=[])
            axes.add_patch(Rectangle((left - 0.5, top_row - 0.5), 2, 2, fill=False, edgecolor="darkorange", lw=1.8))
    for axes, text in zip(grid[:, 0], ("test digit", plain.name, prior.name), strict=True):
        axes.set_ylabel(text, fontsize=10)
    figure.suptitle(
        "What speaks for (red) and against (blue) what each network says; the stamp (framed) tells nothing\n"
        "left: the first test digits that only the plain network gets wrong; right: the first that both get right",
        fontsize=11,
    )
    figure.colorbar(
        drawn, ax=grid[1:], fraction=0.02, extend="both", label="integrated gradients, nats of log-probability"
    )
    figure.savefig(file, dpi=120)


def report(plain: Outcome, best: Outcome, ceiling: Outcome) -> None:
    """Print what the prior bought."""
    gain, room = (100 * (one.test_accuracy - plain.test_accuracy) for one in (best, ceiling))
    cost = 100 * (best.training_accuracy - plain.training_accuracy)
    print(
        f"stamp share: of the sizes of all attributions to the true digit, test set. Best on validation: {best.name}."
    )
    print(
        f"It gains {gain.mean():.1f} +/- {gain.std():.1f} points of test accuracy over no prior, "
        f"{gain.mean() / room.mean():.0%} of what a stamp that never tells gains.\n"
        f"The stamp's share falls {plain.stamp_share.mean() / best.stamp_share.mean():.0f}-fold; the accuracy on the "
        f"training set, where the stamp is right, changes by {cost.mean():+.1f} points."
    )


def main(arguments: Sequence[str] | None = None) -> tuple[Outcome, list[Outcome], Outcome]:
    """Run the comparison; returns what was reached without the prior, with it (the best first), and the ceiling."""
    parser = argparse.ArgumentParser(description="Train digit classifiers with and without a prior on attributions.")
    parser.add_argument("--output", type=Path, default=Path("examples-output"), help="folder of the picture")
    parser.add_argument("--seeds", type=int, default=5, help="networks in each row of the table")
    parser.add_argument("--steps", type=int, default=300, help="training steps")
    options = parser.parse_args(arguments)
    if options.seeds < 2:
        parser.error("--seeds has to be at least 2, to have a spread")
    started = time.perf_counter()

    def run(name: str, sets: Sequence[Digits], strength: float) -> Outcome:
        return examine(name, train(sets[0], strength, options.steps), sets)

    biased, unbiased = (prepare(options.seeds, telling=telling) for telling in (True, False))
    plain = run("no prior", biased, 0)
    priors = [run(f"prior, strength {strength}", biased, strength) for strength in STRENGTHS]
    ceiling = run("no prior, stamp never tells", unbiased, 0)
    print("Digits with a stamp, whose place tells the digit in training only; mean +/- standard deviation over seeds")
    print(table([plain, *priors, ceiling]))
    priors.sort(key=lambda one: -float(one.validation_accuracy.mean()))
    report(plain, priors[0], ceiling)
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "attribution_prior.png"
    draw(plain, priors[0], biased[-1], file)
    print(f"Done in {time.perf_counter() - started:.0f} s. Look at {file}.")
    return plain, priors, ceiling


if __name__ == "__main__":
    main()
