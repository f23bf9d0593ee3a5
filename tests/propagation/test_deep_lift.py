"""DeepLIFT against its paper's formulas, written out one example at a time, in float64."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import attrfunc as af
from oracle_net import drawn


class Perceptron(nn.Module):
    """`head(act(second(act(first(x)))))`, so that oracles can take its parts."""

    def __init__(self, act=torch.relu):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(5, 7), nn.Linear(7, 6), nn.Linear(6, 3)
        self.act = act

    def forward(self, x):
        return self.head(self.act(self.second(self.act(self.first(x)))))


@pytest.fixture(params=[torch.relu, torch.tanh, F.gelu], ids=lambda act: act.__name__)
def net(request):
    torch.manual_seed(0)
    return Perceptron(request.param).double().eval()


X, BASELINE = drawn(1, 4, 5), drawn(2, 4, 5)


def rescaled(net, x, x0, target):
    """Equations 1 to 3 of Shrikumar et al.: chain of multipliers, and differences over differences."""
    z, z0 = net.first(x), net.first(x0)
    a, a0 = net.act(z), net.act(z0)
    v, v0 = net.second(a), net.second(a0)
    multiplier = net.head.weight[target]
    multiplier = multiplier * (net.act(v) - net.act(v0)) / (v - v0)
    multiplier = net.second.weight.T @ multiplier
    multiplier = multiplier * (a - a0) / (z - z0)
    return (net.first.weight.T @ multiplier) * (x - x0)


def test_rescale(net):
    found = af.deep_lift(net, X, baseline=BASELINE, target=2)
    for one, start, attribution in zip(X, BASELINE, found, strict=True):
        torch.testing.assert_close(attribution, rescaled(net, one, start, 2))


def revealed(net, x, x0, target):
    """Section 3.5.2: contributions of either sign to each unit, and their effects averaged over both orders.

    Multipliers of a linear layer, for positive and for negative contributions to a unit, are those of section 3.5.1.
    """

    def split(layer, change):
        positive, negative = torch.zeros_like(layer.weight), torch.zeros_like(layer.weight)
        for i in range(layer.weight.shape[0]):
            for j in range(layer.weight.shape[1]):
                product = layer.weight[i, j] * change[j]
                if product > 0:
                    positive[i, j] = layer.weight[i, j]
                elif product < 0:
                    negative[i, j] = layer.weight[i, j]
                else:  # what has not changed may be made of changes that cancel
                    positive[i, j] = negative[i, j] = layer.weight[i, j] / 2
        return positive, negative

    def unit(z0, up, down):
        f = net.act
        ups = (f(z0 + up) - f(z0) + f(z0 + up + down) - f(z0 + down)) / 2
        downs = (f(z0 + down) - f(z0) + f(z0 + up + down) - f(z0 + up)) / 2
        derivative = torch.func.vmap(torch.func.grad(f))

        def ratio(effect, cause, other):
            limit = (derivative(z0) + derivative(z0 + other)) / 2
            return torch.where(cause == 0, limit, effect / torch.where(cause == 0, 1, cause))

        return ratio(ups, up, down), ratio(downs, down, up)

    layers = []
    here, there = x, x0
    for layer in (net.first, net.second):
        change = here - there
        positive, negative = split(layer, change)
        layers.append((positive, negative, *unit(layer(there), positive @ change, negative @ change)))
        here, there = net.act(layer(here)), net.act(layer(there))
    multiplier = net.head.weight[target]
    for positive, negative, up, down in reversed(layers):
        multiplier = positive.T @ (up * multiplier) + negative.T @ (down * multiplier)
    return multiplier * (x - x0)


def test_reveal_cancel(net):
    found = af.deep_lift(net, X, baseline=BASELINE, target=2, rules=af.REVEAL_CANCEL)
    for one, start, attribution in zip(X, BASELINE, found, strict=True):
        torch.testing.assert_close(attribution, revealed(net, one, start, 2))


def test_reveal_cancel_sees_what_cancels():
    """The minimum of two numbers as `a - relu(a - b)`, of the paper's section 3.4: Rescale blames one, wrongly."""

    class Minimum(nn.Module):
        def __init__(self):
            super().__init__()
            self.difference = nn.Linear(2, 1, bias=False)
            self.difference.weight = nn.Parameter(torch.tensor([[1.0, -1.0]], dtype=torch.float64))

        def forward(self, x):
            return x[:, 0] - self.difference(x).relu()[:, 0]

    x = torch.tensor([[3.0, 2.0], [2.0, 3.0], [5.0, 5.0]], dtype=torch.float64)
    rescale = af.deep_lift(Minimum(), x)
    torch.testing.assert_close(rescale, torch.tensor([[0, 2], [2, 0], [5, 0]]).double())
    reveal = af.deep_lift(Minimum(), x, rules=af.REVEAL_CANCEL)
    torch.testing.assert_close(reveal, torch.tensor([[1, 1], [1, 1], [2.5, 2.5]]).double())


