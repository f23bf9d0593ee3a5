"""Writes down how many points a stated error takes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from benchmarks.measure import Plan, Spread
from benchmarks.points import Needed
from benchmarks.report import setup, table
from benchmarks.why import why

EQUAL_HEAD = (
    "case",
    "gap",
    "points",
    "ours: mean",
    "largest",
    "gap reached",
    "ours, s",
    "Captum, s",
    "÷ Captum",
    "fewest fixed",
    "÷ Captum",
)
GAP_HEAD = ("model", "gap", "ours: mean", "largest", "gap reached")

INTRO = """\
# Points for a stated error

{setup}

The *gap* is what attributions miss of completeness, in units of the score: the largest over the examples. attrfunc is
called with `tolerance=` the gap that Captum leaves with its default `n_steps=50`, and takes 7, 15, 31, ... points, more
only for the examples that need them. *ours: mean* is how many on average over the examples, *largest* for the example
that needs most. Both libraries know the error only from completeness: it says nothing of errors that cancel in the sum.

## To equal completeness error

Time with `tolerance=` against Captum's time with its defaults, in single precision. *points* are Captum's: it evaluates
n_steps + 1 for conductance; attrfunc's counts leave out the two ends of the path, which it evaluates too (as two more
runs). *fewest fixed* is the smallest `n_steps` that leaves no larger gap, as somebody would choose it who knows the gap
that Captum's 50 leave, with the ratio of the times beside it. The marks are those of [gradient.md](gradient.md).

"""

GAPS = """\
## Points for the gap of Captum's 50

Integrated gradients of every model of the tests whose input has a gradient, and of an ImageNet classifier, in float64,
so that gaps are not rounding. The baseline is zero. Where Captum's gap is within 100 units in the last place of the
score, it is nothing but rounding: the tolerance is then 100 units, and the row says so.

"""


def number(value: float) -> str:
    return f"{value:.4g}"


def gap(needed: Needed) -> str:
    return f"{needed.gap:.1e}" + (" (rounding)" if needed.rounding else "")


def mark(spread: Spread, goal: float) -> str:
    """Whether the goal is reached."""
    if spread.low <= goal <= spread.high:
        return "≈"
    return "✓" if spread.median > goal else "✗"


def ratio(spread: Spread, goal: float) -> str:
    return f"{spread.median:.2f} {mark(spread, goal)} ({goal:.2g})"


def counts(needed: Needed) -> list[str]:
    return [number(needed.mean), str(needed.largest), f"{needed.reached:.1e}"]


def equal_cells(needed: Needed) -> list[str]:
    seconds = [f"{needed.wall[peer]:.4f}" for peer in ("ours", "captum")]
    fixed = [str(needed.fixed), ratio(needed.fixed_ratio, needed.goal)]
    return [
        needed.name,
        gap(needed),
        str(needed.points),
        *counts(needed),
        *seconds,
        ratio(needed.ratio, needed.goal),
        *fixed,
    ]


def points_report(equal: list[Needed], gaps: list[Needed], plan: Plan) -> str:
    """Both tables as Markdown."""
    facts = ", ".join(f"{name} {value}" for name, value in setup(plan).items())
    missed = [
        f"- {needed.name}: {ratio(needed.ratio, needed.goal)}. {why(f'equal error: {needed.name}', 'captum')}"
        for needed in equal
        if mark(needed.ratio, needed.goal) != "✓"
    ]
    parts = [
        INTRO.format(setup=facts) + table(EQUAL_HEAD, list(map(equal_cells, equal))) + "\n",
        GAPS + table(GAP_HEAD, [[needed.name, gap(needed), *counts(needed)] for needed in gaps]) + "\n",
    ]
    if missed and not plan.smoke:
        parts.insert(1, "Goals that are not reached, or undecided:\n\n" + "\n".join(missed) + "\n")
    return "\n".join(parts)


def write_points(equal: list[Needed], gaps: list[Needed], plan: Plan, folder: Path) -> None:
    """Write points.md and points.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "points.md").write_text(points_report(equal, gaps, plan))
    body = {"setup": setup(plan), "equal_error": list(map(asdict, equal)), "gaps": list(map(asdict, gaps))}
    (folder / "points.json").write_text(json.dumps(body, indent=1) + "\n")
