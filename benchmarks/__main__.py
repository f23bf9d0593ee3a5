"""Measure every case, print the tables and write them down.

`python -m benchmarks --quick --only "MLP"` is a smoke run: one round, few points, nothing written unless `--output`.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path

import torch

from benchmarks.cases import CASES
from benchmarks.measure import Plan, Row, measure
from benchmarks.report import report, write

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Returns 1 where two libraries disagree."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", default="", metavar="PATTERN", help="regular expression on the names of cases")
    parser.add_argument("--quick", action="store_true", help="one round with few points, to see that everything runs")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch; above 1, ratios are of wall time")
    parser.add_argument("--output", type=Path, help="folder for results; else benchmarks/results, for full runs")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    plan = Plan(threads=options.threads, quick=options.quick)
    cases = [case for case in CASES if re.search(options.only, case.name, re.IGNORECASE)]
    if not cases:
        parser.error(f"--only {options.only!r} matches no case; there are: {', '.join(case.name for case in CASES)}")
    rows: list[Row] = []
    start = time.perf_counter()
    for number, case in enumerate(cases, 1):
        print(f"[{number}/{len(cases)}, {time.perf_counter() - start:.0f} s] {case.name}", file=sys.stderr, flush=True)
        rows.append(measure(case, plan))
        if not rows[-1].agrees:
            print("    DIFFERS", file=sys.stderr)
    print(report(rows, plan))
    whole = not (options.only or options.quick or options.threads > 1)
    if options.output or whole:
        write(rows, plan, options.output or RESULTS)
    return 0 if all(row.agrees for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
