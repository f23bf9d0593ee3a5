"""Writes what was measured: a Markdown table for people and a JSON file for programs."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks.measure import Plan, Row
from benchmarks.why import why

SHOWN = ("ours", "Captum", "tuned", "by hand", "other")
HEAD = ("case", *SHOWN, *(f"÷ {name}" for name in SHOWN[1:]), "agree to")
MEMORY_HEAD = ("case", *SHOWN, "Captum ÷ ours")
PEERS = ("ours", "captum", "tuned", "bare", "other")
LABELS = {
    "captum": "Captum",
    "tuned": "Captum tuned",
    "bare": "by hand",
    "other": "the other library",
    "memory": "Captum's memory",
}

INTRO = """\
# Gradient methods beside their peers

{setup}

*Captum*: called with its defaults. *tuned*: with the fastest `internal_batch_size` or `nt_samples_batch_size`, searched
beforehand (the number of rows stands in brackets; empty where there is none to choose). *by hand*: a bare loop of
`torch.autograd.grad` over as many points, frozen parameters, rows at once searched likewise; empty where the network
cannot simply be cut. attrfunc runs with its defaults, and its `vmap` over classes takes 16 at a time.

All have the same number of points, `n_steps=50` where the name does not say otherwise, with two exceptions: for
conductance, Captum evaluates n_steps + 1 = 51, and attrfunc besides its 50 the activations at both ends.

Seconds are medians of wall time. All peers take turns in one process; a ratio (peer ÷ attrfunc, above 1: attrfunc is
faster) is the median over the rounds of the ratio of {clock}. In the cells: `✓` the goal in brackets is
reached, `≈` the goal lies between the quartiles of the rounds (undecided), `✗` it is missed.

*agree to* is the largest difference to any peer relative to the largest attribution. Beyond 1e-5 the case runs again in
float64, since rounding can move a point across a kink of ReLU; if they differ beyond 1e-7 there as well, the row is
marked `DIFFERS`. Where results cannot be equal, the cell says what was compared:

- Conductance: the mean differences of attrfunc and of Captum, relative to the mean attribution, from a sum by hand over
  many points (a trapezoid rule, single precision), whose own error is estimated from half as many points. Captum takes
  one-sided differences and does not reach the ends of the path, an error of first order.
- *without noise*: SmoothGrad with a standard deviation of 0, where nothing is random.
- *from a baseline close by*: gradient SHAP from one baseline that differs from the input by a millionth, where the
  random point of the path does not matter.
- *means*: the mean attributions of many calls of both libraries. Their difference, divided by its standard error, has
  a root mean square of 1 if their expectations are equal; `up to` is the largest standard error, relative to the
  largest attribution.
"""

PERTURBATION = """\
# Perturbation methods beside their peers

{setup}

*Captum*: called with its defaults, one perturbation of the batch at a time. *tuned*: with the fastest
`perturbations_per_eval`, searched beforehand (the number of rows stands in brackets). *by hand*: a bare loop that
replaces groups and runs the network without gradients, rows at once searched likewise. attrfunc runs with its defaults.

All evaluate the same perturbations. A network whose arithmetic fills the time of a batch cannot be run three times
faster than Captum runs it; there is to gain the overhead of small batches, and layers that need not run again. For
memory there is no goal: by default Captum evaluates one perturbation at a time, attrfunc as many as fill the cache.

Seconds are medians of wall time. All peers take turns in one process; a ratio (peer ÷ attrfunc, above 1: attrfunc is
faster) is the median over the rounds of the ratio of {clock}. In the cells: `✓` the goal in brackets is
reached, `≈` the goal lies between the quartiles of the rounds (undecided), `✗` it is missed. *agree to* is the largest
difference to any peer relative to the largest attribution, in float64 besides where it is beyond 1e-5.
"""

PROPAGATION = """\
# Methods with backward rules beside their peers

{setup}

*Captum*: called with its defaults. *other*: the library that the cell names, likewise. *by hand*: what its file in
`benchmarks/peers` says. All peers take turns in one process; the networks run each activation as a module of its own,
since Captum is inexact or raises elsewhere. With 100 classes attrfunc maps over the classes, 16 at a time, and the
others are called once for each.

Seconds are medians of wall time; a ratio (peer ÷ attrfunc, above 1: attrfunc is faster) is the median over the rounds
of the ratio of {clock}. In the cells: `✓` the goal in brackets is reached, `≈` the goal lies between the quartiles of
the rounds (undecided), `✗` it is missed. *agree to* is the largest difference to any peer relative to the largest
attribution, in float64 besides where it is beyond 1e-5.
"""

WORTH = """\
# attrfunc beside Captum and hand-written code: what explanations are worth, and attacks

{setup}; ratios are of {clock}, peer / attrfunc, medians with their quartiles; above 1 attrfunc takes less. Everyone has
the same perturbations. PGD takes steps that do not reach the edge of the ball, so that Captum's last point is the best.
"""

WORTH = """\
# What explanations are worth, and attacks, beside their peers

{setup}

*Captum*: called with its defaults. *tuned*: with the fastest `max_examples_per_batch`, searched beforehand. *by hand*:
a bare loop, rows at once searched likewise. Everyone has the same perturbations, fixed functions of the inputs. PGD
takes steps that do not reach the edge of the ball, so that the last point, which the others give, is about as good as
the best; attrfunc evaluates that one, too.

