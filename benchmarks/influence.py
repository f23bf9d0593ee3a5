"""Seconds of training-data influence beside Captum and other libraries, of retraining, and of sketches.

`python -m benchmarks.influence` writes benchmarks/results/influence.md. TracIn is taken at three checkpoints, with the
training data in batches of 125; Captum in both of its ways: with a gradient for each example, and with the hooks of
`sample_wise_grads_per_batch`, which know linear layers and plain convolutions only. Influence by the whole Hessian
inverts all of it; Captum keeps all eigenvalues to that end, and both are given the training data in one batch. All give
the same scores, which is checked. Retraining is 100 trainings of a small network on halves of 400 digits.
"""

from __future__ import annotations

import argparse
import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import captum.influence as ci
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import attrfunc as af
from attrfunc.influence.count_sketch import Sketcher
from attrfunc.influence.network import open_network
from attrfunc.influence.terms import Dense
from benchmarks import influence_peers
from benchmarks.agreement import Run
from benchmarks.measure import Plan, Spread, race

RESULTS = Path(__file__).parent / "results"
BATCH = 125
Batch = tuple[Tensor, Tensor]


def loss(model: Any, batch: Any) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")


def total(model: Any, batch: Any) -> Tensor:
    return -loss(model, batch).sum()


@dataclass(frozen=True)
class Row:
    """One line of the table: what is compared, and the least ratio that it is to reach."""

    name: str
    peer: str
    goal: float
    ours: Callable[[], Tensor]
    theirs: Callable[[], Tensor]
    alike: bool = True


def data_for(shape: tuple[int, ...], rows: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, *shape, generator=generator), torch.randint(10, (rows,), generator=generator)


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)
    ).eval()  # fmt: skip


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(256, 10),
    ).eval()  # fmt: skip


def tracin(name: str, model: nn.Module, shape: tuple[int, ...], rows: int, queries: int) -> list[Row]:
    """TracIn and its sum over queries, beside Captum in both ways."""
    training, asked = data_for(shape, rows), data_for(shape, queries)
    dataset = TensorDataset(*training)
    loader = DataLoader(dataset, BATCH)
    torch.manual_seed(1)
    states = [{n: v + 0.01 * torch.randn_like(v) for n, v in model.state_dict().items()} for _ in range(3)]

    def load(other: nn.Module, state: dict[str, Tensor]) -> float:
        other.load_state_dict(state)
        return 1.0

    def peer(hooks: bool) -> ci.TracInCP:
        loss_fn = nn.CrossEntropyLoss(reduction="sum" if hooks else "none")
        options = {"loss_fn": loss_fn, "batch_size": BATCH, "sample_wise_grads_per_batch": hooks}
        return ci.TracInCP(copy.deepcopy(model), dataset, states, load, **options)

    options = {"data": loader, "loss": loss, "checkpoints": states}
    scores = lambda: af.influence.tracin(model, asked, **options)  # noqa: E731
    summed = lambda: af.influence.tracin(model, asked, measure=af.batch_score(total), **options)  # noqa: E731
    found = []
    ways = [("hooks", True), ("example by example", False)]
    for way, hooks in ways if name == "MLP" else ways[:1]:  # the others take half a minute each round on CNNs
        other, many = peer(hooks), f"{name}, {queries} x {rows}"
        goal = (20.0 if name == "MLP" else 1.4) if hooks else 6.0
        found.append(Row(f"TracIn, {many}", f"Captum, {way}", goal, scores, lambda o=other: o.influence(asked)))
        goal = 6.0
        aggregate = lambda o=other: o.influence(asked, aggregate=True)  # noqa: E731
        found.append(Row(f"TracIn, {many}, summed", f"Captum, {way}", goal, summed, aggregate))
    return found


def digits(rows: int) -> Batch:
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images[:rows] / 16, dtype=torch.float32), torch.tensor(labels[:rows])


