"""A script of Captum's, run with the classes of this package, each call beside Captum's own.

`python -m attrfunc.captum script.py` prints for each call of `attribute` which of the two was faster, by how much
results differ, and what the class says of why. The script goes on with what attrfunc gives. Captum must be installed.
"""

from __future__ import annotations

import importlib
import runpy
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.captum import attr as ours
from attrfunc.core.errors import ArgumentError

__all__ = ["Call", "checked", "run"]

SAME = 1e-5
"""Results that differ by less, relative to the largest number, are the same."""


@dataclass(frozen=True)
class Call:
    """One call of `attribute`, by both.

    Attributes:
        name: The class.
        line: Where the script calls.
        seconds: What attrfunc took, and what Captum took.
        difference: The largest difference of results, relative to the largest number of Captum's; `None` if there is
            none to be had.
        outcome: What is to be said of it, in words.
        reasons: What the class says of how it differs, if results do.
    """

    name: str
    line: str
    seconds: tuple[float, float]
    difference: float | None
    outcome: str
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        mine, theirs = self.seconds
        faster = f"{theirs / mine:.1f} x as fast as" if mine <= theirs else f"{mine / theirs:.1f} x as slow as"
        times = f"{mine:.3g} s, {faster} Captum ({theirs:.3g} s)" if min(mine, theirs) > 0 else f"{mine:.3g} s"
        return "\n".join(
            [f"{self.line} {self.name}: {times}; {self.outcome}", *(f"    - {one}" for one in self.reasons)]
        )


class _Checked:
    """An object of a class of this package, and of Captum's. What it is asked for beyond `attribute` is the first's."""

    def __init__(
        self, name: str, kinds: tuple[Any, Any], report: Callable[[Call], None], args: Any, kwargs: Any
    ) -> None:
        self._name, self._report = name, report
        mine, theirs = (_of(side, (args, kwargs)) for side in (0, 1))
        self._objects = (kinds[0](*mine[0], **mine[1]), kinds[1](*theirs[0], **theirs[1]))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects[0], name)

    def attribute(self, *args: Any, **kwargs: Any) -> Any:
        """What attrfunc gives; if it raises, what Captum gives."""
        state, frame = torch.get_rng_state(), sys._getframe(1)
        line = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        theirs, their_time = _tried(self._objects[1].attribute, args, kwargs)
        torch.set_rng_state(state)
        mine, my_time = _tried(self._objects[0].attribute, args, kwargs)
        outcome, difference, reasons = _compared(mine, theirs, type(self._objects[0]))
        self._report(Call(self._name, line, (my_time, their_time), difference, outcome, reasons))
        if not isinstance(mine, Exception):
            return mine
        if isinstance(theirs, Exception):
            raise mine
        return theirs


def _of(side: int, value: Any) -> Any:
    """Arguments with this side's object in place of each that is checked."""
    return pytree.tree_map_only(_Checked, lambda one: one._objects[side], value)


def _tried(function: Callable[..., Any], args: Any, kwargs: Any) -> tuple[Any, float]:
    """A result, or the error in its place, and how long it took."""
    begin = time.perf_counter()
    try:
        found = function(*args, **kwargs)
    except Exception as error:
        found = error
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return found, time.perf_counter() - begin


