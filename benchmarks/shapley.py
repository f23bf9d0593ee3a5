"""Errors of Shapley values after equal evaluations beside Captum, shap and shapiq, and seconds for exact values.

`python -m benchmarks.shapley` writes benchmarks/results/shapley.md. Small networks are trained on three data sets of
scikit-learn, and their features joined into 12 groups; a convolutional network on digits, of which 16 patches are the
groups; a network on breast cancer with 15 groups. Exact values are known by enumeration. Scores are logits and
probabilities. All are given the same number of evaluations of the model for each example. The error is the norm of the
difference from the exact values relative to their norm: the median over seeds for each model and example, and then over
these. The numbers in the Gaussian process's kernel were chosen on the MLPs and two networks that are not among them.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import captum.attr as ca
import numpy as np
import shap
import shapiq
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from torch import Tensor, nn

import attrfunc as af
from benchmarks.agreement import Run
from benchmarks.measure import Plan, seconds

RESULTS = Path(__file__).parent / "results"
GROUPS, SEEDS, BUDGETS = 12, 15, (60, 120, 240, 480, 960)
OWN, CAPTUM = ("attrfunc, Gaussian process", "attrfunc, kernel"), ("Captum, sampling", "Captum, kernel")
PERMUTATIONS = ("attrfunc, antithetic", "attrfunc, orthogonal", "Captum, sampling", "shapiq, permutations")
REGRESSIONS = ("attrfunc, Gaussian process", "attrfunc, kernel", "Captum, kernel", "shap, kernel", "shapiq, kernel")
Game = tuple[nn.Module, Tensor, int, Tensor]


def trained(net: nn.Module, inputs: Tensor, labels: Tensor, rate: float = 1e-2) -> nn.Module:
    optimizer = torch.optim.Adam(net.parameters(), rate)
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(inputs), labels).backward()
        optimizer.step()
    return net.eval()


def explained(net: nn.Module, inputs: Tensor, labels: Tensor, mask: Tensor) -> list[Game]:
    """Logits and probabilities of three examples."""
    models = (net, nn.Sequential(net, nn.Softmax(1)).eval())
    return [(model, inputs[i : i + 1], int(labels[i]), mask) for model in models for i in (0, 77, 130)]


def games(device: str) -> dict[str, list[Game]]:
    """Models, an input of each, its class, and the mask of its groups."""
    found = trained_here().items()
    return {name: [(net.to(device), x.to(device), c, mask.to(device)) for net, x, c, mask in of] for name, of in found}


def trained_here() -> dict[str, list[Game]]:
    """The same on the CPU, so that the networks are equal on every device."""
    found: dict[str, list[Game]] = {"MLPs, 12 groups": []}
    for seed, (load, hidden) in enumerate([(load_breast_cancer, 32), (load_digits, 64), (load_wine, 32)]):
        inputs, labels = (torch.tensor(part) for part in load(return_X_y=True))
        inputs = ((inputs - inputs.mean(0)) / (inputs.std(0) + 1e-6)).float()
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Linear(inputs.shape[1], hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, int(labels.max()) + 1),
        )  # fmt: skip
        mask = (torch.arange(inputs.shape[1]) * GROUPS // inputs.shape[1])[None]
        found["MLPs, 12 groups"] += explained(trained(net, inputs, labels), inputs, labels, mask)
        if load is load_breast_cancer:
            halves = (torch.arange(30) // 2)[None]
            found["breast cancer, 15 groups"] = explained(net, inputs, labels, halves)
    inputs, labels = (torch.tensor(part) for part in load_digits(return_X_y=True))
    inputs = inputs.float().unflatten(1, (1, 8, 8)) / 16
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip
    found["CNN, 16 patches"] = explained(
        trained(net, inputs, labels, 3e-3), inputs, labels, af.masks.grid_mask(inputs, (1, 2, 2))
    )
    return found


def firsts_of(mask: Tensor) -> list[int]:
    """The first element of each group, in the flattened input."""
    return [int((mask.flatten() == group).nonzero()[0, 0]) for group in range(int(mask.max()) + 1)]


def on_groups(game: Game) -> Callable[[np.ndarray], np.ndarray]:
    """The game as shap and shapiq take it: a function of rows of zeros and ones."""
    model, x, target, mask = game

    def value(rows: np.ndarray) -> np.ndarray:
        present = torch.as_tensor(np.atleast_2d(rows)).to(x)[:, mask.flatten()].unflatten(1, x.shape[1:])
        with torch.no_grad():
            return model(x * present)[:, target].cpu().numpy().astype(float)

    return value


def estimates(game: Game, budget: int, seed: int) -> dict[str, Tensor]:
    """What everyone makes of so many evaluations."""
    model, x, target, mask = game
    own = {"target": target, "feature_mask": mask}
    firsts = firsts_of(mask)
    groups = len(firsts)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    np.random.seed(seed)  # shap draws from it
    walks = (budget - 2) // (groups - 1)
    found = {
        "attrfunc, antithetic": af.shapley_sampling(model, x, n_samples=walks, generator=generator, **own),
        "attrfunc, orthogonal": af.shapley_sampling(
            model, x, n_samples=walks, design="orthogonal", generator=generator, **own
        ),
        "Captum, sampling": ca.ShapleyValueSampling(model).attribute(
            x, n_samples=(budget - 1) // groups, perturbations_per_eval=groups, **own
        ),
        "attrfunc, Gaussian process": af.gaussian_process_shap(model, x, n_samples=budget, generator=generator, **own),
        "attrfunc, kernel": af.kernel_shap(model, x, n_samples=budget, generator=generator, **own),
        "Captum, kernel": ca.KernelShap(model).attribute(x, n_samples=budget, perturbations_per_eval=budget, **own),
    }
    values = {name: part.flatten()[firsts].detach().cpu() for name, part in found.items()}
    game_of = on_groups(game)
    explainer = shap.KernelExplainer(game_of, np.zeros((1, groups)), silent=True)
    ones = np.ones((1, groups))
    found_by_shap = explainer.shap_values(ones, nsamples=budget - 2, l1_reg=False, silent=True)
    values["shap, kernel"] = torch.tensor(found_by_shap[0])
    for name, kind in (("shapiq, permutations", shapiq.PermutationSamplingSV), ("shapiq, kernel", shapiq.KernelSHAP)):
        result = kind(n=groups, random_state=seed).approximate(budget, game_of)
        values[name] = torch.tensor(result.get_n_order_values(1))
    return values


def errors(games: list[Game]) -> dict[int, dict[str, float]]:
    """Median errors of everyone for each budget."""
    table: dict[int, dict[str, float]] = {}
    for budget in BUDGETS:
        by_game: dict[str, list[float]] = {}
        for game in games:
            model, x, target, mask = game
            exact = af.shapley_values(model, x, target=target, feature_mask=mask)
            exact = exact.detach().flatten()[firsts_of(mask)].cpu()
            runs = [estimates(game, budget, seed) for seed in range(SEEDS)]
            for name in runs[0]:
                off = [float((run[name] - exact).norm() / exact.norm()) for run in runs]
                by_game.setdefault(name, []).append(statistics.median(off))
        table[budget] = {name: statistics.median(values) for name, values in by_game.items()}
        print(budget, {name: round(value, 4) for name, value in table[budget].items()}, flush=True)
    return table


def exact_seconds(game: Game, plan: Plan) -> tuple[float, dict[int, float], dict[int, float]]:
    """Seconds for exact values of 12 groups, and of fewer groups by both libraries."""
    model, x, target, mask = game
    ours, captum = {}, {}
    for groups in (5, 6, 7, 8):
        fewer = mask * groups // GROUPS
        options = {"target": target, "feature_mask": fewer}
        ours[groups] = timed(partial(af.shapley_values, model, x, **options), plan)
        permuted = partial(ca.ShapleyValues(model).attribute, x, perturbations_per_eval=groups, **options)
        captum[groups] = timed(permuted, plan)
    twelve = timed(partial(af.shapley_values, model, x, target=target, feature_mask=mask), plan)
    return twelve, ours, captum


def timed(run: Run, plan: Plan) -> float:
    run()
    return plan.clock(seconds(run))


def rows(names: tuple[str, ...], table: dict[int, dict[str, float]]) -> str:
    head = "| evaluations | " + " | ".join(names) + " |\n|" + " --- |" * (len(names) + 1) + "\n"
    cells = {budget: " | ".join(f"{found[name]:.3f}" for name in names) for budget, found in table.items()}
    lines = [f"| {budget} | {cell} |" for budget, cell in cells.items()]
    return head + "\n".join(lines) + "\n"


def ratios(tables: dict[str, dict[int, dict[str, float]]]) -> str:
    """Errors relative to Captum's."""
    pairs = list(itertools.product(OWN, CAPTUM))
    head = "| games | evaluations | " + " | ".join(f"{own} / {other}" for own, other in pairs) + " |\n"
    lines = [
        f"| {games} | {budget} | " + " | ".join(f"{found[own] / found[other]:.2f}" for own, other in pairs) + " |"
        for games, table in tables.items()
        for budget, found in table.items()
    ]
    return head + "|" + " --- |" * (len(pairs) + 2) + "\n" + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shapley", description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--device", default="cpu", help="cuda, mps, ...")
    options = parser.parse_args()
    folder = options.output
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    plan = Plan(device=options.device)
    kinds = games(plan.device)
    twelve, ours, captum = exact_seconds(kinds["MLPs, 12 groups"][0], plan)
    tables = {kind: errors(group) for kind, group in kinds.items()}
    pairs = {groups: (ours[groups], captum[groups]) for groups in ours}
    lines = "\n".join(f"| {n} | {own:.4f} | {other:.4f} | {other / own:.1f} |" for n, (own, other) in pairs.items())
    # Captum's time grows with the number of permutations times that of groups.
    largest = max(captum)
    guess = captum[largest]
    for groups in range(largest + 1, GROUPS + 1):
        guess *= groups * groups / (groups - 1)
    found = "\n".join(
        f"## Errors: {kind}\n\nPermutations:\n\n{rows(PERMUTATIONS, table)}\nRegressions:\n\n{rows(REGRESSIONS, table)}"
        for kind, table in tables.items()
    )
    text = f"""# Shapley values beside their peers

{(__doc__ or "").split(chr(10) * 2, 1)[1].strip()}

torch {torch.__version__}, captum {version("captum")}, shap {version("shap")}, shapiq {version("shapiq")}; one thread;
{SEEDS} seeds, {sum(len(group) for group in kinds.values())} games.

## Errors after equal evaluations, relative to Captum's

{ratios(tables)}
{found}
## Exact values

In {plan.clock_name}: breast cancer network, one example. attrfunc evaluates 2^n coalitions, Captum n! permutations.

| groups | attrfunc | Captum | ratio |
| --- | --- | --- | --- |
{lines}

12 groups take attrfunc {twelve:.4f} s. Captum would take {guess:.1e} s, extrapolated from {largest} groups by n n!.
"""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "shapley.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
