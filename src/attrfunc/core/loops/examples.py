"""Large batches: some examples at a time, where they do not depend on each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree

from attrfunc.core.errors import positive
from attrfunc.core.loops.plan import planned
from attrfunc.core.loops.progress import Progress, reporter
from attrfunc.core.score.baseline import ActivationBaseline, resolve_baseline
from attrfunc.core.score.problem import Problem
from attrfunc.core.trees import Rows, joined_trees, map_rows

__all__ = ["baseline_at", "by_examples"]

EVERY = slice(None)


def by_examples(
    problem: Problem,
    attribute: Callable[[Problem, slice], Any],
    chunk_size: int | None,
    progress: Progress = False,
) -> Any:
    """What a function gives for all examples of a problem, some of them at a time.

    Args:
        problem: The problem.
        attribute: `(problem, examples)` gives tensors `(B, ...)`, or a structure of them, for these examples.
        chunk_size: How many examples; `None` for all at once.
        progress: Whether and how to report.
    """
    rows = problem.inputs.rows
    size = rows if chunk_size is None else positive("chunk_size", chunk_size)
    report = reporter(progress, rows)
    if size >= rows or problem.whole or torch.compiler.is_compiling() or not _are_apart(problem, size):
        result = attribute(problem, EVERY)
        report(rows)
        return result
    results = []
    for start in range(0, rows, size):
        block = slice(start, min(start + size, rows))
        results.append(attribute(problem.at(block), block))
        report(block.stop - block.start)
    return joined_trees(results)


def baseline_at(baseline: Any, x: Any, rows: Rows, count: int) -> Any:
    """The baseline of some examples.

    Args:
        baseline: In any of its forms.
        x: The whole input.
        rows: The examples.
        count: How many there are in all.
    """
    if isinstance(rows, slice) and rows == EVERY:
        return baseline
    if isinstance(baseline, ActivationBaseline):
        return ActivationBaseline(map_rows(lambda leaf: leaf[rows], baseline.value, count))
    return pytree.tree_map(lambda leaf: leaf[rows], resolve_baseline(baseline, x))


def _are_apart(problem: Problem, size: int) -> bool:
    """Whether the examples do not depend on each other, as some of them tell."""
    try:
        # Of two, one would be looked at, and its score may be zero with or without the other.
        return planned(problem.at(slice(0, max(3, size))), size, share=False).plan.folds
    except (RuntimeError, TypeError):
        return False  # what the whole batch raises, if it does, is the caller's
