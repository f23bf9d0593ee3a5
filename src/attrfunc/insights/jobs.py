"""Work that takes long: in a thread of its own, with progress, a way to stop it, and a limit of time."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

__all__ = ["Job", "Stopped"]

T = TypeVar("T")
Report = Callable[[int, int], None]

TICK = 0.1  # seconds between two looks at a job


class Stopped(BaseException):
    """Ends a job from inside; not an Exception, so that a model's own handlers let it pass.

    Args:
        replaced: Whether somebody has asked for something else meanwhile.
    """

    def __init__(self, replaced: bool = False) -> None:
        super().__init__()
        self.replaced = replaced


class Job(Generic[T]):
    """A piece of work in a thread.

    It ends where it next reports its progress, as methods do after each chunk, or where Python next runs a line: then
    `Stopped` is raised in its thread. That is safe as the thread is the job's own, and works on copies. Whoever waits
    for it need not wait for that: one long operation of torch's, or a model that sleeps, cannot be interrupted.

    Args:
        work: What is done; it gets a callable to report `(done, total)` to.
        seconds: How long it may take, and wait for its turn.
        slots: How many jobs may run at once: one is held until the thread has really ended.

    Attributes:
        progress: What was reported last; None before that.
        replaced: Whether somebody has asked for something else meanwhile, so that nobody wants to hear of this.
    """

    def __init__(self, work: Callable[[Report], T], *, seconds: float, slots: threading.Semaphore) -> None:
        self.progress: tuple[int, int] | None = None
        self.replaced = False
        self.waiting = True
        self._work, self._slots, self._seconds = work, slots, seconds
        self._halted, self._ended = threading.Event(), threading.Event()
        self._result: Any = None
        self._error: BaseException | None = None
        self._working, self._lock = False, threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def stop(self, *, replaced: bool = False) -> None:
        """Let it end."""
        self.replaced = self.replaced or replaced
        self._halted.set()

    def watch(self) -> Iterator[None]:
        """Start, and come back now and then until it has ended, was stopped, or takes too long.

        Raises:
            TimeoutError: If it takes too long.
            Stopped: If it was stopped.
        """
        self._thread.start()
        ends = time.monotonic() + self._seconds
        try:
            while not self._ended.wait(TICK):
                if self._halted.is_set():
                    raise Stopped(self.replaced)
                if time.monotonic() > ends:
                    raise TimeoutError
                yield
            if isinstance(self._error, Stopped):
                raise Stopped(self.replaced)
        finally:
            self._halted.set()
            self._interrupt()

    def result(self) -> T:
        """What came out, or the error that did."""
        if isinstance(self._error, Exception | Stopped):
            raise self._error
        if self._error is not None:  # it would end the server, not the job
            raise RuntimeError(f"the model raised {type(self._error).__name__}") from self._error
        found: T = self._result
        return found

    def _interrupt(self) -> None:
        """Raise `Stopped` in the thread, if it is at work."""
        with self._lock:
            if self._working and self._thread.ident is not None:
                ident = ctypes.c_ulong(self._thread.ident)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(Stopped))

    def _rest(self) -> None:
        """From here on nothing is raised in the thread."""
        with self._lock:
            self._working = False

    def _report(self, done: int, total: int) -> None:
        if self._halted.is_set():
            raise Stopped
        self.progress = (done, total)

    def _run(self) -> None:
        while not self._slots.acquire(timeout=TICK):
            if self._halted.is_set():
                return
        self.waiting = False
        try:
            self._working = True
            self._report(0, 0)
            self._result = self._work(self._report)
            self._rest()
        except BaseException as error:  # handed over to whoever waits
            self._rest()
            self._error = error
        finally:
            self._slots.release()
            self._ended.set()
