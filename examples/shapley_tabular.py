"""Shapley values of a tabular model: exact and estimated, and what features do together.

    python examples/shapley_tabular.py [--output examples-output] [--seeds 20]

The data are scikit-learn's breast cancer measurements: 10 properties of cell nuclei, each given as a mean, a standard
error and the worst value. The three numbers of a property are one group, so the 2^10 coalitions can all be evaluated,
and the exact values are known. A small network is trained in seconds; what is explained is its log-odds of a malignant
tumour, against the mean of the training set as the baseline.

Two pictures:

* `shapley_convergence.png`: how far each estimate is from the exact values after how many evaluations of the network,
  and the standard errors that the permutations themselves report.
* `shapley_interactions.png`: for one tumour, what each property adds by itself (on the diagonal) and what pairs add
  together (below it; k-SII): all the numbers sum to the change of the log-odds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from sklearn.datasets import load_breast_cancer
from torch import Tensor, nn

import attrfunc as af

BUDGETS = (30, 50, 80, 120, 200, 320, 500, 760)
EXAMPLES = 16
GROUPS = 10
MASK = (torch.arange(3 * GROUPS) % GROUPS)[None]  # scikit-learn lists all means, then all errors, then all worst values
Estimate = Callable[[int, torch.Generator], Tensor]


def prepare() -> tuple[nn.Module, Tensor, list[str]]:
    """A trained network that gives the log-odds of a malignant tumour, the test inputs, and the properties' names."""
    data = load_breast_cancer()
    inputs, malignant = torch.tensor(data.data, dtype=torch.float32), torch.tensor(data.target) == 0
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(inputs), generator=generator)
    train, test = order[:400], order[400:]
    inputs = (inputs - inputs[train].mean(0)) / inputs[train].std(0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1), nn.Flatten(0))
    optimizer = torch.optim.Adam(model.parameters(), 5e-3, weight_decay=1e-3)
    for _ in range(300):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(model(inputs[train]), malignant[train].float()).backward()
        optimizer.step()
    right = ((model(inputs[test]) > 0) == malignant[test]).float().mean()
    print(f"accuracy on {len(test)} tumours that it was not trained on: {right:.1%}")
    names = [str(name).removeprefix("mean ") for name in data.feature_names[:GROUPS]]
    return model.eval(), inputs[test], names


def per_group(attributions: Tensor) -> Tensor:
    """Every feature has the value of its group: the first ten are of different groups."""
    return attributions[:, :GROUPS]


def estimates(model: nn.Module, x: Tensor) -> dict[str, Estimate]:
    """Each method, as a function of the number of evaluations."""
    walks = lambda budget: (budget - 2) // (GROUPS - 1)  # noqa: E731  # permutations that they pay for

    def permutations(design: str) -> Estimate:
        def run(budget: int, generator: torch.Generator) -> Tensor:
            options = {"n_samples": walks(budget), "design": design, "generator": generator}
            return af.shapley_sampling(model, x, feature_mask=MASK, **options)

        return run

    return {
        "permutations, random": permutations("random"),
        "permutations, antithetic": permutations("antithetic"),
        "permutations, orthogonal": permutations("orthogonal"),
        "kernel SHAP": lambda budget, generator: af.kernel_shap(
            model, x, n_samples=budget, feature_mask=MASK, generator=generator
        ),
        "Gaussian process": lambda budget, generator: af.gaussian_process_shap(
            model, x, n_samples=budget, feature_mask=MASK, generator=generator
        ),
    }


def convergence(model: nn.Module, x: Tensor, seeds: int) -> tuple[dict[str, Tensor], Tensor]:
    """Root mean square errors over examples, groups and seeds, `(budgets, seeds)`; and what is reported of them."""
    exact = per_group(af.shapley_values(model, x, feature_mask=MASK))
    found = {}
    for name, estimate in estimates(model, x).items():
        errors = [
            [
                (per_group(estimate(budget, torch.Generator().manual_seed(seed))) - exact).square().mean().sqrt()
                for seed in range(seeds)
            ]
            for budget in BUDGETS
        ]
        found[name] = torch.tensor(errors)
    reported = []
    for budget in BUDGETS[1:]:  # the first pays for one pair of permutations only, with nothing to compare
        options = {"n_samples": (budget - 2) // (GROUPS - 1), "feature_mask": MASK}
        runs = [
            af.shapley_sampling_error(model, x, generator=torch.Generator().manual_seed(seed), **options)
            for seed in range(seeds)
        ]
        reported.append(torch.stack([per_group(run) for run in runs]).square().mean().sqrt())
    return found, torch.stack(reported)


def draw_convergence(found: dict[str, Tensor], reported: Tensor, size: float, path: Path) -> None:
    """Errors over evaluations: medians of the seeds, and the middle half of them."""
    figure = af.viz.convergence(
        BUDGETS,
        {name: errors / size for name, errors in found.items()},
        reported={"permutations, antithetic": torch.cat([torch.tensor([torch.nan]), reported / size])},
        xlabel="evaluations of the network per tumour (all coalitions: 1024)",
        ylabel="error relative to the size of the values",
        title="Shapley values of ten groups: how estimates converge to the exact values",
    )
    figure.savefig(path, dpi=150)


def draw_interactions(single: Tensor, pairs: Tensor, change: float, names: list[str], path: Path) -> None:
    """What properties add alone, on the diagonal, and what pairs add, below it."""
    title = f"One tumour: where its log-odds of malignancy, {change:+.2f} against the average, come from (k-SII)"
    af.viz.interactions(pairs, single, names=names, unit="log-odds", title=title).savefig(path, dpi=150)


class Result(NamedTuple):
    """What was found: relative errors for each number of evaluations, those reported, and what interactions miss."""

    errors: dict[str, Tensor]
    reported: Tensor
    gap: float


def main(arguments: Sequence[str] | None = None) -> Result:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("examples-output"))
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)

    model, inputs, names = prepare()
    x = inputs[:EXAMPLES]
    exact = per_group(af.shapley_values(model, x, feature_mask=MASK))
    size = float(exact.square().mean().sqrt())
    found, reported = convergence(model, x, options.seeds)
    draw_convergence(found, reported, size, options.output / "shapley_convergence.png")
    for budget in (120, 500):
        errors = {name: float(part[BUDGETS.index(budget)].median()) / size for name, part in found.items()}
        print(
            f"error after {budget} evaluations: " + ", ".join(f"{name} {value:.3f}" for name, value in errors.items())
        )

    tumour = int(model(x).argmax())
    one = x[tumour : tumour + 1]
    single, pairs = af.shapley_interactions(model, one, feature_mask=MASK)
    with torch.no_grad():
        change = float((model(one) - model(torch.zeros_like(one)))[0])
    gap = abs(float(single.sum() + pairs.sum() / 2) - change)
    print(f"interactions of one tumour sum to its change of {change:.2f} but for {gap:.0e}")
    draw_interactions(single[0], pairs[0], change, names, options.output / "shapley_interactions.png")
    return Result({name: part.median(1).values / size for name, part in found.items()}, reported / size, gap)


if __name__ == "__main__":
    main()
