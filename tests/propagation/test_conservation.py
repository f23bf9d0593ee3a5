"""Nothing gets lost unseen: gaps of each example, what LRP's rules keep, and relevance that comes by several ways."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import attrfunc as af
from oracle_net import drawn

X = drawn(1, 2, 3)
PLAIN = af.rules.attn_lrp(1e-12)
AWARE = af.rules.attn_lrp(1e-12, bias=False)


def cut(x):
    """Half of what it depends on goes on without a gradient."""
    return (x + torch.tanh(x).detach()).sum(1)


@pytest.mark.parametrize("shift", [1.0, -1.0])
def test_gaps_of_opposite_signs_do_not_cancel(shift):
    x = torch.tensor([[3.0], [-3.0]]) * shift
    with pytest.warns(UserWarning, match=r"deep_lift: the attributions miss -?0.995 .* in example [01]"):
        af.deep_lift(cut, x)
    with pytest.warns(UserWarning, match=r"deep_lift_shap: the attributions miss"):
        af.deep_lift_shap(cut, x, baselines=torch.zeros(2, 1))
    with pytest.warns(UserWarning, match=r"deep_lift: the attributions miss a part of the score"):
        torch.vmap(lambda one: af.deep_lift(cut, one[None]))(x)


@pytest.mark.parametrize("method", [af.deep_lift, lambda f, x: af.deep_lift_shap(f, x, baselines=0 * x)])
def test_gaps_show_beside_attributions_that_cancel(method):
    """What is missed is a part of the change, however large the attributions are that leave it so small."""
    model = lambda x: 1e5 * (x[:, 0] - x[:, 1]) + torch.tanh(x[:, 2]).detach()
    with pytest.warns(UserWarning, match=r"the attributions miss 0.762 of the score's change of 0.762"):
        method(model, torch.ones(1, 3).double())


def test_probabilities_too_small_for_their_digits_are_no_gap():
    """Behind softmax a score may be subnormal, and is then known to a few digits only."""
    torch.manual_seed(17)
    net = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 10), nn.Softmax(1))
    net[2].weight.data *= 1000
    x = torch.randn(8, 20)
    assert 0 < net(x)[3, 1] < 1e-40
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        af.deep_lift(net, x, target=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attributions_of_which_rounding_leaves_nothing_are_told(dtype):
    """Layer normalisation of zeros, three times over: slopes of 1e15."""
    norms = nn.Sequential(*(nn.LayerNorm(4, eps=1e-12) for _ in range(3)), nn.Tanh(), nn.Linear(4, 2, bias=False))
    with pytest.warns(UserWarning, match=r"deep_lift: the attributions cancel in example \d: they add up to .*e\+1"):
        af.deep_lift(norms.to(dtype), drawn(1, 8, 4).to(dtype), target=0)


def test_one_call_warns_once():
    """Of many baselines or chunks, of examples that depend on each other and of what is missed."""
    coupled = lambda x: torch.relu(x - x.mean(0)).sum(1)
    x, baselines = drawn(1, 5, 3), drawn(2, 6, 3)
    for model, message in ((cut, "the attributions miss"), (coupled, "the score of an example depends on the batch")):
        calls = (
            lambda model=model: af.deep_lift_shap(model, x, baselines=baselines),
            lambda model=model: af.deep_lift_shap(model, x, baselines=baselines, chunk_size=10),
            lambda model=model: af.deep_lift(model, x, baseline=baselines[:5], chunk_size=2),
        )
        for call in calls:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("default")
                call()
            assert [str(one.message).partition(": ")[2][: len(message)] for one in told] == [message]


@pytest.mark.parametrize("narrow", [torch.float32, torch.bfloat16])
def test_what_is_less_precise_on_the_way_is_no_gap(narrow):
    """Llama's norm computes in single precision, whatever the model's is."""
    torch.manual_seed(0)
    first, last = nn.Linear(3, 8).double(), nn.Linear(8, 1).double()

    def model(x):
        hidden = first(x).to(narrow)
        return last((hidden * torch.rsqrt(hidden.square().mean(1, keepdim=True) + 1e-6)).double())[:, 0]

    found = af.deep_lift(model, X)
    rounding = 30 * torch.finfo(narrow).eps
    torch.testing.assert_close(found.sum(1), model(X) - model(0 * X), rtol=rounding, atol=rounding)


def test_infinite_slopes_are_refused_in_averages_and_maps():
    root = lambda x: x[:, 0].sqrt() + x[:, 1]
    x = torch.tensor([[0.0, 2.0], [0.0, 3.0]])
    calls = [
        lambda: af.deep_lift(root, x),
        lambda: af.deep_lift_shap(root, x, baselines=torch.zeros(3, 2)),
        lambda: torch.vmap(lambda one: af.deep_lift(root, one[None]))(x),
    ]
    for call in calls:
        with pytest.raises(af.ModelError, match="multipliers are not finite"):
            call()


def test_lrp_tells_where_relevance_ends():
    with pytest.warns(UserWarning, match=r"lrp: .* of a score's relevance ends at a value that depends on the input"):
        af.lrp(cut, X)
    with torch.no_grad():
        constant = torch.tanh(X)
    af.lrp(lambda x: (x + constant).sum(1), X)  # a constant is no such value
    af.lrp(lambda x: (x - x.max(1, keepdim=True).values.detach()).exp().sum(1) * 0 + x.sum(1), X, rules=AWARE)


CODES = drawn(5, 4, 4)
CUTS = {
    "detached": lambda h: torch.tanh(h).detach(),
    "under no_grad": torch.no_grad()(torch.tanh),
    "of an index": lambda h: F.embedding(h.argmax(1), CODES),
    "by an index": lambda h: CODES[h.argmax(1)],
    "of a comparison": lambda h: (h > 0).to(h.dtype),
    "of a cast": lambda h: (30 * h).long().double(),
}


@pytest.mark.parametrize("lost", CUTS.values(), ids=CUTS)
def test_relevance_ends_at_every_place(lost):
    """At a layer as at the input, and at several layers at once; what is only masked loses nothing."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Identity(), nn.Linear(4, 1, bias=False)).double()
    model[1].forward = lambda h: h + lost(h)
    for view in (model, af.layer(model, "0"), af.layer(model, ["0", "2"])):
        with pytest.warns(UserWarning, match=r"lrp: .* of a score's relevance ends at a value that depends on the"):
            af.lrp(view, X, target=0)
    af.lrp(af.layer(model, "1"), X, target=0)
    model[1].forward = lambda h: h * (h > 0).to(h.dtype) + h.gather(1, h.argmax(1, keepdim=True))
    for view in (model, af.layer(model, "0")):
        af.lrp(view, X, target=0)


