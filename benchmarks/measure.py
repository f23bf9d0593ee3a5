"""Measures one case: agreement, then seconds in alternating runs, then peak memory in fresh processes."""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import statistics
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.agreement import CHECKS, Agreement, Run, runs_of
from benchmarks.cases import CASES, Case
from benchmarks.task import Peer, Task


class Seconds(NamedTuple):
    """What one call took. CPU time is fair on a shared machine, and with one thread it is the time that passes."""

    cpu: float
    wall: float


@dataclass(frozen=True)
class Plan:
    """How to measure: rounds of every peer in turn until `seconds` are spent; few points of one round for `smoke`."""

    threads: int = 1
    smoke: bool = False
    device: str = "cpu"
    least: int = 3
    most: int = 25
    seconds: float = 4.0

    def clock(self, sample: Seconds) -> float:
        """The seconds that ratios are made of."""
        return sample.cpu if self.on_processor else sample.wall

    @property
    def clock_name(self) -> str:
        return "CPU seconds" if self.on_processor else "wall seconds"

    @property
    def on_processor(self) -> bool:
        """Whether one thread of the processor does all the work, so that its time is the time that passes."""
        return self.threads == 1 and self.device == "cpu"


@dataclass(frozen=True)
class Spread:
    """A median with the quartiles around it."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        low, median, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
        return cls(low, median, high)


@dataclass(frozen=True)
class Row:
    """What was measured of one case; keys of the mappings are the peers."""

    case: Case
    rows: dict[str, int]
    agreement: Agreement
    wall: dict[str, float]
    ratios: dict[str, Spread]
    memory: dict[str, float]
    rounds: int


def measure(case: Case, plan: Plan) -> Row:
    """Check, tune, time and weigh one case."""
    task, ways = case.task(plan.smoke, plan.device), case.ways()
    rows = {}
    if ways.tunable:
        rows["tuned"] = best_rows(ways.captum, task, plan)
    if ways.bare and ways.chunked:
        rows["bare"] = best_rows(ways.bare, task, plan)
    agreement = CHECKS[case.check or ways.check](ways, task, rows)
    runs = runs_of(ways, task, rows)
    wall, ratios, rounds = race(runs, plan)
    memory = {name: peak_memory(case, name, rows, plan) for name in runs}
    return Row(case, rows, agreement, wall, ratios, memory, rounds)


def best_rows(peer: Peer, task: Task, plan: Plan) -> int:
    """The fastest number of rows at once, as a patient user would find it: try each, and the best two again."""
    probe = replace(task, classes=task.classes and min(task.classes, 4))
    points = [1, 4] if plan.smoke else [1, 2, 5, 10, 16, 25, 50]
    took: dict[int, float] = {}
    for rows in [len(task.x) * count for count in points if count <= task.count]:
        took[rows] = seconds(partial(peer, probe, rows)).cpu
        if min(list(took.values())[-2:]) > 1.15 * min(took.values()):
            break  # beyond the optimum it only gets worse
    for rows in sorted(took, key=took.__getitem__)[:2]:
        took[rows] = min(took[rows], seconds(partial(peer, probe, rows)).cpu)
    return min(took, key=took.__getitem__)


def seconds(run: Run, times: int = 1) -> Seconds:
    gc.collect()
    settle()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        run()
    settle()
    return Seconds((time.process_time() - cpu) / times, (time.perf_counter() - wall) / times)


def settle() -> None:
    """Wait for an accelerator, if there is one: it still works when a call returns."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def race(runs: dict[str, Run], plan: Plan) -> tuple[dict[str, float], dict[str, Spread], int]:
    """Run everyone in turn, again and again. Returns median wall seconds, and ratios peer / ours round by round."""
    begin = time.perf_counter()
    samples = {name: [seconds(run)] for name, run in runs.items()}
    # A sample of a fast method is many calls: the clock's own noise must not count.
    times = {name: 1 if plan.smoke else max(1, round(0.05 / first.wall)) for name, (first,) in samples.items()}
    if max(times.values()) > 1:
        samples = {name: [] for name in runs}
    for done in range(len(samples["ours"]), 1 if plan.smoke else plan.most):
        if done >= plan.least and time.perf_counter() - begin > plan.seconds:
            break
        for name, run in list(runs.items())[:: 1 if done % 2 else -1]:  # nobody always runs behind the same one
            samples[name].append(seconds(run, times[name]))
    ours = samples["ours"]
    ratios = {
        name: Spread.of([plan.clock(a) / plan.clock(b) for a, b in zip(theirs, ours, strict=True)])
        for name, theirs in samples.items()
        if name != "ours"
    }
    wall = {name: statistics.median(sample.wall for sample in values) for name, values in samples.items()}
    return wall, ratios, len(ours)


def peak_memory(case: Case, peer: str, rows: dict[str, int], plan: Plan) -> float:
    """Megabytes that a call adds to the peak of a fresh process, which has run the smallest call of its kind before.

    The memory is the system's, or the accelerator's if the work is done there.
    """
    # Freed memory must go back to the system at once, or the warm-up would hide a part of the peak.
    os.environ.update(MALLOC_MMAP_THRESHOLD_="65536", MALLOC_TRIM_THRESHOLD_="65536")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.measure"])
    with context.Pool(1, maxtasksperchild=1) as pool:
        return pool.apply(grown_peak, (case.name, peer, rows, plan))


def grown_peak(name: str, peer: str, rows: dict[str, int], plan: Plan) -> float:
    torch.set_num_threads(plan.threads)
    case = next(case for case in CASES if case.name == name)
    task, ways = case.task(plan.smoke, plan.device), case.ways()
    runs_of(ways, task.warm_up(), {})[peer]()
    gc.collect()
    before = peak(plan.device, reset=True)
    runs_of(ways, task, rows)[peer]()
    return peak(plan.device) - before


def peak(device: str, reset: bool = False) -> float:
    """The process's peak of resident memory in MB; where the system allows, the peak can be set back to the present."""
    if device != "cpu":
        if reset:
            torch.accelerator.reset_peak_memory_stats()
        return torch.accelerator.max_memory_allocated() / 2**20
    status = Path("/proc/self/status")
    if reset and status.exists():
        Path("/proc/self/clear_refs").write_text("5")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
