"""Workers of Ray, as an engine: actors over the shards.

Plain actors and not `ray.data`: that cuts rows into blocks of its own, whose size depends on the cluster, and hands
results back through the object store. Here a worker takes the number of a shard, reads its rows where the data set has
an index, and writes it to disk; the driver sees nothing but numbers. A shard is the same wherever it is computed, and
one whose worker was killed is computed again.
"""

from __future__ import annotations

import itertools
import math
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from attrfunc.core.errors import ArgumentError, describe, positive
from attrfunc.data.extras import ray

__all__ = ["Ray"]

T = TypeVar("T")
R = TypeVar("R")

_RETRIES = 3
"""How often a worker may die of one shard."""


@dataclass(frozen=True)
class Ray:
    """Workers of Ray: on this machine, or on a cluster. Extra: `attrfunc[ray]`.

    The model is put into the object store once, and each worker takes it from there. A Ray that is already running in
    this process is used as it is; one that is started here ends with the call.

    Attributes:
        address: The cluster: `"auto"` for the one that this machine is part of, `"host:6379"`, or `"ray://host:10001"`.
            `None` starts workers on this machine alone. On a cluster, the store's folder has to be on a file system
            that all machines share, and the data, if it is a path, too.
        workers: How many workers there are.
        cpus_per_worker: Cores for each, and threads of torch.
        gpus_per_worker: GPUs for each, fractions too; with any, the model is put on it.
        timeout: Seconds to wait for the cluster to answer, and for the workers to start.

    Example:
        >>> af.data.Ray("ray://head:10001", workers=8, gpus_per_worker=1).workers
        8
    """

    address: str | None = None
    workers: int = 2
    cpus_per_worker: float = 1
    gpus_per_worker: float = 0
    timeout: float = 120
    remote = True

    def __post_init__(self) -> None:
        positive("workers", self.workers)
        for name, least in (("cpus_per_worker", 0), ("gpus_per_worker", 0), ("timeout", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < math.inf:
                error = ArgumentError(name, describe(value), f"a number of at least {least}", f"Pass {name}=1.")
                raise error.within("Ray")

    def map(self, function: Callable[[T], R], items: Iterable[T], *, in_order: bool = False) -> Iterator[R]:
        """The function of each item, as workers get done; each item is sent when a worker is free.

        Args:
            function: Is sent to each worker once; it may have a method `on_gpu` that gives it for a GPU.
            items: What it is called with.
            in_order: Whether results come in the items' order.
        """
        library, items = ray(), iter(items)
        first = list(itertools.islice(items, 1))
        if not first:
            return
        started = self._connected()
        actors: list[Any] = []
        try:
            shared = _put(library, function)  # held here for as long as workers may have to start again
            self._start(actors, shared)
            pool = library.util.ActorPool(actors)
            taken = pool.get_next if in_order else pool.get_next_unordered
            for item in itertools.chain(first, items):
                if not pool.has_free():
                    yield taken()
                pool.submit(lambda actor, value: actor.call.remote([shared], value), item)
            while pool.has_next():
                yield taken()
        except library.exceptions.RayTaskError as error:
            raise error.cause from error
        except library.exceptions.RayActorError as error:
            got = f"workers that died {_RETRIES + 1} times of one piece of work ({str(error).splitlines()[0]})"
            fix = "Look for a lack of memory, or take smaller batches. The next call goes on from here."
            raise ArgumentError("engine", got, "workers that live", fix) from error
        finally:
            for actor in actors:
                library.kill(actor)
            if started:
                library.shutdown()

    def share(self, numbers: Iterable[int]) -> Iterable[int]:
        """All of them: this process deals them out."""
        return numbers

    def wait(self) -> None:
        """Nobody else makes this call."""

    def _start(self, actors: list[Any], shared: Any) -> None:
        """Add workers, and wait until they have started."""
        library = ray()
        needed = {"CPU": self.workers * self.cpus_per_worker, "GPU": self.workers * self.gpus_per_worker}
        there = library.cluster_resources()
        for kind, amount in needed.items():
            if amount > there.get(kind, 0):
                got = f"{self.workers} workers, which need {amount:g} {kind}s, where there are {there.get(kind, 0):g}"
                fix = "Ask for fewer workers, or for less of it per worker."
                raise ArgumentError("engine", got, "as many workers as the cluster has room for", fix)
        kind = library.remote(
            num_cpus=self.cpus_per_worker,
            num_gpus=self.gpus_per_worker,
            max_restarts=-1,
            max_task_retries=_RETRIES,
        )(_Worker)
        threads = max(1, int(self.cpus_per_worker))
        actors += [kind.remote(threads, self.gpus_per_worker > 0, sys.path) for _ in range(self.workers)]
        ready, late = library.wait(
            [actor.ready.remote([shared]) for actor in actors], num_returns=len(actors), timeout=self.timeout
        )
        if late:
            got = f"{len(late)} of {self.workers} workers that had not started after {self.timeout:g} seconds"
            fix = "Others may use the cluster: ask for fewer workers, or for a longer timeout."
            raise ArgumentError("engine", got, "workers that start", fix)
        try:
            library.get(ready)
        except library.exceptions.RayTaskError as error:
            if isinstance(error.cause, ArgumentError):
                raise error.cause from error
            why = str(error.cause).strip().splitlines()[-1]  # of a traceback
            got = f"workers that cannot load what they are sent ({why})"
            fix = "Install the packages that define them on all machines, or define them in the script itself."
            raise ArgumentError("engine", got, "what workers can import", fix) from error

    def _connected(self) -> bool:
        """See that Ray runs; gives whether it was started here."""
        library = ray()
        if library.is_initialized():
            return False
        quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
        if self.address is None:
            cores = max(1, math.ceil(self.workers * self.cpus_per_worker))
            library.init(address="local", num_cpus=cores, **quiet)
            return True
        _require_answer(self.address, self.timeout)
        try:
            library.init(address=self.address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise _no_answer(self.address, str(error).splitlines()[0]) from error
        return True


class _Worker:
    """What runs in a worker's process.

    Args:
        threads: Threads of torch.
        gpu: Whether the function is put on a GPU.
        path: Where the driver looks for modules.
    """

    def __init__(self, threads: int, gpu: bool, path: list[str]) -> None:
        torch.set_num_threads(threads)
        sys.path += [place for place in path if place not in sys.path]
        self._gpu, self._function = gpu, None

    def ready(self, shared: list[Any]) -> None:
        """Take the function from the object store, where the list's only entry says."""
        function = ray().get(shared[0])
        self._function = function.on_gpu() if self._gpu and hasattr(function, "on_gpu") else function

    def call(self, shared: list[Any], item: Any) -> Any:
        """The function of an item."""
        if self._function is None:  # it was killed, and started again
            self.ready(shared)
        assert self._function is not None
        return self._function(item)


def _require_answer(address: str, timeout: float) -> None:
    """Raise, in bounded time, if nothing or something else answers: Ray itself tries for minutes."""
    if address == "auto":
        return
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not (separator and host and port.isdigit()):
        expected = "'auto', 'host:6379' or 'ray://host:10001'"
        raise ArgumentError("address", repr(address), expected, "None starts workers on this machine.")
    try:
        socket.create_connection((host, int(port)), timeout=min(timeout, 10)).close()
    except (OSError, OverflowError) as error:
        raise _no_answer(address, str(error)) from error
    if address.startswith("ray://"):
        return
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        found = subprocess.run(command, capture_output=True, timeout=timeout, env=dict(os.environ))
    except subprocess.TimeoutExpired as error:
        raise _no_answer(address, f"no answer in {timeout:g} seconds") from error
    if found.returncode:
        raise _no_answer(address, "something else than Ray listens there, or Ray is not well")


def _no_answer(address: str, why: str) -> ArgumentError:
    fix = "Start Ray there (`ray start --head`), or mend the address; None starts workers on this machine."
    return ArgumentError("address", f"{address!r}, which does not answer ({why})", "a Ray cluster that runs", fix)


def _put(library: Any, function: Any) -> Any:
    """What workers run, in the object store.

    Raises:
        ArgumentError: If it cannot be sent to them.
    """
    try:
        return library.put(function)
    except Exception as error:  # whatever pickling makes of a user's objects
        cause = error.__cause__ or error.__context__ or error
        got = f"workers to which the model, method or data cannot be sent ({str(cause).splitlines()[0][:200]})"
        fix = "Keep locks, open files and connections out of them, make these where they are used, or leave engine out."
        raise ArgumentError("engine", got, "what can be pickled", fix) from error
