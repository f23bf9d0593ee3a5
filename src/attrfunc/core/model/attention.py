"""Attention as the transforms need it: kernels with a gradient, and plain ones where the fused has no rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

__all__ = ["TraceableAttention", "plain_attention", "plain_weight_norm"]


class TraceableAttention(TorchFunctionMode):
    """The mode in which every model runs.

    While it is on, the inference fast path of `nn.TransformerEncoderLayer` and `nn.MultiheadAttention` is off: it has
    no gradient, runs no hooks, and gives padded positions other values than the path that is differentiated. The
    switches in `torch.backends` hold for the whole process; a mode holds for one thread.

    Args:
        plain: Also replace fused attention by matrix products and a softmax: the fused kernels have no batching rule
            (vmap would loop over them) and no forward-mode rule. Weight norm is written out, too: its fused kernel has
            no forward mode, and a second derivative that is wrong.
    """

    def __init__(self, plain: bool) -> None:
        super().__init__()
        self._plain = plain

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Replace what is fused; call everything else as it is."""
        kwargs = kwargs or {}
        if self._plain and func is F.scaled_dot_product_attention:
            return plain_attention(*args, **kwargs)
        if self._plain and func is F.multi_head_attention_forward and not kwargs.get("need_weights", True):
            # With weights asked for, torch takes the plain path.
            return func(*args, **{**kwargs, "need_weights": True})[0], None
        if self._plain and func is torch._weight_norm:
            return plain_weight_norm(*args, **kwargs)
        return func(*args, **kwargs)


def plain_weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """What `torch._weight_norm` computes: `g v / |v|`, with the norm over all dimensions but one, or all for -1."""
    others = [place for place in range(v.dim()) if dim == -1 or place != dim % v.dim()]
    return v * (g / v.square().sum(others, keepdim=dim != -1).sqrt())


def plain_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """What `torch.nn.functional.scaled_dot_product_attention` computes, with its arguments, in plain operations.

    A query that may look at no key gets zeros, as there.
    """
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
    scores = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~allowed, -math.inf)
    if attn_mask is not None:
        masked = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -math.inf) if masked else scores + attn_mask
    blind = scores.isneginf().all(-1, keepdim=True)
    weights = scores.masked_fill(blind, 0.0).softmax(-1).masked_fill(blind, 0.0)
    return F.dropout(weights, dropout_p) @ value
