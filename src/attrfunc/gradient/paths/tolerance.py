"""Integrals to a stated tolerance: more points for the examples that need them, and for these only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe, positive, warn
from attrfunc.core.loops.quadrature import nested, new_nodes
from attrfunc.core.model.engines import numbers, worst

__all__ = ["level_count", "refine"]

Evaluate = Callable[[Tensor, int, Sequence[float]], Any]
Estimate = Callable[[Tensor, int, Any], tuple[list[Tensor], Tensor]]


def refine(
    rows: int,
    evaluate: Evaluate,
    estimate: Estimate,
    merge: Callable[[Any, Any], Any],
    *,
    tolerance: float,
    max_steps: int,
    separable: bool,
) -> list[Tensor]:
    """Double the points of each example until its error is within the tolerance.

    Args:
        rows: Number of examples.
        evaluate: `(examples, level, nodes)` evaluates the nodes that are new at this level, and gives a structure of
            tensors with the examples in dimension 1.
        estimate: `(examples, level, everything so far)` gives the result, with the examples in dimension 0, and its
            errors.
        merge: Makes one of two things that `evaluate` gave.
        tolerance: The largest error.
        max_steps: The largest number of points.
        separable: Whether the examples can be evaluated apart.

    Returns:
        The result for all examples.

    Raises:
        ArgumentError: If the tolerance or `max_steps` cannot be right.
    """
    _check(tolerance, separable)
    levels = level_count(max_steps)
    active, state = torch.arange(rows), None
    finished: list[tuple[Tensor, list[Tensor]]] = []
    errors: list[float] = []
    for level in range(levels):
        found = evaluate(active, level, new_nodes(level))
        state = found if state is None else merge(state, found)
        result, error = estimate(active, level, state)
        errors = worst(error.abs())
        # What is not a number is not within the tolerance.
        more = torch.tensor([not value <= tolerance for value in errors], dtype=torch.bool)
        finished.append((active[~more], [leaf[~more] for leaf in result]))
        if level == levels - 1:
            finished.append((active[more], [leaf[more] for leaf in result]))
        active, state = active[more], pytree.tree_map(lambda leaf, more=more: leaf[:, more], state)
        if not len(active):
            break
    if len(active):
        remaining = [error for error in errors if not error <= tolerance]
        _warn(numbers(active), remaining, tolerance, len(nested(levels - 1)[0]))
    order = torch.argsort(torch.cat([places for places, _ in finished]))
    return [torch.cat(leaves)[order] for leaves in zip(*(result for _, result in finished), strict=True)]


def level_count(max_steps: int) -> int:
    """How many levels of nested points have at most this many."""
    levels = (positive("max_steps", max_steps) + 1).bit_length() - 3
    if levels < 1:
        raise ArgumentError("max_steps", str(max_steps), "at least 7, the first number of points", "Raise it.")
    return levels


def _check(tolerance: float, separable: bool) -> None:
    try:
        right = float(tolerance) > 0
    except (TypeError, ValueError):
        right = False
    if not right:
        raise ArgumentError(
            "tolerance", describe(tolerance), "a number above 0, in units of the score", "Pass tolerance=1e-3, say."
        )
    if torch.compiler.is_compiling():
        raise ArgumentError(
            "tolerance",
            describe(tolerance),
            "None under torch.compile, since the number of points depends on values",
            "Pass n_steps instead.",
        )
    if not separable:
        raise ArgumentError(
            "tolerance",
            "a point without the examples in dimension 0",
            "examples that can be evaluated apart",
            "Pass n_steps instead.",
        )


def _warn(examples: list[int], errors: list[float], tolerance: float, steps: int) -> None:
    shown = ", ".join(f"{number}: {error:.2g}" for number, error in list(zip(examples, errors, strict=True))[:10])
    more = f" and {len(examples) - 10} more" if len(examples) > 10 else ""
    warn(
        f"the tolerance {tolerance:g} is not reached with {steps} points; remaining gaps by example are "
        f"{{{shown}}}{more}. Raise max_steps or the tolerance. A network of ReLUs converges slowly, and in single "
        "precision rounding bounds what can be reached."
    )
