"""What DeepLIFT adds up to is known: the change of the score. What is missed shows there."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attrfunc.core.errors import ModelError, warn
from attrfunc.core.loops.plan import planned
from attrfunc.core.model.engines import worst, wrapped
from attrfunc.core.score.problem import Problem

__all__ = ["Completeness"]


class Completeness:
    """Compares attributions with the change of the score, for one call, which warns once."""

    def __init__(self) -> None:
        self._told = False
        self._coupled: bool | None = None

    def require(self, problem: Problem, attributions: list[Tensor], low: Tensor, high: Tensor, eps: float) -> None:
        """Raise where multipliers are not finite; warn where the model depends on the point in a way that none shows.

        Each example by itself, where the examples stand in front; under `vmap` whatever is mapped together.

        Args:
            problem: The problem.
            attributions: What should add up to the score's change.
            low: The scores at the baseline.
            high: Those at the input.
            eps: The rounding of the least precise numbers on the way.
        """
        if torch.compiler.is_compiling():
            return
        rows = high.shape[0] if high.dim() else 0
        apart = (
            rows > 1
            and low.shape == high.shape
            and all(part.dim() > 0 and part.shape[0] == rows for part in attributions)
        )
        if not apart:
            low, high = low.sum()[None], high.sum()[None]
        wide = torch.promote_types(high.dtype, torch.float32)
        parts = [part.to(wide).reshape(len(high), -1) for part in attributions]
        low, high = low.detach(), high.detach()
        found, change = sum(part.sum(1) for part in parts), (high - low).to(wide)
        # A target that does not exist has no number where a transform hides it, and nothing to be complete.
        unknown = change.isnan()
        gap = torch.where(unknown, 0, found - change).detach()
        scale = sum(part.abs().sum(1) for part in parts) + change.abs()
        # Rounding leaves a part of the attributions, and a few digits of the scores themselves (more, of numbers too
        # small to have all digits). Where large attributions cancel, that part may be more than the change: but not
        # where they are so much larger than the scores that nothing else is left.
        sizes = low.abs() + high.abs()
        few = 0.01 * change.abs() + 30 * eps * scale
        huge = scale * min(eps, 1e-7) ** 0.5 > sizes
        few = torch.where(huge, 0.1 * change.abs(), torch.minimum(eps**0.5 * scale, few))
        allowed = few + 100 * eps * sizes + 0.01 * torch.finfo(high.dtype).tiny
        allowed = torch.where(unknown, 0, allowed)
        excess = worst(gap.abs() - allowed)
        if all(value <= 0 for value in excess):
            return
        if any(math.isnan(value) for value in excess):
            raise ModelError(
                "the multipliers are not finite: an operation has an infinite slope between the baseline and the input "
                "(a root or a logarithm at 0, say). Choose another baseline, or give the operation a rule."
            )
        hidden = wrapped(gap)
        total = worst((gap.sum().abs() - allowed.sum())[None])
        if self._told or (apart and max(total) <= 0 and self._is_coupled(problem)):
            return  # the scores depend on each other, and their sum is complete
        self._told = True
        number = excess.index(max(excess))
        amounts = "" if hidden else f" {-float(gap[number]):.3g} of the score's change of {float(change[number]):.3g}"
        where = f" in example {number}" if apart and not hidden else ""
        sums = worst(torch.where(huge, scale, 0).detach())
        if sums[number] > 0:
            warn(
                f"the attributions cancel{where}: they add up to {sums[number]:.3g} without their signs, and what "
                "rounding leaves of the score's change is wrong. A slope between the baseline and the input is all but "
                "infinite (layer normalisation of zeros, say). Choose another baseline."
            )
            return
        warn(
            f"the attributions miss{amounts or ' a part of the score'}{where}. A value that "
            "depends on the input goes on without a gradient (detach(), an index, a mask), or a rule of yours is not "
            "complete."
        )

    def _is_coupled(self, problem: Problem) -> bool:
        """Whether the scores depend on each other, which is warned of."""
        if self._coupled is None:
            self._coupled = planned(problem).plan.fixed
        return self._coupled
