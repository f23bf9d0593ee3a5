"""Attention in plain operations, where a transform has no rule for the fused one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

__all__ = ["MathAttention"]


class MathAttention(TorchFunctionMode):
    """Inside this mode, attention is matrix products and a softmax.

    The fused kernels have no batching rule (vmap would loop over them) and no forward-mode rule. `torch.nn.attention.sdpa_kernel` would switch
    them off for the whole process; a mode holds for one thread.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Replace the two entry points of fused attention."""
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return torch.ops.aten._scaled_dot_product_attention_math(*args, **kwargs)[0]
        if func is F.multi_head_attention_forward and not kwargs.get("need_weights", True):
            # With weights asked for, torch takes the plain path.
            return func(*args, **{**kwargs, "need_weights": True})[0], None
        return func(*args, **kwargs)
