"""Seconds of metrics of explanations beside Quantus, at equal work.

`python -m benchmarks.worth_quantus` writes benchmarks/results/quantus.md. Sixteen pictures of 28 by 28 pixels, once for
a network like LeNet and once for an MLP of 128 units: both libraries have the same network, pictures, attributions and
numbers of perturbations or steps, all examples in one batch, in one process with one thread. Quantus explains by plain
autograd, without a library in between, and does not normalise attributions. Where both compute the same number this is
checked; where they draw or define it in another way, only the evaluations are as many.

The limit is Quantus's time over that of the network alone: its evaluations and gradients by hand, in the best batches
and without anything else. No library that evaluates as often as Quantus gets beyond it.
"""

from __future__ import annotations

import argparse
import copy
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import attrfunc as af
from benchmarks.agreement import Run
from benchmarks.measure import Plan, Spread, race
from benchmarks.why import why
from benchmarks.zennit_alone import stubbed

with stubbed():  # Quantus looks for zennit, which asks for names of torchvision
    import quantus

RESULTS = Path(__file__).parent / "results"
GOAL = 5.0
SEED = 0


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: What is measured.
        ours: The call.
        theirs: Quantus's.
        evaluations: How often the network is run on all examples.
        gradients: How many gradients are taken of all examples.
        alike: Whether both give the same numbers.
    """

    name: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    evaluations: int = 0
    gradients: int = 0
    alike: bool = False


def lenet() -> nn.Module:
    torch.manual_seed(SEED)
    return nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    ).eval()  # fmt: skip


def mlp() -> nn.Module:
    torch.manual_seed(SEED)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)).eval()


def by_hand(model: nn.Module, x: Tensor, row: Row) -> Callable[[], Any]:
    """The network alone, as often as the metric needs it; 448 rows at once."""
    frozen = copy.deepcopy(model).requires_grad_(False)
    times = max(1, 448 // len(x))

    def blocks(count: int) -> list[Tensor]:
        return [x.repeat(min(times, count - start), 1, 1, 1) for start in range(0, count, times)]

    def run() -> None:
        with torch.no_grad():
            for block in blocks(row.evaluations):
                frozen(block)
        for block in blocks(row.gradients):
            leaf = block.requires_grad_()
            torch.autograd.grad(frozen(leaf).amax(1).sum(), leaf)

    return run


def explained(model: nn.Module, inputs: Any, targets: Any, **_: Any) -> np.ndarray[Any, Any]:
    """Absolute gradients, as Quantus asks for explanations."""
    x = torch.as_tensor(inputs, dtype=torch.float32).requires_grad_()
    scores = model(x).gather(1, torch.as_tensor(targets)[:, None]).sum()
    return torch.autograd.grad(scores, x)[0].abs().numpy()


def pictures(count: int) -> Tensor:
    x = torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(SEED))
    x[:, :, 0, 0] = 0.0  # so that black, the least value, is 0 for both
    return x


def rows_of(model: nn.Module, x: Tensor) -> list[Row]:
    count, generator = len(x), torch.Generator().manual_seed(SEED)
    labels = model(x).argmax(1).detach()
    # Nothing equal: the order of ties is not the same.
    signed = af.saliency(model, x, target=labels, absolute=False) + 1e-6 * torch.randn(x.shape, generator=generator)
    a = signed.abs()
    mask = torch.zeros(count, 1, 28, 28, dtype=torch.bool)
    mask[:, :, 8:20, 8:20] = True
    patches = af.masks.grid_mask(x, (7, 7))
    layers = sum(isinstance(part, nn.Conv2d | nn.Linear) for part in model)
    ours, plain = {"target": labels}, {"normalise": False, "disable_warnings": True}
    draw = lambda: torch.Generator().manual_seed(SEED)  # noqa: E731
    m = af.metrics

    def peer(name: str, given: Tensor | None = a, masks: Any = None, **options: Any) -> Callable[[], Any]:
        metric = getattr(quantus, name)(**plain, **options)
        arrays = {"x_batch": x.numpy(), "y_batch": labels.numpy(), "a_batch": None if given is None else given.numpy()}
        more = {} if masks is None else {"s_batch": masks.numpy()}
        function: dict[str, Any] = {
            "explain_func": explained,
            "batch_size": count,
            "channel_first": True,
            "softmax": False,
        }
        return lambda: metric(model=model, **arrays, **more, **function)

    def curve(**options: Any) -> Callable[[], Tensor]:
        return lambda: m.perturbation_curve(model, x, signed, **ours, **options)

    noise = {"radius": 0.02, "n_samples": 10, "generator": draw()}
    first = isinstance(model[0], nn.Conv2d)  # Quantus takes no other first layer
    invariance = Row(
        "input invariance",
        lambda: m.input_invariance(af.saliency, shift=-1.0)(model, x, **ours),
        peer("InputInvariance", None, input_shift=-1),
        gradients=2,
    )
    return [
        Row(
            "pixel flipping, 28 steps",
            curve(n_steps=28),
            peer("PixelFlipping", signed, features_in_step=28),
            28,
            alike=True,
        ),
        Row(
            "region perturbation, 16 patches",
            curve(feature_mask=patches),
            peer("RegionPerturbation", signed, patch_size=7, regions_evaluation=16),
            16,
        ),
        Row(
            "ROAD, 5 percentages",
            curve(n_steps=5, imputer=m.noisy_linear(generator=draw())),
            peer("ROAD", signed, percentages=[20, 40, 60, 80, 100]),
            5,
        ),
        Row(
            "faithfulness correlation, 100 subsets",
            lambda: m.faithfulness_correlation(model, x, signed, **ours, subset_size=56, generator=draw()),
            peer("FaithfulnessCorrelation", signed, nr_runs=100, subset_size=56),
            101,
        ),
        Row(
            "sensitivity-n, 22 sets",
            lambda: m.sensitivity_n(model, x, signed, **ours, n=392, n_subsets=22, generator=draw()),
            peer("SensitivityN", signed, features_in_step=28),
            23,
        ),
        Row(
            "monotonicity, 784 steps",
            lambda: m.monotonicity(model, x, a, **ours),
            peer("Monotonicity", a, features_in_step=1),
            784,
        ),
        Row(
            "infidelity, 10 perturbations",
            lambda: m.infidelity(
                model, x, signed, **ours, multiply_by_inputs=False, n_samples=10, stdev=0.02, generator=draw()
            ),
            peer("Infidelity", signed, n_perturb_samples=10, perturb_patch_sizes=[28]),
            11,
        ),
        Row(
            "max sensitivity, 10 neighbours",
            lambda: m.max_sensitivity(af.saliency, **noise)(model, x, **ours),
            peer("MaxSensitivity", a, nr_samples=10, lower_bound=0.02),
            gradients=11,
        ),
        Row(
            "average sensitivity, 10 neighbours",
            lambda: m.avg_sensitivity(af.saliency, **noise)(model, x, **ours),
            peer("AvgSensitivity", a, nr_samples=10, lower_bound=0.02),
            gradients=11,
        ),
        Row(
            "local Lipschitz, 10 neighbours",
            lambda: m.local_lipschitz(af.saliency, **noise)(model, x, **ours),
            peer("LocalLipschitzEstimate", a, nr_samples=10, perturb_std=0.02),
            gradients=11,
        ),
        Row(
            f"parameter randomisation, {layers} layers",
            lambda: m.parameter_randomisation(af.saliency, generator=draw())(model, x, **ours),
            peer("MPRT", None),
            gradients=layers + 1,
        ),
        Row(
            "random logit",
            lambda: m.random_logit(af.saliency, generator=draw())(model, x, **ours),
            peer("RandomLogit", None, num_classes=10),
            gradients=2,
        ),
        *([invariance] if first else []),
        Row("completeness", lambda: af.completeness_gap(model, x, signed, **ours), peer("Completeness", signed), 2),
        Row("sufficiency", lambda: m.sufficiency(model, x, a, threshold=0.6), peer("Sufficiency", a), 1),
        Row("pointing game", lambda: m.pointing_game(a, mask), peer("PointingGame", a, mask), alike=True),
        Row("relevance mass", lambda: m.relevance_mass(a, mask), peer("RelevanceMassAccuracy", a, mask), alike=True),
        Row("relevance rank", lambda: m.relevance_rank(a, mask), peer("RelevanceRankAccuracy", a, mask), alike=True),
        Row("localisation AUC", lambda: m.localisation_auc(a, mask), peer("AUC", a, mask), alike=True),
        Row("sparseness", lambda: m.sparseness(a), peer("Sparseness", a), alike=True),
        Row("complexity", lambda: m.complexity(a), peer("Complexity", a), alike=True),
    ]


def measured(row: Row, model: nn.Module, x: Tensor, plan: Plan) -> tuple[dict[str, float], dict[str, Spread], int]:
    np.random.seed(SEED)
    if row.alike:
        one, other = row.ours(), torch.as_tensor(np.array(row.theirs(), dtype=np.float64)).float()
        one = one[:, 1:] if other.dim() == 2 else one
        error = float((one.float() - other).abs().max() / other.abs().max().clamp(min=1e-12))
        assert error < 1e-3, f"{row.name}: Quantus gives other numbers ({error:.1e})"
    runs: dict[str, Run] = {"ours": row.ours, "theirs": row.theirs}
    if row.evaluations or row.gradients:
        runs["hand"] = by_hand(model, x, row)
    return race(runs, plan)


def line(network: str, row: Row, wall: dict[str, float], ratios: dict[str, Spread], rounds: int) -> str:
    ratio = ratios["theirs"]
    reached = "✓" if ratio.low >= GOAL else "≈" if ratio.high >= GOAL else "✗"
    limit = f"{ratio.median / ratios['hand'].median:.1f}" if "hand" in ratios else ""
    cells = f"{1e3 * wall['ours']:.2f} | {1e3 * wall['theirs']:.2f} | {ratio.median:.1f} {reached}"
    cells += (
        f" | {ratio.low:.1f} to {ratio.high:.1f} | {limit} | {'checked' if row.alike else 'evaluations'} | {rounds}"
    )
    return f"| {network}, {row.name} | {cells} |"


def missed(network: str, row: Row, ratios: dict[str, Spread]) -> str | None:
    """A sentence for what does not reach the goal."""
    ratio = ratios["theirs"].median
    if ratios["theirs"].low >= GOAL:
        return None
    limit = ratio / ratios["hand"].median if "hand" in ratios else math.inf
    reason = why(f"Quantus, {network}, {row.name}", "other")
    if limit < GOAL:
        reason = f"The network alone takes {1 / limit:.0%} of Quantus's time: at equal evaluations {limit:.1f} is all."
    return f"- {network}, {row.name}: {ratio:.1f}. {reason}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worth_quantus", description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--only", default="")
    parser.add_argument("--smoke", action="store_true", help="one round, nothing written")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    plan, x = replace(Plan(), smoke=options.smoke, seconds=1.5), pictures(16)
    lines, reasons = [], []
    for network, model in {"LeNet": lenet(), "MLP": mlp()}.items():
        for row in rows_of(model, x):
            if options.only in row.name:
                wall, ratios, rounds = measured(row, model, x, plan)
                lines.append(line(network, row, wall, ratios, rounds))
                reasons.append(missed(network, row, ratios))
                print(lines[-1], flush=True)
    text = f"""# What explanations are worth: beside Quantus

{(__doc__ or "").split(chr(10) * 2, 1)[1].strip()}

torch {torch.__version__}, quantus {version("quantus")}; one thread. A ratio is Quantus's {plan.clock_name} over ours,
the median over rounds in which all take turns; the goal is {GOAL:g}: `✓` reached, `≈` between the quartiles, `✗` not.

| case | attrfunc, ms | Quantus, ms | ratio | quartiles | limit | numbers | rounds |
| --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(lines)}

## Goals that are not reached, or undecided

{chr(10).join(reason for reason in reasons if reason)}
"""
    print(text)
    if not options.smoke and not options.only:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "quantus.md").write_text(text)


if __name__ == "__main__":
    main()
