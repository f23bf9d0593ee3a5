"""Batched evaluation: weighted sums of gradients over many points, in chunks, with a running sum.

This is where `chunk_size` and `progress` are documented; every method refers here.

chunk_size: How many rows (points times examples) are evaluated at once. `None` lets the library choose: the first point
    tells how many bytes one row allocates, and a chunk is as many rows as fit the processor's cache. Results do not
    depend on it beyond rounding, and memory does not grow with the number of points.
progress: `True` shows a bar (needs tqdm: the extra `attrfunc[progress]`); a callable gets `(done, total)` rows after
    each chunk.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from attrfunc.core.meter import Meter
from attrfunc.core.problem import Problem
from attrfunc.core.progress import Progress, reporter
from attrfunc.core.quadrature import positive
from attrfunc.core.transforms import pullback, require_finite

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
    chunks = _Chunks(chunk_size, like[0].device)
    rows, steps = problem.inputs.rows, len(weights)
    width = min(rows, chunk_size) if chunk_size and problem.separable(like) else rows
    report = reporter(progress, rows * steps)
    blocks = []
    for first in range(0, rows, width):
        block = slice(None) if width == rows else slice(first, first + width)
        part = problem if width == rows else problem.at(block)
        here = functools.partial(_at_rows, curve, block)
        blocks.append(_sum_points(part, here, weights, [leaf[block] for leaf in like], chunks, report))
    return [torch.cat(leaves) if len(leaves) > 1 else leaves[0] for leaves in zip(*blocks, strict=True)]


def _at_rows(curve: Curve, rows: slice, points: slice, shift: list[Tensor]) -> list[Tensor]:
    return curve(points, rows, shift)


class _Chunks:
    """How many rows to evaluate at once: as asked for, or measured on the first evaluation."""

    def __init__(self, chunk_size: int | None, device: torch.device) -> None:
        self._rows = chunk_size if chunk_size is None else positive("chunk_size", chunk_size)
        self._budget = CPU_BUDGET if device.type == "cpu" else OTHER_BUDGET

    def points(self, rows: int, left: int) -> int:
        """The number of points for the next evaluation, of `left`, with `rows` examples each."""
        if self._rows is None:
            return left if torch.compiler.is_compiling() else 1
        return max(1, min(left, self._rows // rows))

    @contextmanager
    def measured(self, rows: int, steps: int, shared: int) -> Iterator[None]:
        """Measure an evaluation of `rows` rows, if the size of a chunk is still open.

        Where `shared` bytes are allocated once for each evaluation, chunks are so large that they are few.
        """
        if self._rows is not None or steps == 1 or torch.compiler.is_compiling():
            yield
            return
        with Meter() as meter:
            yield
        budget = max(self._budget, 8 * shared)
        self._rows = max(FEWEST_ROWS, budget * rows // max(meter.bytes - shared, 1))


def _sum_points(
    problem: Problem,
    curve: Callable[[slice, list[Tensor]], list[Tensor]],
    weights: Sequence[float],
    like: list[Tensor],
    chunks: _Chunks,
    report: Callable[[int], None],
) -> list[Tensor]:
    """The weighted sum for examples that are evaluated together."""
    zeros = [torch.zeros_like(leaf) for leaf in like]
    total = [leaf.to(torch.promote_types(leaf.dtype, torch.float32)) for leaf in zeros]
    rows, steps, done = problem.inputs.rows, len(weights), 0
    while done < steps:
        points = slice(done, done + chunks.points(rows, steps - done))
        done = points.stop

        def score(shift: list[Tensor], points: slice = points) -> Tensor:
            scores = problem.scores(curve(points, shift))
            return (scores.new_tensor(weights[points]).unsqueeze(1) * scores).sum()

        with chunks.measured(rows, steps, problem.shared_bytes):
            value, gradient = pullback(score, zeros)
        require_finite(value)
        total = [leaf + part for leaf, part in zip(total, gradient, strict=True)]
        report(rows * (points.stop - points.start))
    return [leaf.to(like_leaf.dtype) for leaf, like_leaf in zip(total, like, strict=True)]