def test_reveal_cancel_through_batch_norm():
    """A normalisation in eval mode is a part of the layer before it, whatever the sign of its scale."""
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(7).double().eval()
    with torch.no_grad():
        norm.weight.normal_()
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    layer, head = nn.Linear(5, 7).double(), nn.Linear(7, 2).double()
    folded = nn.Linear(5, 7).double()
    with torch.no_grad():
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        folded.weight.copy_(layer.weight * scale[:, None])
        folded.bias.copy_((layer.bias - norm.running_mean) * scale + norm.bias)
    options = {"baseline": BASELINE, "target": 1, "rules": af.REVEAL_CANCEL}
    apart = af.deep_lift(nn.Sequential(layer, norm, nn.ReLU(inplace=True), head), X, **options)
    torch.testing.assert_close(apart, af.deep_lift(nn.Sequential(folded, nn.ReLU(), head), X, **options))


def test_the_values_of_captums_readme():
    """Its ToyModel, with the numbers that it prints."""
    first, second = nn.Linear(3, 3), nn.Linear(3, 2)
    with torch.no_grad():
        first.weight.copy_(torch.arange(-4.0, 5.0).view(3, 3))
        first.bias.zero_()
        second.weight.copy_(torch.arange(-3.0, 3.0).view(2, 3))
        second.bias.fill_(1)
    model = nn.Sequential(first, nn.ReLU(), second)
    torch.manual_seed(123)
    x = torch.rand(2, 3)
    attributions = af.deep_lift(model, x, target=0)
    expected = torch.tensor([[-0.5922, -1.5497, -1.0067], [0.0000, -0.2219, -5.1991]])
    torch.testing.assert_close(attributions, expected, rtol=0, atol=5e-5)
    assert af.completeness_gap(model, x, attributions, target=0).abs().max() < 1e-6


def test_deep_lift_shap_is_the_mean_over_baselines(net):
    baselines = drawn(3, 6, 5)
    found = af.deep_lift_shap(net, X, baselines=baselines, target=1)
    for one, attribution in zip(X, found, strict=True):
        parts = torch.stack([rescaled(net, one, start, 1) for start in baselines])
        torch.testing.assert_close(attribution, parts.mean(0))
    change = net(X)[:, 1] - net(baselines)[:, 1].mean()
    torch.testing.assert_close(found.sum(1), change)


def test_deep_lift_shap_where_vmap_does_not_work():
    """A model that looks at values: baselines are then taken one by one."""

    def model(x):
        return (x.tanh() * (2.0 if float(x.detach().abs().max()) > 0 else 1.0)).sum(1)

    baselines = drawn(3, 6, 5)
    expected = torch.stack([2 * (X.tanh() - start.tanh()) for start in baselines]).mean(0)
    torch.testing.assert_close(af.deep_lift_shap(model, X, baselines=baselines), expected)


class Modules(nn.Module):
    """The same network as `Functions`, with a module for each activation."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Conv1d(2, 4, 3), nn.Conv1d(4, 4, 3), nn.Linear(8, 3)
        self.relu1, self.gelu, self.relu2 = nn.ReLU(), nn.GELU(), nn.ReLU()
        self.pool = nn.MaxPool1d(2)

    def forward(self, x):
        hidden = self.pool(self.relu1(self.first(x)))
        return self.head((self.relu2(self.second(hidden)) * self.gelu(hidden[..., 1:-1])).flatten(1))


class Functions(Modules):
    def forward(self, x):
        hidden = F.max_pool1d(torch.relu(self.first(x)), 2)
        return self.head(torch.flatten(self.second(hidden).relu_() * F.gelu(hidden[..., 1:-1]), 1))


class Reused(Modules):
    def __init__(self):
        super().__init__()
        self.relu1 = self.relu2 = nn.ReLU(inplace=True)


@pytest.mark.parametrize("book", [None, af.REVEAL_CANCEL], ids=["rescale", "reveal cancel"])
@pytest.mark.parametrize("kind", [Functions, Reused])
def test_how_a_network_is_written_makes_no_difference(kind, book):
    torch.manual_seed(0)
    modules, other = Modules().double(), kind().double()
    other.load_state_dict(modules.state_dict())
    x, baseline = drawn(4, 3, 2, 10), drawn(5, 3, 2, 10)
    options = {"baseline": baseline, "target": 1, "rules": book}
    expected = af.deep_lift(modules, x, **options)
    torch.testing.assert_close(af.deep_lift(other, x, **options), expected)
    at_layer = af.deep_lift(af.layer(other, "second"), x, **options)
    torch.testing.assert_close(at_layer, af.deep_lift(af.layer(modules, "second"), x, **options))


def test_batch_mates_make_no_difference():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.Softmax(1), nn.Linear(6, 2)).double()
    whole = af.deep_lift(model, X, baseline=BASELINE, target=1)
    for k in range(len(X)):
        alone = af.deep_lift(model, X[k : k + 1], baseline=BASELINE[k : k + 1], target=1)
        torch.testing.assert_close(whole[k : k + 1], alone)
