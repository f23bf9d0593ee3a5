"""Gradients under the rules of a book."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from attrfunc.core.errors import ModelError
from attrfunc.core.model.culprits import diagnose
from attrfunc.core.model.engines import functional
from attrfunc.core.model.guard import Written
from attrfunc.core.model.parts import named_modules
from attrfunc.core.score.point import Point
from attrfunc.core.score.problem import Problem
from attrfunc.propagation.account import Account
from attrfunc.propagation.interpreter import Interpreter
from attrfunc.propagation.names import shown
from attrfunc.propagation.node import DerivativeError
from attrfunc.propagation.operation import UnknownOperationError
from attrfunc.propagation.recorder import Recorder
from attrfunc.propagation.rule_book import Opened, RuleBook, require_used
from attrfunc.propagation.watch import UnseenError

__all__ = ["Lifted", "layer_names", "multipliers", "propagated"]

R = TypeVar("R")


class Lifted(NamedTuple):
    """The outcome of a comparison with a baseline.

    Attributes:
        low: The scores at the baseline, `(B,)`.
        high: Those at the input.
        eps: The rounding of the least precise numbers on the way.
        gradient: One tensor for each of the point.
    """

    low: Tensor
    high: Tensor
    eps: float
    gradient: list[Tensor]


def multipliers(problem: Problem, book: RuleBook, start: Point, end: Point, *, shared: bool = False) -> Lifted:
    """The scores at two points, and the gradients at the second one under rules that compare the two.

    Args:
        problem: The problem.
        book: The rules.
        start: The point at the baseline.
        end: The point at the input.
        shared: Whether the baseline is the same for all examples; the network then runs there once, if it can.
    """
    neuron = problem.view.output
    if neuron is not None and neuron[0] not in problem.twin.verified and not torch.compiler.is_compiling():
        with torch.no_grad():
            problem.output(problem.inputs)  # the first run to a neuron is whole: what is recorded has to end there
    at_start: Callable[[Problem], Tensor] = lambda part: part.scores(Point.stacked([start]))  # noqa: E731
    if shared and problem.shares_runs():
        one = start.like([leaf[:1] for leaf in start.leaves])
        at_start = lambda part: part.shared_scores(one)  # noqa: E731
    return _seen_by_an_engine(problem, lambda part: _compared(part, book, at_start, end))


class _Spent(BaseException):
    """A run broke off that had compared with a part of its record, which was let go; not an Exception, as `Written`."""


def _compared(problem: Problem, book: RuleBook, at_start: Callable[[Problem], Tensor], end: Point) -> Lifted:
    while True:
        try:
            return _compared_once(problem, book, at_start, end)
        except _Spent:  # by the first write into one more tensor, which the twin now knows of
            continue


def _compared_once(problem: Problem, book: RuleBook, at_start: Callable[[Problem], Tensor], end: Point) -> Lifted:
    low, recorder = _recorded(problem, book, at_start)
    at_point, points = None, Point.stacked([end])
    if torch.compiler.is_compiling():
        at_point = _recorded(problem, book, lambda part: part.scores(points))[1].record
    make = lambda names, own: Interpreter(book, names, own, recorder.record, at_point)  # noqa: E731
    interpreted = _under(problem, book, make, whole=not problem.view.sites, spends=True)
    high, gradient = interpreted.gradients(points)
    eps = max(torch.finfo(dtype).eps for dtype in (high.dtype, *recorder.dtypes) if _rounds(dtype))
    return Lifted(low.flatten(), high.flatten(), eps, [leaf[0] for leaf in gradient])


def _rounds(dtype: torch.dtype) -> bool:
    return dtype.is_floating_point or dtype.is_complex


def propagated(problem: Problem, book: RuleBook, account: Account | None = None) -> tuple[Point, list[Tensor]]:
    """The point at the input, and the gradients there under these rules.

    Args:
        problem: The problem, at the input, or at one or several layers in one pass.
        book: Rules that compare with no baseline.
        account: Keeps account of relevance.
    """
    at_point = None
    if torch.compiler.is_compiling():
        # As `gradient` does: the first run at a layer is whole, a later one ends at a neuron.
        at_point = _recorded(problem, book, lambda part: (part.point(), part.observe()))[1].record
    inside = len(problem.view.sites) > 0
    make = lambda names, own: Interpreter(book, names, own, None, at_point, account, inside)  # noqa: E731
    point, _, gradient = _seen_by_an_engine(problem, lambda part: _under(part, book, make, whole=True).gradient())
    if torch.compiler.is_compiling() and not book.linear:
        gradient = [leaf.detach() for leaf in gradient]  # whose graph would give wrong derivatives
    return point, gradient


def _seen_by_an_engine(problem: Problem, run: Callable[[Problem], R]) -> R:
    """What is run by plain autograd, where that shows all operations to a mode, or by torch.func.

    It does not show an `autograd.Function` of the user's.
    """
    with _explained(problem):
        if problem.closed and not functional():
            try:
                return run(problem)
            except UnseenError as unseen:
                try:
                    return run(replace(problem, levels=True))
                except RuntimeError as error:  # torch.func cannot run it at all
                    raise diagnose(error) or unseen from None
        return run(replace(problem, levels=True))


def layer_names(problem: Problem) -> list[str]:
    """The names of the model's layers."""
    return [name for name in named_modules(problem.view.model) if name]


def _recorded(problem: Problem, book: RuleBook, run: Callable[[Problem], Any]) -> tuple[Any, Recorder]:
    recorders: list[Recorder] = []

    def recorder(layers: list[str], parameters: Set[int]) -> Recorder:
        recorders.append(Recorder(book, layers, parameters))
        return recorders[-1]

    part = _under(problem, book, recorder)
    if torch.compiler.is_compiling():
        return run(part), recorders[-1]
    if not problem.levels:
        with torch.no_grad():
            return run(part), recorders[-1]
    # Only where a transform is active does torch show an autograd.Function to a mode.
    _, _, result = torch.func.vjp(lambda zero: (zero, run(part)), torch.zeros(()), has_aux=True)  # type: ignore[misc]
    return result, recorders[-1]


