"""What a computation allocates, counted below all transforms: the measure for chunk sizes and for sharing a prefix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.model.guard import Below

__all__ = ["Meter"]


# Measured on convolutional networks; on transformers it is up to 3.4.
BOTH_PASSES = 2.3


class Meter(Below):
    """Counts the bytes of the results of all operations.

    Attributes:
        bytes: Bytes of all results that are not views.
        forward: Those of forward passes alone.
        before: How many of them there were when the attributed layer was reached.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self.forward = 0
        self.before: int | None = None
        self._behind: set[str] = set()

    @property
    def weight(self) -> int:
        """Bytes of a forward and a backward pass through the whole network, or more where there were more.

        Not every evaluation goes back all the way; but the cache holds no more rows for that.
        """
        return max(self.bytes, int(BOTH_PASSES * self.forward))

    def mark(self) -> None:
        """The attributed layer is reached; what was counted until now lies before it."""
        if self.before is None:
            self.before = self.bytes

    def prefix_is_worth_sharing(self) -> bool:
        """Whether to run the rest of the network under vmap: what lies before the layer then runs once for all points.

        vmap costs up to 1.5 x the same operations folded into the batch (measured on convolutions and attention), so a
        third of the network has to lie before the layer; and each operation behind it needs a batching rule, or vmap
        would loop over it.
        """
        before = self.before or 0
        worth = before > (self.bytes - before) / 2
        return worth and all(_has_batching_rule(name) or _is_attention(name) for name in self._behind)

    def fused_attention(self) -> bool:
        """Whether fused attention lies behind the layer."""
        return any(_is_attention(name) for name in self._behind)

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation and count what it allocates."""
        result = func(*args, **(kwargs or {}))
        if self.before is not None and _reads(args, kwargs):
            self._behind.add(func.name())
        start = self.bytes
        for place, returned in zip(func._schema.returns, pytree.tree_leaves(result), strict=False):
            if place.alias_info is None and isinstance(returned, Tensor) and returned.layout is torch.strided:
                self.bytes += returned.nbytes
        if torch._C._current_graph_task_id() == -1:  # not in a backward pass
            self.forward += self.bytes - start
        return result


def _reads(args: Any, kwargs: Any) -> bool:
    """Whether an operation reads a tensor; what makes one from none (empty, zeros) has nothing to batch."""
    return any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves((args, kwargs)))


def _is_attention(name: str) -> bool:
    return "scaled_dot_product" in name


def _has_batching_rule(name: str) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(name, "FuncTorchBatched")