def hessian() -> Row:
    """Influence by the whole Hessian of a small network."""
    torch.manual_seed(0)
    model, (x, y) = nn.Sequential(nn.Linear(64, 24), nn.Tanh(), nn.Linear(24, 10)).eval(), digits(400)
    damping, asked = 2.0, (x[:50], y[:50])

    def ours() -> Tensor:
        curvature = af.influence.hessian(model, [(x, y)], loss=loss, damping=damping)
        return af.influence.influence_function(model, asked, data=[(x, y)], loss=loss, curvature=curvature)

    def theirs() -> Tensor:
        options = {"projection_dim": 10_000, "hessian_reg": damping * len(x), "hessian_inverse_tol": 0.0}
        loss_fn, other = nn.CrossEntropyLoss(reduction="sum"), copy.deepcopy(model)
        state = model.state_dict()
        found = ci.NaiveInfluenceFunction(
            other, TensorDataset(x, y), state, lambda m, s: m.load_state_dict(s) and 1.0, loss_fn=loss_fn,
            batch_size=400, sample_wise_grads_per_batch=True, **options,
        )  # fmt: skip
        return found.influence(asked)

    return Row("Influence by the Hessian, 1,810 parameters, 50 x 400", "Captum", 4.0, ours, theirs)


def retraining(count: int) -> Row:
    """Trainings on halves of the data."""
    skeleton, (x, y) = nn.Sequential(nn.Linear(64, 24), nn.Tanh(), nn.Linear(24, 10)), digits(400)
    torch.manual_seed(0)
    start = {name: 0.1 * torch.randn_like(value) for name, value in skeleton.named_parameters()}

    def train(weights: Tensor) -> Tensor:
        def objective(state: dict[str, Tensor]) -> Tensor:
            return (weights * loss(lambda x: torch.func.functional_call(skeleton, state, (x,)), (x, y))).mean()

        state = start
        for _ in range(50):
            slopes = torch.func.grad(objective)(state)
            state = {name: state[name] - 0.5 * slopes[name] for name in state}
        return torch.func.functional_call(skeleton, state, (x[:20],))

    def plain(weights: Tensor) -> Tensor:
        """As one writes it by hand."""
        state = {name: value.clone().requires_grad_() for name, value in start.items()}
        for _ in range(50):
            value = (weights * loss(lambda x: torch.func.functional_call(skeleton, state, (x,)), (x, y))).mean()
            slopes = torch.autograd.grad(value, list(state.values()))
            with torch.no_grad():
                for leaf, slope in zip(state.values(), slopes, strict=True):
                    leaf -= 0.5 * slope
        return torch.func.functional_call(skeleton, state, (x[:20],)).detach()

    masks = (torch.rand(count, 400, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    together = lambda: af.influence.retrain(train, masks)  # noqa: E731
    return Row(f"{count} retrainings", "a loop", 3.0, together, lambda: torch.stack([plain(mask) for mask in masks]))


def projection() -> Row:
    """Sketches of 32 gradients of 2^18 numbers."""
    network = open_network(nn.Linear(512, 512, bias=False))
    gradients = torch.randn(32, 512, 512, generator=torch.Generator().manual_seed(0))
    sketch = Sketcher(af.influence.count_sketch(2048, generator=torch.Generator().manual_seed(0)), network)
    generator = torch.Generator().manual_seed(0)

    def gaussian() -> Tensor:
        """Drawn in parts: all of it would take 2 GB."""
        found, flat, step = torch.zeros(32, 2048), gradients.flatten(1), 2**13
        for begin in range(0, 2**18, step):
            found += flat[:, begin : begin + step] @ torch.randn(step, 2048, generator=generator)
        return found / 2048**0.5

    ours = lambda: sketch({"weight": (Dense(gradients),)})  # noqa: E731
    return Row("Projection of 32 x 2^18 to 2,048", "dense Gaussian", 50.0, ours, gaussian, alike=False)


def measured(row: Row, plan: Plan) -> tuple[dict[str, float], Spread, int]:
    runs: dict[str, Run] = {"ours": row.ours, "theirs": row.theirs}
    if row.alike:
        one, other = row.ours(), row.theirs()
        error = float((one - other).norm() / other.norm())
        assert error < 1e-2, f"{row.name}: {row.peer} gives other scores ({error:.1e})"
    wall, ratios, rounds = race(runs, plan)
    return wall, ratios["theirs"], rounds


def beside_peers(plan: Plan) -> str:
    """A table of what scores are worth and what they take."""
    digits, lines = influence_peers.trained(20 if plan.smoke else influence_peers.SUBSETS), []
    for row in influence_peers.rows(digits):
        worth = [_worth(scores(), digits.masks, row.truth) for scores in (row.ours, row.theirs)]
        wall, ratios, rounds = race({"ours": row.ours, "theirs": row.theirs}, plan)
        ratio = ratios["theirs"]
        cells = f"{wall['ours']:.3f} | {wall['theirs']:.3f} | {ratio.median:.1f} | {ratio.low:.1f} to {ratio.high:.1f}"
        lines.append(f"| {row.name} | {row.peer} | {' | '.join(worth)} | {cells} | {rounds} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def _worth(scores: Tensor, masks: Tensor, truth: Tensor) -> str:
    return f"{af.influence.lds(scores, masks, truth).mean:.2f}" if torch.isfinite(scores).all() else "not a number"


REASON = """\
Summed TracIn on the CNN cannot reach 6: of Captum's 0.39 CPU seconds for all three checkpoints, a plain forward and
backward pass over data and queries takes 0.21, and a forward pass alone 0.09.
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.influence", description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--smoke", action="store_true", help="one round, nothing written")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    plan = replace(Plan(), smoke=options.smoke, seconds=2.0)
    cases = [
        *tracin("MLP", mlp(), (784,), 250, 25),
        *tracin("CNN", cnn(), (3, 32, 32), 125, 16),
        hessian(),
        retraining(10 if options.smoke else 100),
        projection(),
    ]
    lines = []
    for case in cases:
        wall, ratio, rounds = measured(case, plan)
        reached = "✓" if ratio.low >= case.goal else "≈" if ratio.high >= case.goal else "✗"
        cells = f"{wall['ours']:.3f} | {wall['theirs']:.3f} | {ratio.median:.1f} | {ratio.low:.1f} to {ratio.high:.1f}"
        lines.append(f"| {case.name} | {case.peer} | {cells} | {case.goal:g} | {reached} | {rounds} |")
        print(lines[-1], flush=True)
    table = beside_peers(plan)
    peers = ", ".join(f"{name} {version(name)}" for name in ("dattri", "kronfluence", "traker"))
    text = f"""# Training-data influence beside its peers

{(__doc__ or "").split(chr(10) * 2, 1)[1].strip()}

torch {torch.__version__}, captum {version("captum")}; one thread. A ratio is the peer's {plan.clock_name} over ours,
the median over rounds in which both take turns; `✓` the goal is reached, `≈` it lies between the quartiles, `✗` missed.

| case | beside | attrfunc, s | peer, s | ratio | quartiles | goal | reached | rounds |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(lines)}

{REASON}
## At equal worth

{(influence_peers.__doc__ or "").split(chr(10) * 2, 1)[1].strip()}

{peers}, all of them on the CPU. dattri's Arnoldi gives numbers that are not finite here; its EK-FAC
takes the labels of the data (the empirical Fisher matrix). traker's CUDA kernels are an extra that CPUs do without.

| method | beside | worth | peer's worth | attrfunc, s | peer, s | ratio | quartiles | rounds |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
{table}
"""
    print(text)
    if not options.smoke:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "influence.md").write_text(text)


if __name__ == "__main__":
    main()