def test_what_each_kind_of_operation_took():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.Softmax(1), nn.Linear(4, 2)).double()
    found, info = af.lrp(model, X, target=1, rules=PLAIN, with_info=True)
    torch.testing.assert_close(found, af.lrp(model, X, target=1, rules=PLAIN))
    torch.testing.assert_close(info.gap, af.relevance_gap(model, X, found, target=1))
    torch.testing.assert_close(-info.gap.sum(), sum(info.taken.values()))
    hidden = model[:3](X)
    p, weight, bias = hidden.softmax(1), model[4].weight[1], model[4].bias[1]
    shares = p * weight  # of the score, less what the last bias takes
    kept = hidden * (shares - p * shares.sum(1, keepdim=True))
    torch.testing.assert_close(info.taken["softmax"], (shares - kept).sum().detach())
    assert info.taken["constants"].abs() < 1e-9
    _, free = af.lrp(model, X, target=1, rules=AWARE, with_info=True)
    assert free.taken["linear"].abs() < 1e-9
    assert bias.abs() > 0


def test_a_class_token_keeps_its_share():
    token = drawn(3, 1, 1, 3)
    mixed = lambda x: torch.cat([token.expand(2, 1, 3), x[:, None]], 1).sum((1, 2))
    found, info = af.lrp(mixed, X, rules=PLAIN, with_info=True)
    torch.testing.assert_close(found, X)
    torch.testing.assert_close(info.taken["constants"], 2 * token.sum())


def test_info_is_for_the_input():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    with pytest.raises(af.ArgumentError, match="with_info"):
        af.lrp(af.layer(model, "0"), X, target=0, with_info=True)


def test_relevance_of_a_sum_of_outputs():
    torch.manual_seed(0)
    model = nn.Linear(3, 4, bias=False).double()
    found = af.lrp(model, X, target=(slice(0, 3),), rules=PLAIN)
    torch.testing.assert_close(found.sum(1), model(X)[:, :3].sum(1))


class Branches(nn.Module):
    """A layer with a batch norm behind it, whose output also goes elsewhere, before or after."""

    def __init__(self, layer, norm, order):
        super().__init__()
        self.layer, self.norm, self.order = layer, norm, order

    def forward(self, x):
        y = self.layer(x)
        if self.order == "between":
            other = torch.tanh(y)
        normed = self.norm(y)
        if self.order == "after":
            other = torch.tanh(y)
        return torch.stack([other.flatten(1).sum(1), normed.flatten(1).sum(1)], 1)


