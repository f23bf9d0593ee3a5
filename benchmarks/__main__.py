"""Measure every case, print the tables and write them down.

`python -m benchmarks quick` measures only the ratios that matter, in five minutes, and writes results/quick.md.
`python -m benchmarks --smoke --only "MLP"` is a smoke run: one round, few points, nothing written unless `--output`.
"""

from __future__ import annotations

import argparse
import gc
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.cases import CASES, Case
from benchmarks.measure import Plan, Row, measure
from benchmarks.points import EQUAL, SPECIMENS, for_the_gap, to_equal_error
from benchmarks.points_report import points_report, write_points
from benchmarks.quick import quick
from benchmarks.report import cell, families, report, time_cells, write

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Returns 1 where two libraries disagree."""
    start = time.perf_counter()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "form", nargs="?", choices=["full", "quick"], default="full", help="every case, or five minutes"
    )
    parser.add_argument("--only", default="", metavar="PATTERN", help="regular expression on the names of cases")
    parser.add_argument("--smoke", action="store_true", help="one round with few points, to see that everything runs")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch; above 1, ratios are of wall time")
    parser.add_argument("--device", default="cpu", help="cuda, mps, ...; beyond the CPU, ratios are of wall time")
    parser.add_argument("--output", type=Path, help="folder for results; else benchmarks/results, for full runs")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    gc.freeze()  # what was imported is not searched for garbage before every sample
    plan = Plan(threads=options.threads, smoke=options.smoke, device=options.device)

    def run(cases: Sequence[Any], name: Callable[[Any], str], measured: Callable[[Any], Any]) -> Iterator[Any]:
        chosen = [case for case in cases if re.search(options.only, name(case), re.IGNORECASE)]
        for number, case in enumerate(chosen, 1):
            spent = time.perf_counter() - start
            print(f"[{number}/{len(chosen)}, {spent:.0f} s] {name(case)}", file=sys.stderr, flush=True)
            yield measured(case)

    def row(case: Case) -> Row:
        found = measure(case, plan)
        print("   ", *time_cells(found)[1:], f"memory {cell(found, 'memory')}", sep="  ", file=sys.stderr, flush=True)
        return found

    whole = not (options.only or options.smoke) and plan.on_processor
    folder = options.output or (RESULTS if whole else None)
    if options.form == "quick":
        return quick(plan, options.only, folder)
    rows = list(run(CASES, lambda case: case.name, row))
    equal = list(run(EQUAL, lambda case: f"equal error: {case.name}", lambda case: to_equal_error(case, plan)))
    gaps = list(run(SPECIMENS, lambda name: f"points: {name}", lambda name: for_the_gap(name, plan)))
    if not rows and not equal and not gaps:
        parser.error(f"--only {options.only!r} matches no case; see benchmarks/cases.py and benchmarks/points.py")
    for family, found in families(rows).items():
        print(report(found, plan, family))
    if equal or gaps:
        print(points_report(equal, gaps, plan))
    if folder:
        for family, found in families(rows).items():
            write(found, plan, folder, family)
        if equal or gaps:
            write_points(equal, gaps, plan, folder)
    return 0 if all(row.agreement.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
