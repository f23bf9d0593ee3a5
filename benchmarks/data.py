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
    """Saliency, which notes what its process has taken: its first and last processor second, rows, and memory."""
    note = Path(folder, f"note-{os.getpid()}")
    begin, _, rows, _ = json.loads(note.read_text()) if note.exists() else (time.process_time(), 0, 0, 0)
    found = af.saliency(model, x, target=target)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    note.write_text(json.dumps([begin, time.process_time(), rows + len(x), memory]))
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
        notes = [json.loads(path.read_text()) for path in Path(folder).glob("note-*")]
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / 2**20
        start_of_summary = time.perf_counter()
        af.data.summary(folder + "/store", reduce=lambda a: a.mean((1, 2)))
        summarised = time.perf_counter() - start_of_summary
    (first, begun), (last, done) = times[1], times[-1]
    found = {"seconds": end - start, "before": begun - start, "memory": max(note[3] for note in notes), "size": size,
             "cost": 1000 * sum(end - begin for begin, end, _, _ in notes) / sum(note[2] for note in notes),
             "rate": (last - first) / (done - begun) if last > first else None, "summary": summarised,
             "driver": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}  # fmt: skip
    print(json.dumps(found))


def run(count, workers):
    command = [sys.executable, "-m", "benchmarks.data", str(count), str(workers)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(found.stdout.splitlines()[-1])


def photographs(rows=8, batch=8):
    """What a row costs of a real classifier, in forward passes of that: processor time, on one thread."""
    from benchmarks.networks import efficientnet

    torch.set_num_threads(1)
    model, x, _ = efficientnet()
    pictures = (x + torch.linspace(-0.1, 0.1, rows).reshape(-1, 1, 1, 1)).contiguous()
    methods = {
        "saliency": (af.saliency, {"gap": False}),
        "deep_lift": (af.deep_lift, {}),
        "ig, 50 points": (af.ig, {}),
    }
    times = []
    with torch.no_grad():
        for _ in range(5):
            start = time.process_time()
            model(pictures[:batch])
            times.append((time.process_time() - start) / batch)
    forward = sorted(times)[2]
    found = {}
    for name, (method, options) in methods.items():
        with tempfile.TemporaryDirectory() as folder:
            given = {"target": "predicted", "batch_size": batch, "format": "zarr", "progress": False, **options}
            af.data.attribute(method, model, [pictures[:1]], path=folder + "/warm", **given)
            start = time.process_time()
            af.data.attribute(method, model, list(pictures.split(batch)), path=folder + "/store", **given)
            found[name] = (time.process_time() - start) / rows / forward
        print(name, found[name], flush=True)
    return found


def page(found):
    lines = [
        "# A data set, row by row",
        "",
        f"Saliency of the predicted class of images 3 x {SIDE} x {SIDE} by two convolutions, in batches of {BATCH} and "
        f"shards of {SHARD}, stored as Parquet with predictions. One thread for each worker, on two cores of a shared "
        "machine, which was quiet. `python -m benchmarks.data` makes this page.",
        "",
        "| rows | where | seconds | until the first shard | rows/s after that | processor time of a row, ms "
        "| most memory of a worker, MiB "
        "| of the driver, MiB | on disk, MiB | seconds of `summary` |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in found["growth"]:
        many = one["rows"] > 5_000  # of fewer there are too few shards to tell
        rate = f"{one['rate']:,.0f}" if many else ""
        cost = f"{one['cost']:.2f}" if many and "cost" in one else ""
        lines.append(
            f"| {one['rows']:,} | {one['where']} | {one['seconds']:.1f} | {one['before']:.1f} | {rate} "
            f"| {cost} | {one['memory']:.0f} | {one['driver']:.0f} | {one['size']:.0f} "
            f"| {one['summary']:.1f} |"
        )
    costs = dict(found.get("photographs", {}))
    if costs:
        lines += [
            "",
            "## What a photograph costs, in forward passes",
            "",
            "`af.data.attribute` of EfficientNet-lite0 at 224 x 224 in batches of 8, with predictions, gaps where the "
            "method has one, and zarr arrays: processor time for each row over that of a plain forward pass, on one "
            "thread.",
            "",
            "| method | forward passes |",
            "|---|---:|",
            *[f"| {name} | {cost:.1f} |" for name, cost in costs.items()],
        ]
    return "\n".join(lines) + "\n"


def write(found):
    RESULTS.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    RESULTS.write_text(page(found))


def main():
    found = {"growth": []}
    for count in COUNTS:
        for way, workers in WAYS.items():
            found["growth"].append({"rows": count, "where": way, **run(count, workers)})
            print(found["growth"][-1], flush=True)
            write(found)
    write({**found, "photographs": photographs()})


if __name__ == "__main__":
    if len(sys.argv) == 3:
        one(int(sys.argv[1]), None if sys.argv[2] == "None" else int(sys.argv[2]))
    elif sys.argv[1:] == ["photographs"]:
        held = json.loads(RESULTS.with_suffix(".json").read_text())
        write({**held, "photographs": photographs()})
    else:
        main()
