"""Attention as the transforms need it: kernels with a gradient, and plain ones where the fused has no rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

__all__ = ["TraceableAttention"]


class TraceableAttention(TorchFunctionMode):
    """The mode in which every model runs.

    While it is on, the inference fast path of `nn.TransformerEncoderLayer` and `nn.MultiheadAttention` is off: it has
    no gradient, runs no hooks, and gives padded positions other values than the path that is differentiated. The
    switches in `torch.backends` hold for the whole process; a mode holds for one thread.

    Args:
        plain: Also replace fused attention by matrix products and a softmax: the fused kernels have no batching rule
            (vmap would loop over them) and no forward-mode rule.
    """

    def __init__(self, plain: bool) -> None:
        super().__init__()
        self._plain = plain

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Replace the two entry points of fused attention; call everything else as it is."""
        kwargs = kwargs or {}
        if self._plain and func is F.scaled_dot_product_attention:
            return torch.ops.aten._scaled_dot_product_attention_math(*args, **kwargs)[0]
        if self._plain and func is F.multi_head_attention_forward and not kwargs.get("need_weights", True):
            # With weights asked for, torch takes the plain path.
            return func(*args, **{**kwargs, "need_weights": True})[0], None
        return func(*args, **kwargs)
