"""Attention, normalisation and gates under LRP, against the formulas of their papers, written out in sums."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import attrfunc as af

PLAIN = af.rules.attn_lrp(1e-12)
VALUES = af.rules.cp_lrp(1e-12)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def randn(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def by_hand(query, key, value):
    scores = query @ key.transpose(1, 2) / math.sqrt(query.shape[-1])
    return (scores.softmax(-1) @ value).sum((1, 2))


def by_einsum(query, key, value):
    scores = torch.einsum("bqd,bkd->bqk", query, key).div_(math.sqrt(query.shape[-1]))
    return torch.einsum("bqk,bkd->bqd", F.softmax(scores, 2), value).sum((1, 2))


def fused(query, key, value):
    return F.scaled_dot_product_attention(query, key, value).sum((1, 2))


def attention(query, key, value):
    """AttnLRP of one example: the relevance of queries, keys and values, and CP-LRP's of the values."""
    size, width = query.shape
    dot = [[sum(query[i, a] * key[j, a] for a in range(width)) for j in range(size)] for i in range(size)]
    score = [[z / math.sqrt(width) for z in row] for row in dot]
    total = [sum(math.exp(z) for z in row) for row in score]
    weight = [[math.exp(score[i][j]) / total[i] for j in range(size)] for i in range(size)]
    # The output's relevance is its value: a product's relevance is shared evenly among its two factors.
    of_value = [[sum(weight[i][j] * value[j, a] for i in range(size)) / 2 for a in range(width)] for j in range(size)]
    of_weight = [[sum(weight[i][j] * value[j, a] for a in range(width)) / 2 for j in range(size)] for i in range(size)]
    of_score = [
        [score[i][j] * (of_weight[i][j] - weight[i][j] * sum(of_weight[i])) for j in range(size)] for i in range(size)
    ]
    share = lambda i, j, a: query[i, a] * key[j, a] * of_score[i][j] / (2 * dot[i][j])
    of_query = [[sum(share(i, j, a) for j in range(size)) for a in range(width)] for i in range(size)]
    of_key = [[sum(share(i, j, a) for i in range(size)) for a in range(width)] for j in range(size)]
    return of_query, of_key, of_value


@pytest.mark.parametrize("function", [by_hand, by_einsum, fused])
def test_attention(function):
    inputs = tuple(randn(2, 3, 2) for _ in range(3))
    found, values = (af.lrp(function, inputs, rules=rules) for rules in (PLAIN, VALUES))
    for number in range(2):
        expected = attention(*(leaf[number] for leaf in inputs))
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours[number], torch.tensor(theirs, dtype=torch.float64))
        assert not values[0].any()
        assert not values[1].any()
        torch.testing.assert_close(values[2][number], 2 * torch.tensor(expected[2], dtype=torch.float64))


@pytest.mark.parametrize("mask", ["additive", "lowest", "boolean", "causal"])
def test_what_is_masked_gets_nothing_and_spoils_nothing(mask):
    query, key, value = (randn(1, 3, 2) for _ in range(3))
    allowed = torch.ones(3, 3, dtype=torch.bool).tril()
    amount = {"additive": -math.inf, "lowest": torch.finfo(torch.float64).min}.get(mask)
    added = None if amount is None else torch.zeros(3, 3).double().masked_fill(~allowed, amount)
    options = {"causal": {"is_causal": True}, "boolean": {"attn_mask": allowed}}.get(mask, {"attn_mask": added})
    first = lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **options)[:, :2].sum((1, 2))
    found = af.lrp(first, (query, key, value), rules=PLAIN)
    small = lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=allowed[:2, :2]).sum((1, 2))
    expected = af.lrp(small, tuple(leaf[:, :2] for leaf in (query, key, value)), rules=PLAIN)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours[:, :2], theirs)
        assert not ours[:, 2].any()


