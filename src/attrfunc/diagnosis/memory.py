"""The most memory that is allocated at a time while something runs."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.model.guard import Below

__all__ = ["peak"]


class _Living(Below):
    """Counts the bytes of all storages that were made under it and are still there.

    Attributes:
        most: The most of them at a time.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation and count what it allocates."""
        before = {_address(leaf) for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        result = func(*args, **(kwargs or {}))
        for leaf in pytree.tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.layout is torch.strided:
                self._count(leaf, before)
        return result

    def _count(self, tensor: Tensor, before: set[int]) -> None:
        storage, place = tensor.untyped_storage(), _address(tensor)
        if not place or place in before or place in self._known:
            return
        size = storage.nbytes()
        self._known.add(place)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._gone, place, size)

    def _gone(self, place: int, size: int) -> None:
        self._known.discard(place)
        self.now -= size


def _address(tensor: Tensor) -> int:
    try:
        return tensor.untyped_storage()._cdata
    except (RuntimeError, NotImplementedError):  # it has none: fake, functional or sparse
        return 0


def peak(run: Callable[[], Any], device: torch.device) -> tuple[Any, int | None]:
    """Run something, and say how much memory it took at most beside what there was before.

    Args:
        run: What to run.
        device: Where it allocates.

    Returns:
        What it gives, and bytes. They are None where a part of the model does not run under a mode (scripted code).
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        start = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        result = run()
        torch.cuda.synchronize(device)
        return result, torch.cuda.max_memory_allocated(device) - start
    meter = _Living()
    try:
        with meter:
            result = run()
    except Exception:  # what runs without the mode is not the caller's error
        return run(), None
    return result, meter.most
