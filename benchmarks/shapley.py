"""Errors of Shapley values after equal evaluations beside Captum, shap and shapiq, and seconds for exact values.

`python -m benchmarks.shapley` writes benchmarks/results/shapley.md. Small networks are trained on three data sets of
scikit-learn; the features are joined into 12 groups, whose exact values are known by enumeration. All are given the
same number of evaluations of the model for each example. The error is the norm of the difference from the exact values
relative to their norm: the median over seeds for each model and example, and then over these.
"""

from __future__ import annotations

import argparse
import statistics
import time
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

RESULTS = Path(__file__).parent / "results"
GROUPS, SEEDS, BUDGETS = 12, 15, (60, 120, 240, 480, 960)
PERMUTATIONS = ("attrfunc, antithetic", "attrfunc, orthogonal", "Captum, sampling", "shapiq, permutations")
REGRESSIONS = ("attrfunc, kernel", "Captum, kernel", "shap, kernel", "shapiq, kernel")
Game = tuple[nn.Module, Tensor, int, Tensor]


def games() -> list[Game]:
    """Models, an input of each, its class, and the mask of its groups."""
    found = []
    for seed, (load, hidden) in enumerate([(load_breast_cancer, 32), (load_digits, 64), (load_wine, 32)]):
        inputs, labels = (torch.tensor(part) for part in load(return_X_y=True))
        inputs = ((inputs - inputs.mean(0)) / (inputs.std(0) + 1e-6)).float()
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Linear(inputs.shape[1], hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, int(labels.max()) + 1),
        )  # fmt: skip
        optimizer = torch.optim.Adam(net.parameters(), 1e-2)
        for _ in range(200):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(inputs), labels).backward()
            optimizer.step()
        mask = (torch.arange(inputs.shape[1]) * GROUPS // inputs.shape[1])[None]
        for model in (net.eval(), nn.Sequential(net, nn.Softmax(1)).eval()):
            found += [(model, inputs[i : i + 1], int(labels[i]), mask) for i in (0, 77, 130)]
    return found


def on_groups(game: Game) -> Callable[[np.ndarray], np.ndarray]:
    """The game as shap and shapiq take it: a function of rows of zeros and ones."""
    model, x, target, mask = game

    def value(rows: np.ndarray) -> np.ndarray:
        present = torch.as_tensor(np.atleast_2d(rows)).float()[:, mask[0]]
        with torch.no_grad():
            return model(x * present)[:, target].numpy().astype(float)

    return value


def estimates(game: Game, budget: int, seed: int) -> dict[str, Tensor]:
    """What everyone makes of so many evaluations."""
    model, x, target, mask = game
    own = {"target": target, "feature_mask": mask}
    firsts = [int((mask[0] == group).nonzero()[0, 0]) for group in range(GROUPS)]
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    np.random.seed(seed)  # shap draws from it
    walks = (budget - 2) // (GROUPS - 1)
    found = {
        "attrfunc, antithetic": af.shapley_sampling(model, x, n_samples=walks, generator=generator, **own),
        "attrfunc, orthogonal": af.shapley_sampling(
            model, x, n_samples=walks, design="orthogonal", generator=generator, **own
        ),
        "Captum, sampling": ca.ShapleyValueSampling(model).attribute(
            x, n_samples=(budget - 1) // GROUPS, perturbations_per_eval=GROUPS, **own
        ),
        "attrfunc, kernel": af.kernel_shap(model, x, n_samples=budget, generator=generator, **own),
        "Captum, kernel": ca.KernelShap(model).attribute(x, n_samples=budget, perturbations_per_eval=budget, **own),
    }
    values = {name: part[0, firsts].detach() for name, part in found.items()}
    game_of = on_groups(game)
    explainer = shap.KernelExplainer(game_of, np.zeros((1, GROUPS)), silent=True)
    ones = np.ones((1, GROUPS))
    found_by_shap = explainer.shap_values(ones, nsamples=budget - 2, l1_reg=False, silent=True)
    values["shap, kernel"] = torch.tensor(found_by_shap[0])
    for name, kind in (("shapiq, permutations", shapiq.PermutationSamplingSV), ("shapiq, kernel", shapiq.KernelSHAP)):
        result = kind(n=GROUPS, random_state=seed).approximate(budget, game_of)
        values[name] = torch.tensor(result.get_n_order_values(1))
    return values


def errors() -> dict[int, dict[str, float]]:
    """Median errors of everyone for each budget."""
    table: dict[int, dict[str, float]] = {}
    for budget in BUDGETS:
        by_game: dict[str, list[float]] = {}
        for game in games():
            model, x, target, mask = game
            firsts = [int((mask[0] == group).nonzero()[0, 0]) for group in range(GROUPS)]
            exact = af.shapley_values(model, x, target=target, feature_mask=mask)[0, firsts]
            runs = [estimates(game, budget, seed) for seed in range(SEEDS)]
            for name in runs[0]:
                off = [float((run[name] - exact).norm() / exact.norm()) for run in runs]
                by_game.setdefault(name, []).append(statistics.median(off))
        table[budget] = {name: statistics.median(values) for name, values in by_game.items()}
        print(budget, {name: round(value, 4) for name, value in table[budget].items()}, flush=True)
    return table


def exact_seconds() -> tuple[float, dict[int, float], dict[int, float]]:
    """CPU seconds for exact values of 12 groups, and of fewer groups by both libraries."""
    model, x, target, mask = games()[0]
    ours, captum = {}, {}
    for groups in (5, 6, 7, 8):
        fewer = mask * groups // GROUPS
        options = {"target": target, "feature_mask": fewer}
        ours[groups] = cpu(partial(af.shapley_values, model, x, **options))
        captum[groups] = cpu(partial(ca.ShapleyValues(model).attribute, x, perturbations_per_eval=groups, **options))
    twelve = cpu(lambda: af.shapley_values(model, x, target=target, feature_mask=mask))
    return twelve, ours, captum


def cpu(run: Callable[[], object]) -> float:
    run()
    begin = time.process_time()
    run()
    return time.process_time() - begin


def rows(names: tuple[str, ...], table: dict[int, dict[str, float]]) -> str:
    head = "| evaluations | " + " | ".join(names) + " |\n|" + " --- |" * (len(names) + 1) + "\n"
    cells = {budget: " | ".join(f"{found[name]:.3f}" for name in names) for budget, found in table.items()}
    lines = [f"| {budget} | {cell} |" for budget, cell in cells.items()]
    return head + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shapley", description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS)
    folder = parser.parse_args().output
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    twelve, ours, captum = exact_seconds()
    table = errors()
    pairs = {groups: (ours[groups], captum[groups]) for groups in ours}
    lines = "\n".join(f"| {n} | {own:.4f} | {other:.4f} | {other / own:.1f} |" for n, (own, other) in pairs.items())
    # Captum's time grows with the number of permutations times that of groups.
    largest = max(captum)
    guess = captum[largest]
    for groups in range(largest + 1, GROUPS + 1):
        guess *= groups * groups / (groups - 1)
    text = f"""# Shapley values beside their peers

{(__doc__ or "").split(chr(10) * 2, 1)[1].strip()}

torch {torch.__version__}, captum {version("captum")}, shap {version("shap")}, shapiq {version("shapiq")}; one thread;
{SEEDS} seeds, {len(games())} games.

## Errors after equal evaluations

Permutations:

{rows(PERMUTATIONS, table)}
Weighted least squares:

{rows(REGRESSIONS, table)}
## Exact values

CPU seconds, breast cancer network, one example. attrfunc evaluates 2^n coalitions, Captum n! permutations.

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
