"""Half precision: what torch computes in one kernel has no overflow inside, and so must its steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.propagation.operation import flat

__all__ = ["in_single_precision"]


def in_single_precision(function: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
    """A function whose steps are computed in single precision at least, as torch's own kernels do."""
    leaves, layout = flat(args, kwargs)
    halves = [leaf.dtype for leaf in leaves if isinstance(leaf, Tensor) and _is_half(leaf.dtype)]
    if not halves:
        return function(*args, **kwargs)
    leaves = [leaf.float() if isinstance(leaf, Tensor) and _is_half(leaf.dtype) else leaf for leaf in leaves]
    args, kwargs = layout.fill(leaves)

    def back(leaf: Any) -> Any:
        single = isinstance(leaf, Tensor) and leaf.dtype == torch.float32
        return leaf.to(halves[0]) if single and kwargs.get("dtype") is None else leaf

    return pytree.tree_map(back, function(*args, **kwargs))


def _is_half(dtype: torch.dtype) -> bool:
    return dtype in (torch.float16, torch.bfloat16)
