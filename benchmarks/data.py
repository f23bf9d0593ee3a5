"""How the cost of a data set grows: `python -m benchmarks.data` writes results/data.md.

Small images and a small network, for which everything but the network weighs most: the cutting, the checks, the disk.
Each run is a process of its own; each worker has one thread.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Dataset

import attrfunc as af

COUNTS = (1_000, 10_000, 100_000)
SIDE, BATCH, SHARD = 32, 64, 512
WAYS = {"this process": None, "Ray, 1 worker": 1, "Ray, 2 workers": 2}
RESULTS = Path(__file__).parent / "results" / "data.md"


class Images(Dataset):
    """Pictures that are made of their numbers."""

    def __init__(self, count):
        self.count = count
        self.base = torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        return self.base.roll(number, 2) * (1 + number % 5), number % 10


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    ).eval()  # fmt: skip


def measured(model, x, *, target, folder):
    """Saliency, which notes the most memory that its process has held."""
    found = af.saliency(model, x, target=target)
    Path(folder, f"memory-{os.getpid()}").write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
    return found


def one(count, workers):
    """One run; prints what was measured."""
    torch.set_num_threads(1)
    engine = None if workers is None else af.data.Ray(workers=workers)
    times = []
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        af.data.attribute(
            measured, network(), Images(count), path=folder + "/store", target="predicted", batch_size=BATCH,
            shard_rows=SHARD, engine=engine, folder=folder, gap=False,
            progress=lambda done, total: times.append((done, time.perf_counter())),
        )  # fmt: skip
        end = time.perf_counter()
        memory = {path.name: float(path.read_text()) for path in Path(folder).glob("memory-*")}
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / 2**20
        start_of_summary = time.perf_counter()
        af.data.summary(folder + "/store", reduce=lambda a: a.mean((1, 2)))
        summarised = time.perf_counter() - start_of_summary
    (first, begun), (last, done) = times[1], times[-1]
    found = {"seconds": end - start, "before": begun - start, "memory": max(memory.values()), "size": size,
             "rate": (last - first) / (done - begun) if last > first else None, "summary": summarised,
             "driver": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}  # fmt: skip
    print(json.dumps(found))


def run(count, workers):
    command = [sys.executable, "-m", "benchmarks.data", str(count), str(workers)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(found.stdout.splitlines()[-1])


def page(found):
    lines = [
        "# A data set, row by row",
        "",
        f"Saliency of the predicted class of images 3 x {SIDE} x {SIDE} by two convolutions, in batches of "
        f"{BATCH} and shards of {SHARD}, stored as Parquet with predictions. One thread for each worker. "
        "`python -m benchmarks.data` makes this page.",
        "",
        "| rows | where | seconds | of these until the first shard | rows/s after that | most memory of a worker, MiB "
        "| of the driver, MiB | on disk, MiB | seconds of `summary` |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for (count, way), one in found.items():
        rate = "" if one["rate"] is None else f"{one['rate']:,.0f}"
        lines.append(
            f"| {count:,} | {way} | {one['seconds']:.1f} | {one['before']:.1f} | {rate} | {one['memory']:.0f} "
            f"| {one['driver']:.0f} | {one['size']:.0f} | {one['summary']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def main():
    found = {}
    for count in COUNTS:
        for way, workers in WAYS.items():
            found[count, way] = run(count, workers)
            print(count, way, found[count, way], flush=True)
            RESULTS.write_text(page(found))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        one(int(sys.argv[1]), None if sys.argv[2] == "None" else int(sys.argv[2]))
    else:
        main()
