"""A real, local Ray: what one process gives, to the bit, though a worker is killed."""

import os
import signal
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from run_in_process import shap
from small_data import Pairs, net, rows
from test_data_killed import same

import attrfunc as af
from attrfunc.data import ray_engine

ONE = af.data.Ray(workers=1)


@pytest.fixture(scope="module", autouse=True)
def cluster():
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def shap_killed(model, x, *, marker, generator, target=None, **options):
    """A method that draws, and whose process is killed once, in the middle of a shard."""
    if not Path(marker).exists() and abs(float(x[0, 0]) - float(rows(200)[0][88, 0])) < 1e-6:
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return af.gradient_shap(model, x, generator=generator, target=target, **options)


def dies(model, x, *, target=None):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_loses_nothing(tmp_path):
    whole, marker = shap(tmp_path / "whole", Pairs(200)), tmp_path / "marker"
    options = {"baselines": torch.zeros(5, 4), "stdev": 0.1, "seed": 3, "marker": str(marker), "target": "predicted"}
    reported = []
    store = af.data.attribute(
        shap_killed, net(), Pairs(200), path=tmp_path / "store", batch_size=8, shard_rows=16, engine="ray", **options,
        progress=lambda done, total: reported.append((done, total)),
    )  # fmt: skip
    assert marker.exists()
    assert reported[-1] == (200, 200)
    names = [name for name in whole.columns if name != "gap"]
    assert store.to_arrow(names).equals(whole.to_arrow(names))
    store.verify()


def test_batches_are_sent_and_embedded(tmp_path):
    """Data that only this process can read; and gradients of training data, in order."""
    x, labels = rows(64)
    data = list(zip(x.split(8), labels.split(8), strict=True))
    same(shap(tmp_path / "store", data, engine=ONE), shap(tmp_path / "whole", data))
    loss = lambda model, batch: torch.nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")
    found = [
        af.influence.embed(net(), data, loss=loss, path=tmp_path / f"embedded {engine}", engine=engine)
        for engine in (None, ONE)
    ]
    np.testing.assert_array_equal(*[store.vectors for store in found])


def test_workers_that_die_of_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_engine, "_RETRIES", 0)
    with pytest.raises(af.ArgumentError, match=r"attribute: argument `engine`: got workers that died.*lack of memory"):
        af.data.attribute(dies, net(), Pairs(), path=tmp_path / "store", target=0, engine=ONE, progress=False)
    again = af.data.attribute(af.ig, net(), Pairs(), path=tmp_path / "other", target=0, progress=False)
    assert len(again) == 50


class NotLoaded(torch.nn.Module):
    def __reduce__(self):
        return __import__, ("a_module_that_workers_lack",)

    def forward(self, x):
        return x[:, 0]


def test_what_cannot_be_loaded_or_computed(tmp_path):
    with pytest.raises(af.ArgumentError, match=r"cannot load what they are sent \(ModuleNotFoundError: No module nam"):
        af.data.attribute(af.ig, NotLoaded(), Pairs(), path=tmp_path / "a", engine=ONE, progress=False)
    data = [(torch.full((8, 4), torch.nan), torch.zeros(8))]
    with pytest.raises(af.ArgumentError, match=r"attribute: argument `data`: got every row of the first shard failed"):
        af.data.attribute(af.ig, net(), data, path=tmp_path / "b", target=0, engine=ONE, progress=False)


def test_what_cannot_be_sent(tmp_path):
    lock = threading.Lock()

    def locked(x):
        with lock:
            return x

    with pytest.raises(
        af.ArgumentError, match=r"`engine`: got workers to which .*cannot be sent \(cannot pickle '_thread"
    ):
        af.data.attribute(af.saliency, locked, Pairs(), path=tmp_path / "a", target=0, engine=ONE, progress=False)


def test_more_workers_than_there_is_room_for(tmp_path):
    with pytest.raises(af.ArgumentError, match=r"got 64 workers, which need 64 CPUs, where there are 2.*fewer workers"):
        shap(tmp_path / "store", Pairs(20), engine=af.data.Ray(workers=64))


def test_an_address_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    start = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:  # something else than Ray
        for address, why in (
            ("127.0.0.1:1", "Connection refused"),
            ("ray://127.0.0.1:1", "Connection refused"),
            (f"127.0.0.1:{silent.getsockname()[1]}", "something else than Ray|no answer in"),
        ):
            with pytest.raises(af.ArgumentError, match=rf"`address`: got '{address}', which does not answer \(.*{why}"):
                shap(tmp_path / "store", Pairs(20), engine=af.data.Ray(address, timeout=4))
    assert time.monotonic() - start < 60
    with pytest.raises(af.ArgumentError, match=r"`address`: got 'somewhere'; expected 'auto', 'host:6379'"):
        shap(tmp_path / "store", Pairs(20), engine=af.data.Ray("somewhere"))


@pytest.mark.parametrize("options", [{"workers": 0}, {"gpus_per_worker": -1}, {"timeout": 0}, {"cpus_per_worker": "2"}])
def test_numbers_that_cannot_be_right(options):
    (name,) = options
    with pytest.raises(af.ArgumentError, match=rf"`{name}`"):
        af.data.Ray(**options)