def layer_norm(x, weight, bias, relevance):
    """One example: the spread is a constant (Ali et al. 2022)."""
    size = len(x)
    mean = sum(x) / size
    spread = math.sqrt(sum((z - mean) ** 2 for z in x) / size + 1e-5)
    y = [(z - mean) / spread * weight[j] + bias[j] for j, z in enumerate(x)]
    return [
        x[i] * sum(((i == j) - 1 / size) * weight[j] / spread * relevance[j] / y[j] for j in range(size))
        for i in range(size)
    ]


def written_out(x, weight, bias):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * weight + bias


@pytest.mark.parametrize("written", [False, True])
def test_layer_norm(written):
    x, weight, bias = randn(2, 4), randn(4), randn(4)
    function = (lambda x: written_out(x, weight, bias)) if written else lambda x: F.layer_norm(x, (4,), weight, bias)
    found = af.lrp(lambda x: function(x).sum(1), x, rules=PLAIN)
    for one, result in zip(x, found, strict=True):
        expected = layer_norm(one.tolist(), weight.tolist(), bias.tolist(), function(one[None])[0].tolist())
        torch.testing.assert_close(result, torch.tensor(expected, dtype=torch.float64))


def test_rms_norm_lets_relevance_through():
    x, weight = randn(2, 4), randn(4)
    by_hand = lambda x: weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))
    for function in (lambda x: F.rms_norm(x, (4,), weight, 1e-6), by_hand):
        torch.testing.assert_close(af.lrp(lambda x, f=function: f(x).sum(1), x, rules=PLAIN), function(x))


@pytest.mark.parametrize("shape", [(2, 4, 3), (2, 4, 2, 2)])
def test_group_and_instance_norm(shape):
    x, weight = randn(*shape), randn(4)
    spread = weight.view(4, *[1] * (len(shape) - 2))
    groups = lambda x: F.layer_norm(x.unflatten(1, (2, -1)), (2, *shape[2:])).flatten(1, 2) * spread
    single = lambda x: F.layer_norm(x, shape[2:]) * spread
    pairs = [
        (lambda x: F.group_norm(x, 2, weight), groups),
        (lambda x: F.instance_norm(x, weight=weight), single),
    ]
    for function, twin in pairs:
        ours, theirs = (
            af.lrp(lambda x, f=f: f(x).square().flatten(1).sum(1), x, rules=PLAIN) for f in (function, twin)
        )
        torch.testing.assert_close(ours, theirs)


def test_factors_share_evenly_and_gates_let_the_signal_take_all():
    x, y = randn(2, 4), randn(2, 4)
    product = x * y
    first, second = af.lrp(lambda x, y: (x * y).sum(1), (x, y), rules=PLAIN)
    torch.testing.assert_close(first, product / 2)
    torch.testing.assert_close(second, product / 2)
    found = af.lrp(lambda x: F.glu(x).sum(1), torch.cat([x, y], 1), rules=PLAIN)
    torch.testing.assert_close(found, torch.cat([x * y.sigmoid(), torch.zeros_like(y)], 1))
    first, second = af.lrp(lambda x, y: (x / y).sum(1), (x, y), rules=PLAIN)
    torch.testing.assert_close(first, x / y)
    assert not second.any()


def test_lstm_cell():
    """Arras et al. 2017: of a gate and a signal the signal takes all."""
    cell = nn.LSTMCell(3, 2).double()
    x, hidden, memory = randn(2, 3), randn(2, 2), randn(2, 2)
    score = lambda x, h, c: cell(x, (h, c))[0].sum(1)
    found = af.lrp(score, (x, hidden, memory), rules=PLAIN)
    for number in range(2):
        before = torch.cat([cell.weight_ih, cell.weight_hh], 1).detach()
        inputs = torch.cat([x[number], hidden[number]])
        z = before @ inputs + (cell.bias_ih + cell.bias_hh).detach()
        into, keep, new, out = z.chunk(4)
        after = keep.sigmoid() * memory[number] + into.sigmoid() * new.tanh()
        relevance = out.sigmoid() * after.tanh()  # of the new memory too
        of_memory = keep.sigmoid() * memory[number] * relevance / after
        of_new = into.sigmoid() * new.tanh() * relevance / after
        of_inputs = [sum(inputs[i] * before[4 + j, i] * of_new[j] / z[4 + j] for j in range(2)) for i in range(5)]
        torch.testing.assert_close(found[2][number], of_memory)
        torch.testing.assert_close(torch.cat([found[0][number], found[1][number]]), torch.stack(of_inputs))


