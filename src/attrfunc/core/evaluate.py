"""Batched evaluation: weighted sums of gradients over many points, in chunks, with a running sum.

This is where `chunk_size` and `progress` are documented; every method refers here.

chunk_size: How many rows (points times examples) are evaluated at once. `None` lets the library choose: the first point
    tells how many bytes one row allocates, and a chunk is as many rows as fit the processor's cache. Results do not
    depend on it beyond rounding, and memory does not grow with the number of points.
progress: `True` shows a bar (needs tqdm: the extra `attrfunc[progress]`); a callable gets `(done, total)` rows after
    each chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.meter import Meter
from attrfunc.core.problem import Problem
from attrfunc.core.progress import Progress, reporter
from attrfunc.core.quadrature import positive
from attrfunc.core.transforms import pullback, require_finite, transformed

__all__ = ["Curve", "integrate"]

# Bytes that one chunk may allocate, forward and backward. Beside a cache of 32 MiB, the time per row of convolutional
# networks falls until here and then rises; that of transformers and MLPs is flat from a quarter of it on. Accelerators
# have no such optimum: there it bounds memory only.
CPU_BUDGET = 2**28
OTHER_BUDGET = 2**31
# Fewer rows than this keep no processor busy, however large they are.
FEWEST_ROWS = 4

Curve = Callable[[slice, slice, list[Tensor]], list[Tensor]]
"""Maps (points, examples, shift) to the points, tensors of shape `(K, *point)`, moved by the shift."""


def integrate(
    problem: Problem,
    curve: Curve,
    weights: Sequence[float],
    like: list[Tensor],
    *,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> list[Tensor]:
    """The weighted sum over points of the score's gradient.

    The sum is one derivative: that of the weighted score with respect to a shift of all points, at zero shift.

    Args:
        problem: The problem.
        curve: The points.
        weights: One weight for each point.
        like: Tensors of the point's shapes and dtypes.
        chunk_size: Rows evaluated at once.
        progress: Whether and how to report.

    Returns:
        One tensor for each of `like`.

    Raises:
        ArgumentError: If `chunk_size` is below 1.
        ModelError: If the score is not finite.
    """
    size = None if chunk_size is None else positive("chunk_size", chunk_size)
    steps = len(weights)
    work = _Work(problem, curve, weights, like, reporter(progress, problem.inputs.rows * steps))
    if size is not None or steps == 1 or torch.compiler.is_compiling():
        total = work.sum(slice(0, steps), size)
    else:
        with Meter() as meter:
            first = work.sum(slice(0, 1), None)
        rest = work.sum(slice(1, steps), _cache_rows(problem, meter.bytes))
        total = [one + others for one, others in zip(first, rest, strict=True)]
    return [leaf.to(example.dtype) for leaf, example in zip(total, like, strict=True)]


def _cache_rows(problem: Problem, allocated: int) -> int:
    """How many rows to evaluate at once, if one point for all examples allocates this many bytes.

    What is allocated once, for however many points, has to be a small part of each evaluation.
    """
    like = pytree.tree_leaves(problem.inputs.x)[0]
    budget = max(CPU_BUDGET if like.device.type == "cpu" else OTHER_BUDGET, 8 * problem.shared_bytes)
    # With targets mapped by vmap, one row here is a row for each target.
    fewest = 1 if transformed(problem.inputs.target) else FEWEST_ROWS
    return max(fewest, budget * problem.inputs.rows // max(allocated - problem.shared_bytes, 1))


@dataclass(frozen=True)
class _Work:
    """What is to be summed."""

    problem: Problem
    curve: Curve
    weights: Sequence[float]
    like: list[Tensor]
    report: Callable[[int], None]

    def sum(self, points: slice, size: int | None) -> list[Tensor]:
        """The sum over these points, with `size` rows at once (all, if None), in single precision at least."""
        rows = self.problem.inputs.rows
        # Only where dimension 0 is the example can the examples be evaluated apart.
        if size is None or size >= rows or not self.problem.separable(self.like):
            return self._block(self.problem, slice(None), points, size)
        blocks = [slice(first, first + size) for first in range(0, rows, size)]
        totals = [self._block(self.problem.at(block), block, points, size) for block in blocks]
        return [torch.cat(leaves) for leaves in zip(*totals, strict=True)]

    def _block(self, problem: Problem, rows: slice, points: slice, size: int | None) -> list[Tensor]:
        """The sum for some examples, which are evaluated together."""
        zeros = [torch.zeros_like(leaf[rows]) for leaf in self.like]
        total = [leaf.to(torch.promote_types(leaf.dtype, torch.float32)) for leaf in zeros]
        count = points.stop - points.start if size is None else max(1, size // max(problem.inputs.rows, 1))
        for start in range(points.start, points.stop, count):
            chunk = slice(start, min(start + count, points.stop))

            def score(shift: list[Tensor], chunk: slice = chunk) -> Tensor:
                scores = problem.scores(self.curve(chunk, rows, shift))
                return (scores.new_tensor(self.weights[chunk]).unsqueeze(1) * scores).sum()

            value, gradient = pullback(score, zeros)
            require_finite(value)
            total = [leaf + part for leaf, part in zip(total, gradient, strict=True)]
            self.report(problem.inputs.rows * (chunk.stop - chunk.start))
        return total
