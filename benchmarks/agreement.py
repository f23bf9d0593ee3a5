"""Whether two libraries compute the same: one check for each kind of method."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.task import Method, Result, Task

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-7}
"""The largest difference between two libraries, relative to the largest attribution, that still counts as the same."""

FIT = 1e-3
"""The same for a linear model that is fitted in single precision."""

Run = Callable[[], Result]
Rows = dict[str, int]


class Agreement(NamedTuple):
    """What was checked and found, in words, and whether it is right."""

    text: str
    holds: bool


def runs_of(ways: Method, task: Task, rows: Rows) -> dict[str, Run]:
    """Everyone who runs this task, by name."""
    runs: dict[str, Run] = {"ours": partial(ways.ours, task)}
    if ways.captum:
        runs["captum"] = partial(ways.captum, task, None)
    if ways.tunable:
        runs["tuned"] = partial(ways.captum, task, rows.get("tuned"))
    if ways.bare:
        runs["bare"] = partial(ways.bare, task, rows.get("bare"))
    if ways.other:
        runs["other"] = partial(ways.other, task, None)
    return runs


def distance(one: Result, other: Result, *, mean: bool = False) -> float:
    """The largest difference relative to the largest attribution, or the mean one to the mean; of the worst layer."""
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        one, other = [one], [other]
    pairs = [(left.detach(), right.detach()) for left, right in zip(one, other, strict=True)]  # Captum's have graphs
    if any(left.shape != right.shape for left, right in pairs):
        return math.inf
    size = Tensor.mean if mean else Tensor.max
    return max(float(size((left - right).abs()) / size(right.abs())) for left, right in pairs)


def difference(runs: dict[str, Run]) -> float:
    """The largest distance of any peer's result from ours."""
    ours = runs["ours"]()
    return max(distance(ours, run()) for name, run in runs.items() if name != "ours")


def same(ways: Method, task: Task, rows: Rows) -> Agreement:
    """All results are equal up to rounding."""
    found = difference(runs_of(ways, task, rows))
    if found <= TOLERANCE[torch.float32]:
        return Agreement(f"{found:.0e}", True)
    # Rounding can move a point across a kink of ReLU. A true disagreement does not vanish with the rounding.
    runs = runs_of(ways, replace(task.double(), count=min(task.count, 10)), rows)
    if "tuned" in runs:
        del runs["captum"]  # all points at once, in float64: too much memory
    exact = difference(runs)
    return Agreement(f"{found:.0e} (float64: {exact:.0e})", exact <= TOLERANCE[torch.float64])


def single(ways: Method, task: Task, rows: Rows) -> Agreement:
    """All results are equal up to the rounding of a fit in single precision, which is Captum's."""
    found = difference(runs_of(ways, task, rows))
    return Agreement(f"{found:.0e}", found <= FIT)


def fine(ways: Method, task: Task, rows: Rows) -> Agreement:
    """Ours is no further from a fine sum by hand than Captum's is, but for that sum's own error."""
    steps = (10 if task.x[0].numel() < 100_000 else 6) * task.count
    half, reference = (ways.bare(replace(task, count=count), rows.get("bare")) for count in (steps // 2, steps))
    results = ways.ours(task), ways.captum(task, rows.get("tuned")), half
    ours, captum, own = (distance(result, reference, mean=True) for result in results)
    text = f"mean {ours:.0e} to a sum of {steps + 1} points (its own: {own:.0e}), Captum {captum:.0e}"
    few = task.count < 20  # a smoke run, where neither is near
    return Agreement(text, few or ours <= max(captum, TOLERANCE[torch.float32]) + own)


def noiseless(ways: Method, task: Task, rows: Rows) -> Agreement:
    """Without noise nothing is random."""
    found = same(ways, replace(task, stdev=0.0, count=min(task.count, 10)), rows)
    return found._replace(text=f"{found.text} without noise")


def narrow(ways: Method, task: Task, rows: Rows) -> Agreement:
    """From a single baseline close to the input, the random point of the path does not matter (float64)."""
    task = task.first().double()
    task = replace(task, baselines=task.x * (1 - 1e-6), count=min(task.count, 10))
    found = difference(runs_of(ways, task, {}))
    return Agreement(f"{found:.0e} from a baseline close by", found <= TOLERANCE[torch.float32])


def means(ways: Method, task: Task, rows: Rows) -> Agreement:
    """The means of many calls differ as those of equal expectation do: by one standard error of the difference."""
    calls = 60
    moments = {}
    for name, run in runs_of(ways, task, rows).items():
        if name in ("ours", "captum"):
            torch.manual_seed(len(name))
            found = torch.stack([run() for _ in range(calls)]).double()
            moments[name] = found.mean(0), found.var(0) / calls
    (ours, noise), (captum, other) = moments["ours"], moments["captum"]
    error = (noise + other).sqrt()
    apart = float((((ours - captum) / error)[error > 0]).square().mean().sqrt())
    size = float(error.max() / captum.abs().max())
    return Agreement(f"means of {calls} calls: {apart:.2f} standard errors (up to {size:.0e})", 0.5 < apart < 1.5)


def reached(ways: Method, task: Task, rows: Rows) -> Agreement:
    """Ours are losses that attacks reached, no lower than the others' but for rounding."""
    runs = runs_of(ways, task, rows)
    ours, others = runs["ours"](), [run() for name, run in runs.items() if name != "ours"]
    short = max(float(((other - ours) / other.abs().clamp(min=1e-6)).max()) for other in others)
    return Agreement(f"losses short of the others' by {max(short, 0.0):.0e} at most", short <= 1e-3)


CHECKS: dict[str, Callable[[Method, Task, Rows], Agreement]] = {
    "same": same,
    "single": single,
    "fine": fine,
    "noiseless": noiseless,
    "narrow": narrow,
    "means": means,
    "reached": reached,
}
