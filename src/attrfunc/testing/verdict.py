"""Verdicts: tolerances, and the messages of the checks.

The default tolerance between two attributions that must be equal is half of the digits of their dtype (1.5e-8 relative
in double precision, 3.5e-4 in single): rounding in a deep network costs a few digits, whereas a method that breaks an
axiom is wrong in the first ones. It is relative to the greatest attribution of the batch, as one feature's attribution
may vanish by cancellation, where rounding does not; and a rounding error of the score itself is always allowed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["half_the_digits", "require_equal", "rounding"]


def half_the_digits(dtype: torch.dtype) -> float:
    """The relative tolerance that leaves half of a dtype's digits."""
    return float(torch.finfo(dtype).eps ** 0.5)


def rounding(*sizes: Tensor) -> float:
    """The rounding error of sums of a hundred terms as large as the greatest of these."""
    return max(100 * torch.finfo(size.dtype).eps * float(size.abs().max()) if size.numel() else 0.0 for size in sizes)


def where(leaf: Tensor, flat: int, number: int, leaves: int) -> str:
    """The name of one entry of one tensor."""
    index = [int(i) for i in torch.unravel_index(torch.tensor(flat), leaf.shape)]
    of = f" of tensor {number}" if leaves > 1 else ""
    return f"example {index[0]}, feature {tuple(index[1:])}{of}" if index else f"the only number{of}"


def require_equal(
    claim: str,
    got: list[Tensor],
    expected: list[Tensor],
    *,
    rtol: float | None,
    scale: Tensor,
    names: tuple[str, str],
    detail: Callable[[int, int], str] = lambda number, flat: "",
    within: list[Tensor] | None = None,
) -> None:
    """Raise unless attributions are equal.

    Args:
        claim: What is claimed, for the message.
        got: Attributions.
        expected: What they must equal.
        rtol: Tolerance relative to the greatest attribution; None for half of the digits.
        scale: Scores, whose rounding error is allowed.
        names: What to call the two.
        detail: More on one entry, for the message.
        within: Compare only where these are true.

    Raises:
        AssertionError: If they differ.
    """
    shapes, others = [tuple(leaf.shape) for leaf in got], [tuple(leaf.shape) for leaf in expected]
    if shapes != others:
        raise AssertionError(f"{claim}\n  {names[0]} have shapes {shapes}, {names[1]} {others}")
    size = max((float(leaf.abs().max()) for leaf in (*got, *expected) if leaf.numel()), default=0.0)
    relative = max((half_the_digits(leaf.dtype) for leaf in got), default=0.0) if rtol is None else rtol
    tolerance = relative * size + rounding(scale)
    worst, place, wrong, total = -1.0, (0, 0), 0, 0
    for number, (one, other) in enumerate(zip(got, expected, strict=True)):
        apart = (one - other).abs()
        if within is not None:
            apart = apart.where(within[number], torch.zeros_like(apart))
        if not apart.numel():
            continue
        total, wrong = total + apart.numel(), wrong + int((apart > tolerance).sum())
        if float(apart.max()) > worst:
            worst, place = float(apart.max()), (number, int(apart.argmax()))
    if wrong == 0:
        return
    number, flat = place
    raise AssertionError(
        f"{claim}\n"
        f"  worst: {where(got[number], flat, number, len(got))}{detail(number, flat)}: {names[0]} "
        f"{float(got[number].flatten()[flat]):.8g}, {names[1]} {float(expected[number].flatten()[flat]):.8g}, "
        f"apart by {worst:.3g}; {wrong} of {total} numbers are apart by more than the tolerance\n"
        f"  tolerance: {tolerance:.3g} = rtol {relative:.3g} x {size:.3g} (the greatest attribution) + "
        f"{rounding(scale):.3g} (rounding of the score)"
    )
