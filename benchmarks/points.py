"""How many points a stated error takes: attrfunc with `tolerance=`, set to the error that Captum's 50 points leave."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import captum.attr as ca
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import attrfunc as af
from benchmarks.cases import Case
from benchmarks.measure import Plan, Spread, race
from benchmarks.networks import NETWORKS
from benchmarks.peers import CONDUCTANCE, IG

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from zoo import CASES as ZOO
from zoo import Case as Specimen

STEPS = 50
FIXED = (*range(2, 51), 60, 70, 85, 100, 120, 150, 200, 250, 300, 400, 500, 700, 1000, 2000)
ROUNDING = 100
"""A gap of so many units in the last place of the score is nothing but rounding."""


class Counter:
    """Counts points, as a `progress` callable: the points of a path are doubled for the examples that need it."""

    def __init__(self, examples: int) -> None:
        self._examples = examples
        self._totals: list[int] = []

    def __call__(self, done: int, total: int) -> None:
        if done == total:
            self._totals.append(total)

    @property
    def mean(self) -> float:
        return sum(self._totals) / self._examples

    @property
    def largest(self) -> int:
        """The levels have 7, 15, 31, ... points."""
        return 2 ** (len(self._totals) + 2) - 1


@dataclass(frozen=True)
class Needed:
    """What one method needed on one model.

    Attributes:
        name: The case.
        gap: Captum's largest gap over the examples.
        rounding: Whether that gap is nothing but rounding.
        points: What Captum took.
        mean: What attrfunc took, on average over examples.
        largest: The same, for the example that needed most.
        reached: The largest gap that is left.
        wall: Seconds.
        ratio: Captum's over attrfunc's.
        fixed: The fewest points, without a tolerance, that leave no larger gap.
        fixed_ratio: Captum's time over attrfunc's with so many.
        goal: What the ratios are to reach.
    """

    name: str
    gap: float
    rounding: bool
    points: int
    mean: float
    largest: int
    reached: float
    wall: Mapping[str, float] | None = None
    ratio: Spread | None = None
    fixed: int | None = None
    fixed_ratio: Spread | None = None
    goal: float | None = None


EQUAL = [
    Case("CNN, conductance, early layer", "cnn", CONDUCTANCE, layer="stem"),
    Case("CNN, conductance, middle layer", "cnn", CONDUCTANCE, layer="stage2"),
    Case("CNN, conductance, late layer", "cnn", CONDUCTANCE, layer="stage4"),
    Case("CNN, IG", "cnn", IG),
    Case("Transformer, conductance", "transformer", CONDUCTANCE, layer="encoder.layers.1"),
    Case("Transformer, IG", "transformer", IG),
    Case("MLP, conductance", "mlp", CONDUCTANCE, layer="relu1"),
    Case("MLP, IG", "mlp", IG),
    Case("EfficientNet, conductance", "efficientnet", CONDUCTANCE, layer="_blocks.8"),
    Case("EfficientNet, IG", "efficientnet", IG),
]
"""What is measured to equal error. Nothing bypasses these layers, so that the gap closes."""

SPECIMENS = [f"zoo, {specimen}" for specimen in ZOO if specimen.differentiable] + ["efficientnet-lite0"]


def floor(change: Tensor) -> float:
    """A gap that is nothing but rounding."""
    return ROUNDING * torch.finfo(change.dtype).eps * float(change.abs().max())


def to_equal_error(case: Case, plan: Plan) -> Needed:
    """The time to the completeness error that Captum leaves with its default number of points."""
    task = case.task(plan.smoke, plan.device)
    change = af.score_change(task.model, task.x, target=task.target)
    largest = lambda found: float((found.detach().flatten(1).sum(1) - change).abs().max())  # noqa: E731
    captum = partial(case.method.captum, task, None)
    gap = largest(captum())
    tolerance = max(gap, floor(change))
    method = af.ig if case.method is IG else partial(af.conductance, layer=case.layer)
    ours = partial(method, task.model, task.x, target=task.target, tolerance=tolerance)
    counter = Counter(len(task.x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a tolerance that is not reached shows in the table
        reached = largest(ours(progress=counter))
        wall, ratios, _ = race({"ours": ours, "captum": captum}, plan)
    fixed = next(n for n in FIXED if largest(method(task.model, task.x, target=task.target, n_steps=n)) <= tolerance)
    by_hand = partial(method, task.model, task.x, target=task.target, n_steps=fixed)
    _, fixed_ratios, _ = race({"ours": by_hand, "captum": captum}, plan)
    conductance = case.method is CONDUCTANCE
    return Needed(
        case.name,
        gap,
        tolerance > gap,
        task.count + conductance,
        counter.mean,
        counter.largest,
        reached,
        wall,
        ratios["captum"],
        fixed,
        fixed_ratios["captum"],
        10.0 if conductance else 1.0,
    )


def for_the_gap(name: str, plan: Plan) -> Needed:
    """The points to the gap of Captum's integrated gradients, in float64, on one model."""
    if name == "efficientnet-lite0":
        model, x, target = NETWORKS["efficientnet"]()
        model, call = model.double(), {"x": x.double(), "target": target}
        model, call = model.to(plan.device), moved(call, plan)
        found = ca.IntegratedGradients(model).attribute(call["x"], target=target, n_steps=STEPS, internal_batch_size=5)
    else:
        specimen = next(one for one in ZOO if name == f"zoo, {one}")
        model, call = specimen.make(torch.float64).to(plan.device), moved(doubled(specimen), plan)
        found = captum_by_example(model, call)
    x = call.pop("x")
    gap = float(af.completeness_gap(model, x, found, **call).abs().max())
    least = floor(af.score_change(model, x, **call))
    counter = Counter(pytree.tree_leaves(x)[0].shape[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = af.ig(model, x, tolerance=max(gap, least), progress=counter, **call)
    reached = float(af.completeness_gap(model, x, ours, **call).abs().max())
    return Needed(name, gap, gap < least, STEPS, counter.mean, counter.largest, reached)


def doubled(specimen: Specimen) -> dict[str, Any]:
    """The call of a model of the zoo, in float64."""
    double = partial(pytree.tree_map_only, Tensor, lambda leaf: leaf.double() if leaf.is_floating_point() else leaf)
    arguments = {"args": double(specimen.args), "kwargs": double(dict(specimen.kwargs))}
    return {"x": double(specimen.inputs), "target": specimen.target, **arguments}


def moved(call: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """A call's arguments on the device that is measured."""
    return pytree.tree_map_only(Tensor, lambda leaf: leaf.to(plan.device), call)


def captum_by_example(model: Callable[..., Any], call: Mapping[str, Any]) -> Any:
    """Captum's attributions, in the structure of the input.

    It takes neither keyword arguments nor dicts, and repeats every tensor among further arguments as if it had one row
    for each example. So each example is attributed by itself, as a function of its tensors alone.
    """
    parts = []
    for tensors, target, forward in examples(model, call):
        method = ca.IntegratedGradients(forward)
        parts.append(method.attribute(tensors, target=target, n_steps=STEPS))
    _, spec = pytree.tree_flatten(call["x"])
    return pytree.tree_unflatten([torch.cat(leaves) for leaves in zip(*parts, strict=True)], spec)


def examples(model: Callable[..., Any], call: Mapping[str, Any]) -> Iterator[tuple[tuple[Tensor, ...], Any, Callable]]:
    """Each example's tensors and target, and the model as a function of copies of these tensors."""
    leaves, spec = pytree.tree_flatten(call["x"])
    rows = len(leaves[0])

    def forward(*tensors: Tensor, row: int) -> Tensor:
        count = len(tensors[0])
        follow = lambda leaf: leaf[[row] * count] if leaf.dim() and len(leaf) == rows else leaf  # noqa: E731
        args, kwargs = pytree.tree_map_only(Tensor, follow, (call["args"], call["kwargs"]))
        x = pytree.tree_unflatten(list(tensors), spec)
        return model(*(x if isinstance(x, tuple) else (x,)), *args, **kwargs)

    for row in range(rows):
        target = call["target"]
        own = target[row] if isinstance(target, list | Tensor) else target
        own = int(own) if isinstance(own, Tensor) else own
        yield tuple(leaf[row : row + 1] for leaf in leaves), own, partial(forward, row=row)