Seconds are medians of wall time; a ratio (peer ÷ attrfunc, above 1: attrfunc is faster) is the median over the rounds
of the ratio of {clock}. In the cells: `✓` the goal in brackets is reached, `≈` the goal lies between the quartiles of
the rounds (undecided), `✗` it is missed. *agree to* is the largest difference to any peer relative to the largest
number, in float64 besides where it is beyond 1e-5.
"""

INTROS = {"gradient": INTRO, "propagation": PROPAGATION, "perturbation": PERTURBATION, "worth": WORTH}
"""What a family's report begins with."""

MEMORY = """\
## Peak memory (MB)

What one call adds to the peak of resident memory of a fresh process, after the smallest call of the same kind; with the
allocator set to return freed memory at once, for every peer alike.
"""


def setup(plan: Plan) -> dict[str, str | int]:
    """Where and with what the numbers were measured."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "captum": version("captum"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processors": os.cpu_count() or 0,
        "threads": plan.threads,
        "device": plan.device,
    }


def verdict(row: Row, peer: str) -> str:
    """`yes`, `undecided` or `no`: is the case's goal against this peer reached?"""
    goal = row.case.goal(peer)
    if peer == "memory":
        return "yes" if memory_ratio(row) >= goal else "no"
    spread = row.ratios[peer]
    if spread.low <= goal <= spread.high:
        return "undecided"
    return "yes" if spread.median > goal else "no"


def memory_ratio(row: Row) -> float:
    peer = "captum" if "captum" in row.memory else "other"
    return row.memory[peer] / max(row.memory["ours"], 0.1)


def verdicts(row: Row) -> dict[str, str]:
    return {peer: verdict(row, peer) for peer in (*row.ratios, *(["memory"] if row.memory else []))}


def cell(row: Row, peer: str) -> str:
    if peer != "memory" and peer not in row.ratios:
        return ""
    value = memory_ratio(row) if peer == "memory" else row.ratios[peer].median
    mark = {"yes": "✓", "undecided": "≈", "no": "✗"}[verdict(row, peer)]
    return f"{value:.2f} {mark} ({row.case.goal(peer):.2g})"


def time_cells(row: Row) -> list[str]:
    library = row.case.method.library

    def seconds(peer: str) -> str:
        if peer not in row.wall:
            return ""
        remark = f" [{row.rows[peer]}]" if peer in row.rows else (f" [{library}]" if peer == "other" else "")
        return f"{row.wall[peer]:.4f}{remark}"

    agreement = row.agreement.text if row.agreement.holds else f"**DIFFERS** {row.agreement.text}"
    return [row.case.name, *map(seconds, PEERS), *(cell(row, peer) for peer in PEERS[1:]), agreement]


def memory_cells(row: Row) -> list[str]:
    megabytes = [f"{row.memory[peer]:.1f}" if peer in row.memory else "" for peer in PEERS]
    return [row.case.name, *megabytes, cell(row, "memory")]


def table(head: tuple[str, ...], body: list[list[str]]) -> str:
    """A Markdown table whose columns also line up in a terminal."""
    widths = [max(len(line[i]) for line in (head, *body)) for i in range(len(head))]
    lines = [head, ["-" * width for width in widths], *body]
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)


def missed(rows: list[Row]) -> str:
    """One line for every goal that is not reached or undecided, and why."""
    lines = []
    for row in rows:
        for peer, answer in verdicts(row).items():
            if answer != "yes":
                lines.append(f"- {row.case.name}, {LABELS[peer]}: {cell(row, peer)}. {why(row.case.name, peer)}")
    return "\n".join(lines) or "None."


def report(rows: list[Row], plan: Plan, family: str) -> str:
    """A family's report as Markdown."""
    facts = ", ".join(f"{name} {value}" for name, value in setup(plan).items())
    parts = [
        INTROS[family].format(setup=facts, clock=plan.clock_name),
        "## Time\n\n" + table(HEAD, [time_cells(row) for row in rows]) + "\n",
        MEMORY + "\n" + table(MEMORY_HEAD, [memory_cells(row) for row in rows]) + "\n",
    ]
    if not plan.smoke:
        parts.append("## Goals that are not reached, or undecided\n\n" + missed(rows) + "\n")
    return "\n".join(parts)


def families(rows: list[Row]) -> dict[str, list[Row]]:
    """The rows of each family that has any."""
    found = {family: [row for row in rows if row.case.family == family] for family in INTROS}
    return {family: rows for family, rows in found.items() if rows}


def write(rows: list[Row], plan: Plan, folder: Path, family: str) -> None:
    """Write a family's .md and .json."""
    save(report(rows, plan, family), rows, plan, folder, family)


def save(text: str, rows: list[Row], plan: Plan, folder: Path, name: str) -> None:
    """Write a report as .md, and its rows as .json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text)
    body = [
        {
            "case": row.case.name,
            "rows": row.rows,
            "seconds": row.wall,
            "ratios": {peer: asdict(spread) for peer, spread in row.ratios.items()},
            "memory_mb": row.memory,
            "agreement": row.agreement._asdict(),
            "rounds": row.rounds,
            "goals": {peer: row.case.goal(peer) for peer in verdicts(row)},
            "reached": verdicts(row),
        }
        for row in rows
    ]
    (folder / f"{name}.json").write_text(json.dumps({"setup": setup(plan), "cases": body}, indent=1) + "\n")