def test_gru_cell():
    cell = nn.GRUCell(3, 2).double()
    x, hidden = randn(1, 3), randn(1, 2)
    found = af.lrp(lambda x, h: cell(x, h).sum(1), (x, hidden), rules=PLAIN)
    of_x, of_hidden = cell.weight_ih.detach(), cell.weight_hh.detach()
    a = (of_x @ x[0] + cell.bias_ih.detach()).chunk(3)
    b = (of_hidden @ hidden[0] + cell.bias_hh.detach()).chunk(3)
    reset, update = (a[0] + b[0]).sigmoid(), (a[1] + b[1]).sigmoid()
    z = a[2] + reset * b[2]
    relevance = (1 - update) * z.tanh()  # what is new; the rest is kept
    kept = update * hidden[0]
    x_expected = [sum(x[0, i] * of_x[4 + j, i] * relevance[j] / z[j] for j in range(2)) for i in range(3)]
    from_new = [
        sum(hidden[0, i] * of_hidden[4 + j, i] * reset[j] * relevance[j] / z[j] for j in range(2)) for i in range(2)
    ]
    torch.testing.assert_close(found[0][0], torch.stack(x_expected))
    torch.testing.assert_close(found[1][0], kept + torch.stack(from_new))


def test_a_softmax_at_the_end_is_taken_to_first_order():
    x = randn(2, 4)
    p = x.softmax(1)
    found = af.lrp(lambda x: x.softmax(1), x, target=1, rules=VALUES)
    expected = [[x[n, i] * p[n, 1] * (float(i == 1) - p[n, i]) for i in range(4)] for n in range(2)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    found = af.lrp(lambda x: x.log_softmax(1), x, target=1, rules=VALUES)
    expected = [[x[n, i] * (float(i == 1) - p[n, i]) for i in range(4)] for n in range(2)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("form", ["linear", "addmm", "bilinear", "conv1d"])
def test_weights_and_biases_that_depend_on_the_input(form):
    """Factors share evenly; a bias is a term of its own, with all that it contributes."""
    x, weight, bias = randn(2, 3), randn(4, 3), randn(4)

    def score(x, weight, bias):
        if form == "linear":
            return F.linear(x, weight, bias).sum().expand(2) / 2
        if form == "addmm":
            return torch.addmm(bias.expand(2, 4), x, weight.T).sum().expand(2) / 2
        if form == "bilinear":
            return F.bilinear(x, torch.ones(2, 1).to(x), weight[:, :, None], bias).sum().expand(2) / 2
        return F.conv1d(x[:, :, None], weight[:, :, None], bias).sum().expand(2) / 2

    def at(z):
        return score(z[:, :3], z[0, 3:15].view(4, 3), z[0, 15:])

    z = torch.cat([x, torch.cat([weight.flatten(), bias]).expand(2, 16)], 1)
    found = af.lrp(at, z, rules=PLAIN)
    out = x @ weight.T + bias
    whole = out.sum() / 2  # the score of each of two examples, and so twice the sum is the relevance of all outputs
    relevance = torch.ones_like(out) * 2 * whole * out / out.sum()
    by_x = [
        [sum(x[n, i] * weight[j, i] / 2 * relevance[n, j] / out[n, j] for j in range(4)) for i in range(3)]
        for n in range(2)
    ]
    torch.testing.assert_close(found[:, :3], torch.tensor(by_x, dtype=torch.float64))
    by_bias = [sum(bias[j] * relevance[n, j] / out[n, j] for n in range(2)) for j in range(4)]
    torch.testing.assert_close(found[0, 15:], torch.stack(by_bias))
    torch.testing.assert_close(found.sum(), 2 * whole)
