"""Seconds and numbers of the methods that no other benchmark has a row for.

`python -m benchmarks.further` writes benchmarks/results/further.md. Each method is run beside a library that has it,
where there is one that installs, and beside a loop by hand, which says literally what the method is: small networks and
few points, all in one process with one thread, in turns. Peers get the same network, inputs and numbers of steps or
samples.

`Difference` is how far our numbers, and the peer's, are from the literal ones, as a share of the largest: ours are
asserted to be near. Where results are searched for or drawn, it is what each is worth by itself: ours, the peer's, the
loop's. The goal is to take no longer than either.
"""

from __future__ import annotations

import argparse
import gc
import json
import warnings
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.agreement import Run
from benchmarks.measure import Plan, Spread, race
from benchmarks.peers.further.reasons import WHY
from benchmarks.peers.further.row import Row
from benchmarks.why import why

RESULTS = Path(__file__).parent / "results"
FAMILIES = ("cams", "paths", "perturbed", "games", "data_sets", "attacks", "concepts", "training_data")
GOAL = 1.0
NAMES = {"theirs": "peer", "hand": "loop"}


@dataclass(frozen=True)
class Measured:
    """What was measured of one row; keys of the mappings are `ours`, `theirs` and `hand`."""

    row: Row
    wall: dict[str, float]
    ratios: dict[str, Spread]
    numbers: dict[str, float]
    rounds: int


def measured(row: Row, plan: Plan) -> Measured:
    runs: dict[str, Run] = {"ours": row.ours}
    runs |= {name: run for name, run in (("theirs", row.theirs), ("hand", row.hand)) if run}
    numbers = _numbers(row, runs)
    wall, ratios, rounds = race(runs, plan)
    return Measured(row, wall, ratios, numbers, rounds)


def _numbers(row: Row, runs: dict[str, Run]) -> dict[str, float]:
    """What results are worth, or how far ours and the peer's are from the literal ones."""
    if row.worth:
        return {name: row.worth(run()) for name, run in runs.items()}
    oracle = row.oracle or row.hand
    wanted = oracle() if oracle else (row.same or row.theirs)()  # type: ignore[misc]
    found = {"ours": row.judge(row.ours(), wanted)}
    assert found["ours"] <= row.tolerance, f"{row.name}: ours are {found['ours']:.1e} from the literal numbers"
    if row.theirs and oracle:
        found["theirs"] = row.judge((row.same or row.theirs)(), wanted)
    if row.oracle and row.hand:
        found["hand"] = row.judge(row.hand(), wanted)
    return found


def verdict(ratio: Spread) -> str:
    return "✓" if ratio.low >= GOAL else "≈" if ratio.high >= GOAL else "✗"


def _ratio(found: Measured, name: str) -> str:
    if name not in found.ratios:
        return ""
    ratio = found.ratios[name]
    return f"{ratio.median:.2f} {verdict(ratio)} ({ratio.low:.2f} to {ratio.high:.2f})"


def _shown(found: Measured) -> str:
    form = ".3g" if found.row.worth else ".0e"
    cells = [format(value, form) for value in found.numbers.values()]
    return (f"{found.row.meaning}: " if found.row.worth else "") + " / ".join(cells)


def line(found: Measured) -> str:
    row = found.row
    seconds = [f"{1e3 * found.wall[name]:.2f}" if name in found.wall else "" for name in ("ours", "theirs", "hand")]
    cells = [row.name, row.peer, *seconds, _ratio(found, "theirs"), _ratio(found, "hand"), _shown(found)]
    return "| " + " | ".join([*cells, str(found.rounds)]) + " |"


def missed(found: Measured) -> list[str]:
    """A sentence for each goal that is not reached."""
    return [
        f"- {found.row.name}, beside the {NAMES[name]}: {ratio.median:.2f}. {why(found.row.name, NAMES[name], WHY)}"
        for name, ratio in found.ratios.items()
        if ratio.low < GOAL
    ]


def report(rows: list[Measured], plan: Plan) -> str:
    lines = "\n".join(line(found) for found in rows)
    notes = "\n".join(f"- {found.row.name}: {found.row.note}" for found in rows if found.row.note)
    reasons = "\n".join(reason for found in rows for reason in missed(found))
    packages = sorted({name for found in rows for name in found.row.peer.split(", ") if name})
    peers = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"""# Further methods, side by side

{(__doc__ or "").split(chr(10) * 2, 1)[1].strip()}

torch {torch.__version__}, {peers}; one thread. A ratio is the other's {plan.clock_name} over
ours, the median over rounds in which all take turns, with the quartiles; `✓` the goal is reached, `≈` it lies between
them, `✗` missed. The machine was busy: ratios of CPU time vary by a tenth and more from run to run.

| case | peer | attrfunc, ms | peer, ms | loop, ms | peer / ours | loop / ours | difference | rounds |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
{lines}

## What the numbers are

{notes}

## Goals that are not reached, or undecided

{reasons}
"""


def body(rows: list[Measured]) -> list[dict[str, Any]]:
    return [
        {
            "case": found.row.name,
            "peer": found.row.peer,
            "seconds": found.wall,
            "ratios": {name: asdict(spread) for name, spread in found.ratios.items()},
            "numbers": found.numbers,
            "meaning": found.row.meaning or "difference from the literal numbers",
            "rounds": found.rounds,
            "goal": GOAL,
            "reached": {name: verdict(spread) for name, spread in found.ratios.items()},
        }
        for found in rows
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.further", description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--only", default="", help="rows whose names have this in them; nothing written")
    parser.add_argument("--families", nargs="*", default=FAMILIES, choices=FAMILIES, help="nothing written")
    parser.add_argument("--smoke", action="store_true", help="one round, nothing written")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    plan, rows = replace(Plan(), smoke=options.smoke, seconds=1.5), []
    for family in options.families:
        found = import_module(f"benchmarks.peers.further.{family}").rows()
        gc.collect()
        gc.freeze()  # what was imported is not searched for garbage before every sample
        for row in found:
            if options.only in row.name:
                rows.append(measured(row, plan))
                print(line(rows[-1]), flush=True)
    if not rows:
        parser.error(f"--only {options.only!r} is in the name of no row")
    text = report(rows, plan)
    if options.smoke or options.only or tuple(options.families) != FAMILIES:
        print(text)
        return
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "further.md").write_text(text)
    setup = {"torch": torch.__version__, "clock": plan.clock_name, "threads": plan.threads}
    (options.output / "further.json").write_text(json.dumps({"setup": setup, "cases": body(rows)}, indent=1) + "\n")


if __name__ == "__main__":
    main()
