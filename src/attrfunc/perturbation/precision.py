"""Sums of scores in half precision."""

from __future__ import annotations

from torch import Tensor

__all__ = ["wide"]


def wide(scores: Tensor) -> Tensor:
    """Scores in single precision at least: sums and differences of many in half precision would overflow."""
    half = scores.is_floating_point() and scores.dtype.itemsize < 4
    return scores.float() if half else scores