def normed(norm):
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm.double().eval()


@pytest.mark.parametrize("order", ["between", "after"])
@pytest.mark.parametrize("kind", ["linear", "conv"])
@pytest.mark.parametrize("rules", [PLAIN, af.rules.epsilon_plus(1e-9)], ids=["epsilon", "z plus"])
def test_batch_norm_is_part_of_the_layer_for_what_comes_through_it(kind, order, rules):
    torch.manual_seed(0)
    if kind == "linear":
        layer, norm, x = nn.Linear(3, 4).double(), normed(nn.BatchNorm1d(4)), X
    else:
        layer, norm, x = nn.Conv1d(2, 4, 2).double(), normed(nn.BatchNorm1d(4)), drawn(4, 2, 2, 3)
    model = Branches(layer, norm, order)
    plain = nn.Sequential(layer, nn.Tanh(), nn.Flatten())
    both = nn.Sequential(layer, norm, nn.Flatten())
    for target, alone in ((0, plain), (1, both)):
        found = af.lrp(model, x, target=target, rules=rules)
        torch.testing.assert_close(found, af.lrp(lambda x, f=alone: f(x).sum(1), x, rules=rules))
    at_layers = af.lrp(af.layer(model, ["layer", "norm"]), x, target=1, rules=rules)
    torch.testing.assert_close(*at_layers)
    whole = af.lrp(lambda x: model(x).sum(1), x, rules=rules)
    torch.testing.assert_close(whole, sum(af.lrp(model, x, target=target, rules=rules) for target in (0, 1)))


ACCUMULATE = {
    "index_put": lambda x: torch.zeros(len(x), 1).to(x).index_put((torch.arange(len(x))[:, None], ZERO), x, True),
    "index_put_": lambda x: (
        torch.zeros(len(x), 1).to(x).index_put_((torch.arange(len(x))[:, None], ZERO), x, accumulate=True)
    ),
    "scatter_add": lambda x: torch.zeros(len(x), 1).to(x).scatter_add(1, ZERO.expand(2, 3), x),
    "scatter, reduced": lambda x: torch.zeros(len(x), 1).to(x).scatter_reduce(1, ZERO.expand(2, 3), x, "sum"),
    "scatter, mean": lambda x: (
        torch.zeros(len(x), 1).to(x).scatter_reduce(1, ZERO.expand(2, 3), x, reduce="mean", include_self=False)
    ),
    "index_add": lambda x: torch.zeros(len(x), 1).to(x).index_add(1, ZERO[0], x),
    "put": lambda x: torch.zeros(2, 1).to(x).put(torch.tensor([[0, 0, 0], [1, 1, 1]]), x, accumulate=True),
}
ZERO = torch.zeros(1, 3, dtype=torch.long)


@pytest.mark.parametrize("function", ACCUMULATE.values(), ids=ACCUMULATE)
def test_what_is_added_up_shares_by_contribution(function):
    weights = torch.tensor([2.0])
    found = af.lrp(lambda x: (function(x) * weights)[:, 0], X, rules=PLAIN)
    expected = X * 2 / (3 if function is ACCUMULATE["scatter, mean"] else 1)
    torch.testing.assert_close(found, expected)


def test_products_into_a_destination_are_refused():
    by_product = lambda x: torch.ones(2, 1).to(x).scatter_reduce(1, ZERO.expand(2, 3), x, "prod")[:, 0]
    for method in (af.lrp, af.deep_lift):
        with pytest.raises(af.ModelError, match="no rule for the operation 'scatter_prod'"):
            method(by_product, X)


class Adapted(nn.Module):
    """A layer whose weight has a correction of low rank, which is computed before anything reads the input."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Parameter(torch.randn(4, 2)), nn.Parameter(torch.randn(2, 3))
        self.base, self.head = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        correction = (self.down.T @ self.up.T).T
        return self.head(F.relu(F.linear(x, self.base.weight + correction, self.base.bias)))


@pytest.mark.parametrize("at_layer", [False, True])
def test_the_first_layer_is_the_first_that_reads_the_input(at_layer):
    torch.manual_seed(0)
    model = Adapted().double()
    weight = (model.base.weight + model.up @ model.down).detach()
    plain = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), model.head).double()
    plain[0].weight.data, plain[0].bias.data = weight, model.base.bias.data
    book = af.rules.epsilon_plus_flat()
    views = (af.layer(model, "head", side="input"), af.layer(plain, "1")) if at_layer else (model, plain)
    torch.testing.assert_close(*(af.lrp(view, X, target=1, rules=book) for view in views))
