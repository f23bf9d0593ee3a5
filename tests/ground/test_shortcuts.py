"""Shortcuts give what the plain way gives: layers that are left out, points that are folded, batches that are split."""

import pytest
import torch
from alike import by_loop, drawn, same
from torch import nn

import attrfunc as af


def seeded():
    return torch.Generator().manual_seed(0)


class Autoencoder(nn.Module):
    """Gives the input back: its first layer is not all that reads the input."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encode, self.decode = nn.Linear(6, 3), nn.Linear(3, 6)

    def forward(self, x):
        return self.decode(self.encode(x).tanh()), x


ERRORS = {
    "square": lambda out: (out[0] - out[1]).square().sum(1),
    "product": lambda out: (out[0] * out[1]).sum(1),
    "the input alone": lambda out: out[1].square().sum(1),
}
COMPLETE = {
    "ig": af.ig,
    "conductance": lambda net, x, **options: af.conductance(net, x, layer="encode", **options),
    "shapley_values": af.shapley_values,
    "feature_ablation in one group": lambda net, x, **options: (
        af.feature_ablation(net, x, feature_mask=torch.zeros(6, dtype=torch.long), **options) / 6
    ),
    "shapley_sampling": lambda net, x, **options: af.shapley_sampling(
        net, x, n_samples=2, generator=seeded(), **options
    ),
    "deep_lift": af.deep_lift,
    "gradient_shap": lambda net, x, **options: af.gradient_shap(
        net, x, baselines=torch.zeros_like(x[:1]), n_samples=500, stdev=0.0, generator=seeded(), **options
    ),
}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("name", [name for name in COMPLETE if name != "conductance"])
def test_a_target_that_reads_the_input(name, error):
    net, x = Autoencoder().double(), drawn(40, 6)  # enough rows for a shortcut to pay
    change = af.score_change(net, x, target=ERRORS[error])
    same(COMPLETE[name](net, x, target=ERRORS[error]).sum(1), change, 1e-2 if name == "gradient_shap" else 1e-4)


@pytest.mark.parametrize("error", ["square", "product"])
def test_paths_by_hand_where_the_target_reads_the_input(error):
    net, x = Autoencoder().double(), drawn(40, 6)
    score = lambda z: ERRORS[error](net(z))
    same(af.ig(net, x, target=ERRORS[error], baseline=0.1), by_loop(score, x, torch.full_like(x, 0.1)), 1e-4)
    one = af.feature_ablation(net, x, target=ERRORS[error])
    for column in range(6):
        gone = x.clone()
        gone[:, column] = 0
        same(one[:, column], (score(x) - score(gone)).detach())


@pytest.mark.parametrize("first", [nn.Flatten(), nn.Identity(), nn.Dropout(0.5)], ids=str)
def test_layers_before_the_first_linear_one(first):
    torch.manual_seed(0)
    net = nn.Sequential(first, nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)).double().eval()
    x = drawn(40, 6)
    for method in (af.conductance, af.internal_influence):
        together = method(net, x, layer=["0", "2", "1"], target=0)
        for layer, found in zip(["0", "2", "1"], together, strict=True):
            same(found, method(net, x, layer=layer, target=0), 1e-9)
    same(af.conductance(net, x, layer="0", target=0), af.ig(net, x, target=0), 1e-6)
    same(af.conductance(net, x, layer="0", target=0).sum(1), af.score_change(net, x, target=0), 1e-4)


@pytest.mark.parametrize(("length", "chunk_size"), [(2, 2), (3, 3), (6, 6), (2, 6), (6, 2), (3, 100)])
def test_arguments_that_are_as_long_as_a_chunk(chunk_size, length):
    score = lambda z, w: (z @ w.T).softmax(1)[:, 0]
    x, w = drawn(8, 6), drawn(length, 6, seed=1)
    expected = by_loop(lambda z: score(z, w), x, torch.zeros_like(x))
    same(af.ig(score, x, args=(w,), chunk_size=chunk_size, n_steps=12), expected, 1e-4)
    same(af.ig(lambda z, *, w: score(z, w), x, kwargs={"w": w}, chunk_size=chunk_size, n_steps=12), expected, 1e-4)
    ablated = af.feature_ablation(score, x, args=(w,), chunk_size=chunk_size)
    same(ablated, af.feature_ablation(lambda z: score(z, w), x))


@pytest.mark.filterwarnings("ignore:.*one by one on the whole batch")
def test_an_argument_that_is_as_long_as_the_batch():
    """It cannot be told from one for each example, but that examples are not what they are alone can."""
    score = lambda z, w: (z @ w.T).softmax(1)[:, 0]
    x, w = drawn(8, 6), drawn(8, 6, seed=1)
    same(af.ig(score, x, args=(w,)), by_loop(lambda z: score(z, w), x, torch.zeros_like(x)), 1e-4)
    same(af.feature_ablation(score, x, args=(w,)), af.feature_ablation(lambda z: score(z, w), x))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Linear(3, 3), nn.Linear(3, 1)

    def forward(self, x):
        return self.head(x + self.body(x))


@pytest.mark.parametrize("side", ["input", "output"])
def test_neurons_beside_a_bypass(side):
    """What goes around the layer is not what goes through it."""
    net, x = Residual().double(), torch.ones(2, 3, dtype=torch.float64)
    through = (net.head.weight @ net.body.weight)[0].detach()
    for neuron in range(3):
        found = af.neuron_conductance(net, x, layer="body", side=side, neuron=neuron)
        if side == "input":
            expected = torch.zeros(2, 3).double()
            expected[:, neuron] = through[neuron]
        else:
            expected = (net.head.weight[0, neuron] * net.body.weight[neuron]).detach().expand(2, 3)
        same(found, expected)
    units = af.conductance(net, x, layer="body", side=side)
    same(
        units, through.expand(2, 3) if side == "input" else net.head.weight.detach() * (x @ net.body.weight.T).detach()
    )


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_states_whose_first_dimension_is_no_batch(kind, rows):
    """(layers x directions, B, H): with as many layers as examples it looks like one."""

    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.cell = kind(6, rows, num_layers=max(rows // 2, 1), bidirectional=rows > 1, batch_first=True)
            self.head = nn.Linear(rows * (1 + (rows > 1)), 1)

        def forward(self, x):
            return self.head(self.cell(x)[0][:, -1])

    net, x = Last().double().eval(), drawn(rows + 2, 7, 6)
    whole = af.conductance(net, x, layer="cell")[0]
    same(af.conductance(net, x[:rows], layer="cell")[0], whole[:rows], 1e-6)
    same(af.ig(af.layer(net, "cell"), x[:rows])[0], af.ig(af.layer(net, "cell"), x)[0][:rows], 1e-6)
    same(whole.flatten(1).sum(1), af.score_change(net, x), 1e-3)
