"""The quick form: only the ratios that matter, each beside its goal, in five minutes.

The same cases, peers and goals as in the full benchmark, without the checks of agreement and without memory.
"""

from __future__ import annotations

import re
import sys
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.agreement import Agreement, runs_of
from benchmarks.cases import CASES, Case
from benchmarks.measure import Plan, Row, best_rows, race
from benchmarks.report import LABELS, missed, save, setup, table, verdict

CAPTUM, HAND, BOTH = ("captum",), ("bare",), ("bare", "captum")

CHOSEN = {
    "MLP, saliency": CAPTUM,
    "MLP, guided backprop": CAPTUM,
    "MLP, deconvolution": CAPTUM,
    "CNN, saliency": CAPTUM,
    "CNN, Grad-CAM": CAPTUM,
    "CNN, guided backprop": CAPTUM,
    "CNN, deconvolution": CAPTUM,
    "CNN, guided Grad-CAM": CAPTUM,
    "Transformer, saliency": CAPTUM,
    "EfficientNet, saliency": CAPTUM,
    "EfficientNet, Grad-CAM": CAPTUM,
    "MLP, DeepLIFT": CAPTUM,
    "MLP, LRP epsilon": ("captum", "other"),
    "CNN, IG, input": BOTH,
    "EfficientNet, IG, input": BOTH,
    "CNN, SmoothGrad, 50 samples": HAND,
    "CNN, gradient SHAP, 25 samples": HAND,
    "CNN, conductance, early layer": HAND,
    "CNN, conductance, middle layer": HAND,
    "CNN, conductance, late layer": HAND,
    "EfficientNet, SmoothGrad, 50 samples": HAND,
    "EfficientNet, gradient SHAP, 25 samples": HAND,
    "EfficientNet, conductance": HAND,
    "CNN, ablation of 64 patches, one example": HAND,
    "CNN, ablation of 64 patches, batch": HAND,
    "CNN, occlusion, 225 windows, one example": HAND,
    "CNN, occlusion, 225 windows, batch": HAND,
    "EfficientNet, ablation of 64 patches": HAND,
    "EfficientNet, occlusion, 49 windows": HAND,
    "Transformer, ablation of 32 steps, one example": ("tuned",),
    "Transformer, ablation of 32 steps, batch": ("tuned",),
    "Transformer, LIME of 32 steps, 200 samples, one example": ("tuned",),
    "Transformer, LIME of 32 steps, 200 samples, batch": ("tuned",),
}
"""Names of cases, and the peers that matter there."""

SECONDS = 2.5
"""The time that rounds of one case may take, beyond the first three."""

Searched = dict[tuple[str, str, int], int]
"""The best number of rows by hand, for a network, a kind of pass (with or without gradients) and a size of batch."""

PROBE = 16
"""Points or samples with which a peer's best number of rows is searched."""

HEAD = ("case", "beside", "ratio", "quartiles", "goal", "reached", "rounds")
MARKS = {"yes": "✓", "undecided": "≈", "no": "✗"}

INTRO = """\
# The ratios that matter

{facts}

A ratio is the peer's {clock} over attrfunc's, above 1 where attrfunc is faster: the median over rounds in which both
take turns in one process. `✓` the goal is reached, `≈` it lies between the quartiles (undecided), `✗` it is missed.
*by hand* is a bare loop of `torch.autograd.grad` or of forward passes; it and *Captum tuned* run with the number of
rows (in brackets) that was fastest in a short search, by hand that of the first case of a network and kind of pass.
Measured by `nox -s bench -- quick`. Whether results agree is checked by `nox -s bench`, whose [tables](gradient.md)
say more about the peers.

"""


def quick(plan: Plan, only: str, folder: Path | None) -> int:
    """Measure the chosen cases and print their table; write it down, where there is a folder for it."""
    begin = time.perf_counter()
    plan = replace(plan, seconds=SECONDS)
    cases = [case for case in CASES if case.name in CHOSEN and re.search(only, case.name, re.IGNORECASE)]
    cases.sort(key=lambda case: list(CHOSEN).index(case.name))
    if not cases:
        raise SystemExit(f"--only {only!r} matches no case of the quick form; see benchmarks/quick.py")
    rows: list[Row] = []
    searched: Searched = {}
    for number, case in enumerate(cases, 1):
        rows.append(timed(case, plan, searched))
        spent = time.perf_counter() - begin
        print(f"[{number}/{len(cases)}, {spent:.0f} s]", *map("  ".join, lines(rows[-1])), sep="  ", file=sys.stderr)
    text = report(rows, plan)
    print(text)
    if folder:
        save(text, rows, plan, folder, "quick")
    return 0


def timed(case: Case, plan: Plan, searched: Searched) -> Row:
    """The ratios of one case."""
    task, ways, peers = case.task(plan.smoke, plan.device), case.ways(), CHOSEN[case.name]
    # The number of perturbations is that of the groups; only paths and samples can be made shorter for the search.
    probe = replace(task, count=min(task.count, PROBE)) if case.family == "gradient" else task
    rows = {}
    if "tuned" in peers:
        rows["tuned"] = best_rows(ways.captum, probe, plan)
    if "bare" in peers and ways.chunked:
        kind = case.network, case.family, len(task.x)
        if kind not in searched:
            searched[kind] = best_rows(ways.bare, probe, plan)
        rows["bare"] = searched[kind]
    takes_part = lambda runs: {name: run for name, run in runs.items() if name in ("ours", *peers)}  # noqa: E731
    for run in takes_part(runs_of(ways, task.warm_up(), rows)).values():
        run()
    runs = takes_part(runs_of(ways, task, rows))
    wall, ratios, rounds = race(runs, plan)
    return Row(case, rows, Agreement("not checked", True), wall, ratios, {}, rounds)


def lines(row: Row) -> list[list[str]]:
    """One line of the table for each peer."""
    found = []
    for peer, spread in row.ratios.items():
        label = row.case.method.library if peer == "other" else LABELS[peer]
        label += f" [{row.rows[peer]}]" if peer in row.rows else ""
        quartiles = f"{spread.low:.2f} to {spread.high:.2f}"
        numbers = f"{spread.median:.2f}", quartiles, f"{row.case.goal(peer):.2g}", MARKS[verdict(row, peer)]
        found.append([row.case.name, label, *numbers, str(row.rounds)])
    return found


def report(rows: list[Row], plan: Plan) -> str:
    """The table as Markdown, and why what is missed is missed."""
    facts = ", ".join(f"{name} {value}" for name, value in setup(plan).items())
    body = table(HEAD, [line for row in rows for line in lines(row)])
    reasons = f"\n## Goals that are not reached, or undecided\n\n{missed(rows)}\n"
    return INTRO.format(facts=facts, clock=plan.clock_name) + body + "\n" + reasons
