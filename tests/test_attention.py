"""Attention in plain operations is the fused one, for all of its arguments."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import attrfunc as af
from attrfunc.core.model.attention import TraceableAttention, plain_attention

GENERATOR = torch.Generator().manual_seed(0)


def rand(*shape):
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


BLIND = torch.tensor([[True, False, True, True], [False] * 4, [True, True, False, False]])
ARGUMENTS = {
    "plain": {},
    "scale": {"scale": 0.3},
    "causal": {"is_causal": True},
    "bool mask": {"attn_mask": torch.tensor([[True, False, True, True]] * 3)},
    "bool mask of examples": {"attn_mask": BLIND[:2, None, None]},
    "blind queries": {"attn_mask": BLIND},
    "float mask": {"attn_mask": rand(3, 4)},
    "infinite mask": {"attn_mask": torch.zeros(3, 4).double().masked_fill(~BLIND, -torch.inf)},
    "groups": {"enable_gqa": True},
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_values_and_gradients(name):
    options = ARGUMENTS[name]
    heads = 2 if "enable_gqa" in options else 4
    tensors = [rand(2, 4, 3, 5), rand(2, heads, 4, 5), rand(2, heads, 4, 6)]
    results = []
    for attention in (plain_attention, F.scaled_dot_product_attention):
        leaves = [tensor.clone().requires_grad_() for tensor in tensors]
        output = attention(*leaves, **options)
        results.append([output, *torch.autograd.grad(output.sin().sum(), leaves)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_under_vmap_in_the_mode(name):
    options = ARGUMENTS[name]
    heads = 2 if "enable_gqa" in options else 4
    query, key, value = rand(7, 2, 4, 3, 5), rand(2, heads, 4, 5), rand(2, heads, 4, 6)
    with TraceableAttention(plain=True):
        together = torch.vmap(lambda q: F.scaled_dot_product_attention(q, key, value, **options))(query)
    for one, result in zip(query, together, strict=True):
        torch.testing.assert_close(result, F.scaled_dot_product_attention(one, key, value, **options))


@pytest.mark.parametrize("masks", [{}, {"key_padding_mask": torch.tensor([[False, False, True], [False, True, True]])}])
def test_multihead_attention_in_the_mode(masks):
    attention = nn.MultiheadAttention(6, 2, batch_first=True).double().eval()
    x = rand(2, 3, 6)
    with torch.no_grad():
        torch.backends.mha.set_fastpath_enabled(False)
        expected, none = attention(x, x, x, need_weights=False, **masks)
        torch.backends.mha.set_fastpath_enabled(True)
        with TraceableAttention(plain=True):
            output, weights = attention(x, x, x, need_weights=False, **masks)
    assert none is weights is None
    torch.testing.assert_close(output, expected)


@pytest.mark.parametrize("layer", ["layers.0", "layers.2", "layers.2.linear1"])
def test_padding_in_an_encoder(layer):
    """The fast path gives padded positions other values than the path that is differentiated."""
    torch.manual_seed(0)
    block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation="gelu", batch_first=True)
    encoder = nn.TransformerEncoder(block, 3).double().eval()
    x, padding = rand(2, 4, 8), torch.tensor([[False] * 4, [False, False, True, True]])
    options = {"kwargs": {"src_key_padding_mask": padding}, "target": lambda output: output.tanh().sum((1, 2))}
    view = af.layer(encoder, layer)
    gap = af.completeness_gap(view, x, af.ig(view, x, n_steps=100, **options), **options)
    change = af.score_change(view, x, **options)
    assert gap.abs().max() < 1e-9 * change.abs().max()