def _compared(mine: Any, theirs: Any, kind: type) -> tuple[str, float | None, tuple[str, ...]]:
    """What to say of two results, how far apart they are, and why."""
    own = [part for part in kind.__mro__ if part is not ours.Attribution]  # which speaks of errors and arguments
    said = tuple(one for part in own for one in vars(part).get("_differs", ()))
    if isinstance(mine, Exception) and isinstance(theirs, Exception):
        return f"both raise; attrfunc: {_line(mine)}", None, ()
    if isinstance(mine, Exception):
        return f"attrfunc raises, and the script goes on with Captum's result: {_line(mine)}", None, said
    if isinstance(theirs, Exception):
        return f"Captum raises: {_line(theirs)}", None, ()
    pairs = [[leaf for leaf in pytree.tree_leaves(one) if isinstance(leaf, Tensor)] for one in (mine, theirs)]
    shapes = [[tuple(leaf.shape) for leaf in leaves] for leaves in pairs]
    if shapes[0] != shapes[1]:
        return f"shapes differ: {shapes[0]}, Captum's {shapes[1]}", None, said
    largest = max((float(leaf.abs().max()) for leaf in pairs[1] if leaf.numel()), default=0.0)
    gaps = [float((a - b).detach().abs().max()) for a, b in zip(*pairs, strict=True) if a.numel()]
    difference = max(gaps, default=0.0) / (largest or 1.0)
    if difference < SAME:
        return f"the same (to {difference:.1g})", difference, ()
    drawn = " (both draw at random)" if getattr(kind, "_random", False) else ""
    return f"results differ by {difference:.2g} of the largest number{drawn}:", difference, said


def _line(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}".split("\n")[0]
    return text if len(text) <= 160 else text[:157] + "..."


def checked(name: str, kinds: tuple[Any, Any], report: Callable[[Call], None]) -> Any:
    """A class whose objects attribute twice: as one of this package, and as Captum's of the same name.

    Args:
        name: Its name.
        kinds: The class of this package, and Captum's.
        report: Is told of each call.
    """

    class Both(_Checked):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(name, kinds, report, args, kwargs)

    for static in ("interpolate", "get_name"):
        if hasattr(kinds[0], static):
            setattr(Both, static, staticmethod(getattr(kinds[0], static)))
    Both.__name__ = Both.__qualname__ = name
    return Both


@contextmanager
def _redirected(report: Callable[[Call], None]) -> Iterator[None]:
    """Let `captum.attr` be a module of checked classes; what this package lacks is Captum's own."""
    try:
        captum: Any = importlib.import_module("captum")
        theirs = importlib.import_module("captum.attr")
    except ImportError:
        fix = "Install captum beside attrfunc; it is only needed to compare."
        raise ArgumentError("captum", "no such package", "Captum, to compare with", fix).within("check") from None
    module = types.ModuleType("captum.attr")
    module.__dict__.update({name: value for name, value in vars(theirs).items() if name != "__name__"})
    for name in ours.__all__:
        mine, peer = getattr(ours, name), getattr(theirs, name, None)
        both = isinstance(mine, type) and issubclass(mine, ours.Attribution) and hasattr(mine, "attribute")
        module.__dict__[name] = checked(name, (mine, peer), report) if both and peer is not None else mine
    sys.modules["captum.attr"] = captum.attr = module
    try:
        yield
    finally:
        sys.modules["captum.attr"] = captum.attr = theirs


def run(script: str, arguments: list[str]) -> list[Call]:
    """Run a script, and print what its calls of `attribute` were like.

    Args:
        script: Path of the script, which imports from `captum.attr`.
        arguments: What stands in `sys.argv` behind it.

    Returns:
        The calls.

    Raises:
        ArgumentError: If Captum is not installed, or there is no such script.
    """
    if not Path(script).is_file():
        raise ArgumentError("script", repr(script), "a file", "Pass the path of a script.").within("check")
    calls: list[Call] = []
    ours.IntegratedGradients(torch.nn.Linear(1, 1)).attribute(torch.ones(1, 1))  # so that no call pays for the first

    def report(call: Call) -> None:
        calls.append(call)
        print(call)

    argv, path = sys.argv, list(sys.path)
    sys.argv, sys.path[:0] = [script, *arguments], [str(Path(script).resolve().parent)]
    try:
        with _redirected(report):
            runpy.run_path(script, run_name="__main__")
    finally:
        sys.argv, sys.path[:] = argv, path
        mine, theirs = (sum(call.seconds[side] for call in calls) for side in (0, 1))
        same = sum(call.difference is not None and call.difference < SAME for call in calls)
        print(f"{len(calls)} calls, {same} with the same results: {mine:.3g} s, Captum {theirs:.3g} s")
    return calls
