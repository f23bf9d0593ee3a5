"""Shapley values of a tabular model: exact and estimated, and what features do together.

    python examples/shapley_tabular.py [--output examples-output] [--seeds 20]

The data are scikit-learn's breast cancer measurements: 10 properties of cell nuclei, each given as a mean, a standard
error and the worst value. The three numbers of a property are one group, so the 2^10 coalitions can all be evaluated,
and the exact values are known. A small network is trained in seconds; what is explained is its log-odds of a malignant
tumour, against the mean of the training set as the baseline.

Two pictures:

* `shapley_convergence.png`: how far each estimate is from the exact values after how many evaluations of the network,
  and the standard errors that the permutations themselves report.
* `shapley_interactions.png`: for one tumour, what each property adds by itself and what pairs add together (k-SII): the
  bars and the numbers below the diagonal sum to the change of the log-odds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
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


COLORS = {
    "permutations, random": "#8a8a8a",
    "permutations, antithetic": "#0072b2",
    "permutations, orthogonal": "#cc79a7",
    "kernel SHAP": "#d55e00",
    "Gaussian process": "#009e73",
}


def draw_convergence(found: dict[str, Tensor], reported: Tensor, size: float, path: Path) -> None:
    """Errors over evaluations: medians of the seeds, and the middle half of them."""
    figure = Figure(figsize=(7.5, 4.8), layout="constrained")
    axes = figure.subplots()
    for name, errors in found.items():
        low, middle, high = (errors / size).quantile(torch.tensor([0.25, 0.5, 0.75]), 1)
        axes.fill_between(BUDGETS, low.tolist(), high.tolist(), color=COLORS[name], alpha=0.15, linewidth=0)
        axes.plot(BUDGETS, middle.tolist(), color=COLORS[name], marker="o", markersize=3.5, label=name)
    reported = reported / size
    axes.plot(
        BUDGETS[1:], reported, color=COLORS["permutations, antithetic"], ls=":", label="antithetic: reported error"
    )
    axes.set(xscale="log", yscale="log", xlabel="evaluations of the network per tumour (all coalitions: 1024)")
    axes.set_ylabel("error relative to the size of the values")
    axes.set_xticks(BUDGETS, [str(budget) for budget in BUDGETS])
    axes.minorticks_off()
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("Shapley values of ten groups: how estimates converge to the exact values", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=150)


def draw_interactions(single: Tensor, pairs: Tensor, change: float, names: list[str], path: Path) -> None:
    """What properties add alone, as bars, and the matrix of what pairs add."""
    figure = Figure(figsize=(11, 6.2), layout="constrained")
    bars, axes = figure.subplots(1, 2, width_ratios=(1, 1.9), sharey=True)
    colors = ["#b2182b" if value > 0 else "#2166ac" for value in single]
    bars.barh(range(GROUPS), single.tolist(), color=colors, height=0.7)
    for i, value in enumerate(single.tolist()):
        # Beside the bar, on the side where there is room.
        bars.annotate(
            f"{value:+.2f}", (max(value, 0), i), (4, 0), textcoords="offset points", va="center", fontsize=8.5
        )
    bars.axvline(0, color="#333333", linewidth=0.8)
    bars.set_xlim(min(0.0, float(single.min())) - 0.4, float(single.max()) * 1.25)
    bars.set_yticks(range(GROUPS), names, fontsize=9)
    bars.set(title="alone", xlabel="log-odds")
    bars.spines[["top", "right", "left"]].set_visible(False)
    bars.tick_params(left=False)

    largest = float(pairs.abs().max())
    shown = pairs.masked_fill(torch.ones(GROUPS, GROUPS).triu().bool(), torch.nan)
    image = axes.imshow(shown.numpy(), cmap="RdBu_r", vmin=-largest, vmax=largest, aspect="auto")
    for i in range(GROUPS):
        for j in range(i):
            color = "white" if abs(pairs[i, j]) > 0.6 * largest else "#333333"
            axes.text(j, i, f"{float(pairs[i, j]):+.2f}", ha="center", va="center", fontsize=8.5, color=color)
    axes.set_xticks(range(GROUPS - 1), names[:-1], rotation=40, ha="right", fontsize=9)
    axes.set_xlim(-0.5, GROUPS - 1.5)
    axes.tick_params(left=False, bottom=False)
    axes.spines[:].set_visible(False)
    axes.set_title("together, in pairs")
    figure.colorbar(image, shrink=0.8, label="log-odds")
    figure.suptitle(
        f"One tumour: where its log-odds of malignancy, {change:+.2f} against the average, come from (k-SII)"
    )
    figure.savefig(path, dpi=150)


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
