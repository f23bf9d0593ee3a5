"""Gradients under the rules of a book."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from attrfunc.core.errors import ModelError
from attrfunc.core.problem import Problem
from attrfunc.core.stateless import model_root
from attrfunc.core.transforms import pullback, require_finite
from attrfunc.propagation.interpreter import Interpreter, Record, Recorder, shown
from attrfunc.propagation.operation import UnknownOperationError
from attrfunc.propagation.rule_book import Opened, RuleBook

__all__ = ["layer_names", "multipliers", "propagated"]

log = logging.getLogger("attrfunc")


def multipliers(
    problem: Problem, book: RuleBook, start: list[Tensor], end: list[Tensor], *, shared: bool = False
) -> tuple[tuple[Tensor, Tensor], list[Tensor]]:
    """The scores at two points, and the gradients at the second one under rules that compare the two.

    Args:
        problem: The problem.
        book: The rules.
        start: The point at the baseline.
        end: The point at the input.
        shared: Whether the baseline is the same for all examples; the network then runs there once, if it can.

    Returns:
        The sums of all scores at both points, and one gradient for each tensor of the point.
    """
    if shared and problem.shares_runs():
        try:
            return _compared(problem, book, lambda part: part.shared_scores([leaf[:1].clone() for leaf in start]), end)
        except Exception as error:
            log.debug("the baseline runs for each example, since a single one runs otherwise: %s", error)
    return _compared(problem, book, lambda part: part.scores([leaf.clone()[None] for leaf in start]), end)


def _compared(
    problem: Problem, book: RuleBook, at_start: Callable[[Problem], Tensor], end: list[Tensor]
) -> tuple[tuple[Tensor, Tensor], list[Tensor]]:
    low, at_baseline = _recorded(problem, book, at_start)
    at_point = None
    if torch.compiler.is_compiling():
        _, at_point = _recorded(problem, book, lambda part: part.scores([leaf.clone()[None] for leaf in end]))
    with _explained(problem):
        interpreted = _under(problem, book, lambda names, own: Interpreter(book, names, own, at_baseline, at_point))
        high, gradient = pullback(lambda at: interpreted.scores([leaf.clone()[None] for leaf in at]).sum(), end)
    require_finite(high)
    return (low.sum(), high), gradient


def propagated(problem: Problem, book: RuleBook) -> tuple[list[Tensor], list[Tensor]]:
    """The point at the input, and the gradients there under these rules.

    Args:
        problem: The problem, at the input, or at one or several layers in one pass.
        book: Rules that compare with no baseline.
    """
    at_point = None
    if torch.compiler.is_compiling():
        # As `gradient` does: the first run at a layer is whole, a later one ends at a neuron.
        _, at_point = _recorded(problem, book, lambda part: (part.point(), part.observe()))
    with _explained(problem):
        interpreted = _under(problem, book, lambda names, own: Interpreter(book, names, own, None, at_point))
        point, gradient = interpreted.gradient()
    problem.structured_as(interpreted)
    if torch.compiler.is_compiling() and not book.linear:
        gradient = [leaf.detach() for leaf in gradient]  # whose graph would give wrong derivatives
    return point, gradient


def layer_names(problem: Problem) -> list[str]:
    """The names of the model's layers."""
    root = model_root(problem.view.model)
    return [name for name, _ in root.named_modules() if name] if root is not None else []


def _recorded(problem: Problem, book: RuleBook, run: Callable[[Problem], Any]) -> tuple[Any, Record]:
    recorders: list[Recorder] = []

    def recorder(layers: list[str], parameters: Set[int]) -> Recorder:
        recorders.append(Recorder(book, layers, parameters))
        return recorders[-1]

    part = _under(problem, book, recorder)
    if torch.compiler.is_compiling():
        return run(part), recorders[-1].record
    # Only where a transform is active does torch show an autograd.Function to a mode.
    _, _, result = torch.func.vjp(lambda zero: (zero, run(part)), torch.zeros(()), has_aux=True)  # type: ignore[misc]
    return result, recorders[-1].record


def _under(problem: Problem, book: RuleBook, make: Callable[[list[str], Set[int]], Any]) -> Problem:
    """The problem, whose model runs under a mode; which layers are running is followed where rules ask for it."""
    twins = _twins(problem)
    places = {name: module for name, module in twins if name in book.layers}
    tensors = [t for _, twin in twins for t in (*twin._parameters.values(), *twin._buffers.values())]
    # To a compiler tensors have no identity; and what it finds unneeded costs nothing.
    parameters = set() if torch.compiler.is_compiling() else {id(tensor) for tensor in tensors}

    @contextmanager
    def mode() -> Iterator[None]:
        running: list[str] = []
        with _followed(places, running), make(running, parameters):
            yield

    opens = isinstance(book.find("scaled_dot_product_attention"), Opened)
    return problem.under(mode, opens_attention=opens)


def _twins(problem: Problem) -> Sequence[tuple[str, nn.Module]]:
    """The twins of the model's modules, by name."""
    root = model_root(problem.view.model)
    modules = root.named_modules() if root is not None else ()
    return [(name, problem.twin.modules[module]) for name, module in modules if module in problem.twin.modules]


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
    """Say where in the model an operation without a rule runs."""
    try:
        yield
    except UnknownOperationError as error:
        frames = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
        modules = [owner for owner in frames if isinstance(owner, nn.Module)]
        names = {module: name for name, module in _twins(problem)}
        place = ""
        if modules:
            name = names.get(modules[-1])
            place = f" (in {type(modules[-1]).__name__}{f' {name!r}' if name else ''})"
        raise ModelError(
            f"there is no rule for the operation {shown(error.key)}{error.how}{place}. Pass one: "
            f"rules={{{shown(error.key)}: rule}}; attrfunc.propagation.rule_book says what a rule is, and which "
            "operations are the same to it."
        ) from None