def _under(
    problem: Problem,
    book: RuleBook,
    make: Callable[[list[str], Set[int]], Any],
    *,
    whole: bool = False,
    spends: bool = False,
) -> Problem:
    """The problem, whose model runs under a mode; which layers are running is followed where rules ask for it.

    Args:
        problem: The problem.
        book: The rules.
        make: Makes the mode.
        whole: Whether the model runs as a whole, so that all layers that rules are given for have to.
        spends: Whether a run uses up what the mode compares with, so that it cannot start anew by itself.
    """
    whole = whole and problem.view.output is None and not torch.compiler.is_compiling()

    @contextmanager
    def mode() -> Iterator[None]:
        twins = _twins(problem)  # which may be made anew for each run
        places = {name: module for name, module in twins if name in book.layers}
        tensors = [t for _, twin in twins for t in (*twin._parameters.values(), *twin._buffers.values())]
        # To a compiler tensors have no identity; and what it finds unneeded costs nothing.
        parameters = set() if torch.compiler.is_compiling() else {id(tensor) for tensor in tensors}
        running: list[str] = []
        try:
            with _without_backward_hooks(problem), _followed(places, running), make(running, parameters) as reader:
                yield
        except Written:
            if spends:
                raise _Spent from None
            raise
        if whole:
            require_used(book, reader.ran, any_input=bool(problem.view.sites))

    opens = isinstance(book.find("scaled_dot_product_attention"), Opened)
    return problem.under(mode, opens_attention=opens)


def _twins(problem: Problem) -> Sequence[tuple[str, nn.Module]]:
    """The twins of the model's modules, by name."""
    modules = named_modules(problem.view.model).items()
    return [(name, problem.twin.modules[module]) for name, module in modules if module in problem.twin.modules]


@contextmanager
def _without_backward_hooks(problem: Problem) -> Iterator[None]:
    """Pass backward hooks of modules by: they are for gradients, and what goes back under rules is none."""
    parts = () if torch.compiler.is_compiling() else problem.twin.modules.values()
    hooked = [part for part in parts if part._backward_hooks or part._backward_pre_hooks]
    tables = [(table, dict(table)) for part in hooked for table in (part._backward_hooks, part._backward_pre_hooks)]
    for table, _ in tables:
        table.clear()
    try:
        yield
    finally:
        for table, kept in tables:
            table.update(kept)


@contextmanager
def _followed(places: dict[str, nn.Module], running: list[str]) -> Iterator[None]:
    """Keep the names of the layers that are running in a list, the innermost last."""
    installed: list[tuple[dict[Any, Any], Any]] = []
    for name, module in places.items():
        hooks: Any = (partial(_entered, running, name), partial(_left, running))
        for table, hook in zip((module._forward_pre_hooks, module._forward_hooks), hooks, strict=True):
            key: Any = ("attrfunc", "rules", name)
            table[key] = hook
            installed.append((table, key))
    try:
        yield
    finally:
        for table, key in installed:
            del table[key]


def _entered(running: list[str], name: str, *_: Any) -> None:
    running.append(name)


def _left(running: list[str], *_: Any) -> None:
    running.pop()


@contextmanager
def _explained(problem: Problem) -> Iterator[None]:
    """Say where in the model an operation without a rule runs, and what was not seen."""
    try:
        yield
    except UnknownOperationError as error:
        fix = f"Pass one: rules={{{shown(error.key)}: rule}}; attrfunc.propagation.rule_book says what a rule is, and "
        fix += "which operations are the same to it."
        if error.several:
            fix = (
                "It gives several tensors, and a rule is for one: call it in a function that gives the one you need, "
                "function = af.operation(function), and pass a rule for that."
            )
        raise ModelError(
            f"there is no rule for the operation {shown(error.key)}{error.how}{_place(problem, error)}. {fix}"
        ) from None
    except DerivativeError as error:
        raise ModelError(
            f"the model takes a derivative while it runs{_place(problem, error)} (torch.autograd.grad, backward or "
            "torch.func), of what depends on the input. Rules give values other gradients than their own, so that "
            "derivative would be another one. Attribute the function that is differentiated, or take a method that "
            "leaves gradients as they are, such as integrated_gradients."
        ) from None
    except UnseenError as error:
        scripts = [name or "the model itself" for name, module in _modules(problem) if _is_script(module)]
        found = f" (scripted or traced: {', '.join(scripts[:3])})" if scripts else ""
        raise ModelError(
            f"a part of the model runs where rules do not see it{found}: {error}{_place(problem, error)}. That is so "
            "in torch.jit.script and trace, in exported code and extensions, and in torch.vmap inside a model. "
            "Attribute the Python code that this part was made from, or write it in operations of torch."
        ) from None


def _place(problem: Problem, error: BaseException) -> str:
    """The innermost module that was running."""
    frames = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    modules = [owner for owner in frames if isinstance(owner, nn.Module)]
    if not modules:
        return ""
    name = {module: name for name, module in _twins(problem)}.get(modules[-1])
    return f" (in {type(modules[-1]).__name__}{f' {name!r}' if name else ''})"


def _modules(problem: Problem) -> list[tuple[str, nn.Module]]:
    model = problem.view.model
    return list(model.named_modules()) if isinstance(model, nn.Module) else []


def _is_script(module: nn.Module) -> bool:
    return isinstance(module, torch.jit.ScriptModule)
