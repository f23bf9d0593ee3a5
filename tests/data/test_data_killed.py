"""Runs that are killed, that lack room, and that torchrun shares: nothing is lost, nothing comes twice."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from run_in_process import shap
from small_data import Pairs

import attrfunc as af

HERE = Path(__file__).parent
SCRIPT = HERE / "run_in_process.py"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def process(*arguments, **options):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(command, text=True, env=ENVIRONMENT, **options)


def ended(*arguments):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, text=True, env=ENVIRONMENT, stdout=subprocess.PIPE)


def shards(path):
    return sorted((path / "shards").glob("[0-9]*.parquet"))


def same(found, expected):
    assert len(found) == len(expected)
    assert found.to_arrow().equals(expected.to_arrow())


def test_a_run_that_is_killed_goes_on(tmp_path):
    path, whole = tmp_path / "store", shap(tmp_path / "whole", Pairs(400))
    running = process(SCRIPT, "slow", path)
    deadline = time.monotonic() + 120
    while len(shards(path)) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    there = shards(path)
    assert 5 <= len(there) < 25
    (path / "shards" / f".00000099.parquet.{os.uname().nodename}.{running.pid}.partial").write_bytes(b"cut")
    with pytest.raises(af.ArgumentError, match=r"open_store.*not all rows are written.*goes on where it was"):
        af.data.open_store(path)
    partial = af.data.open_store(path, partial=True)
    assert len(partial) == 16 * len(there)
    times = {file: file.stat().st_mtime_ns for file in there}
    reported = []
    same(shap(path, Pairs(400), progress=lambda done, total: reported.append((done, total))), whole)
    assert {file: file.stat().st_mtime_ns for file in there} == times
    assert not list((path / "shards").glob(".*"))
    assert reported[0] == (16 * len(there), 400)
    assert reported[-1] == (400, 400)
    assert [row["row"] for row in af.data.open_store(path)] == list(range(400))


def test_a_full_disk(tmp_path):
    """A limit on the size of files: writing raises in the middle of one, as it does where no room is left."""
    path = tmp_path / "store"
    limited = ended(SCRIPT, "limited", path, 2500)
    told = limited.stdout
    assert limited.returncode == 3
    assert "attribute: argument `path`: got" in told
    assert "which cannot be written to" in told
    assert "Make room, or choose another folder; what was whole is kept" in told
    assert [file.name for file in path.rglob("*") if file.is_file()] == ["manifest.json"]
    same(shap(path, Pairs(200)), shap(tmp_path / "whole", Pairs(200)))


def test_torchrun_shares_the_work(tmp_path):
    """Two processes, over gloo: of a data set with an index, and of a stream of batches."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    assert ended(*launcher, SCRIPT, "torchrun", tmp_path).returncode == 0
    whole = shap(tmp_path / "whole", Pairs(200))
    for kind in ("index", "stream"):
        same(af.data.open_store(tmp_path / kind), whole)


def test_torchrun_without_torchrun(tmp_path):
    with pytest.raises(af.ArgumentError, match=r"`engine`: got 'torchrun' without RANK.*torchrun --nproc"):
        shap(tmp_path / "store", Pairs(20), engine="torchrun")


def test_memory_does_not_grow_with_rows(tmp_path):
    few, many = map(float, ended(SCRIPT, "zarr", tmp_path, 2_000, 20_000).stdout.split())
    assert 0 <= many - few < 20  # MiB; 18,000 rows more are 53 of attributions, and as much of images


def test_summary_of_a_store_that_is_being_made(tmp_path):
    store = shap(tmp_path / "store", Pairs(100))
    shards(tmp_path / "store")[-1].unlink()
    with pytest.raises(af.ArgumentError, match=r"in which shards are missing: \[6\].*goes on where it was"):
        af.data.summary(tmp_path / "store")
    again = shap(tmp_path / "store", Pairs(100))
    np.testing.assert_array_equal(again.numpy(), store.numpy())
