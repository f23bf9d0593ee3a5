"""A leading linear layer is left out of the path only where that is exact."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

import attrfunc as af
from attrfunc.core.loops.affine_prefix import leading_linear_layer
from attrfunc.core.score.method import open_problem
from attrfunc.core.score.views import as_view


class Net(nn.Module):
    """A wide first layer, and whatever else reads the input."""

    def __init__(self, forward):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.head = nn.Linear(12, 8), nn.Linear(8, 1)
        self.rest = forward

    def forward(self, x, *args):
        return self.rest(self, x, *args)


def plain(net, x):
    return net.head(net.first(x.flatten(1)).tanh()).squeeze(1)


MOVED = {
    "alone": plain,
    "by its shape": lambda net, x: plain(net, x.view(x.shape[0], -1)) * x.size(0) / len(x),
    "functional": lambda net, x: net.head(F.linear(x.flatten(1), net.first.weight, net.first.bias).tanh()).squeeze(1),
    "a part of it": lambda net, x: net.head(net.first(x.flatten(1).repeat_interleave(1, 1)[:, :12]).tanh()).squeeze(1),
}
NOT_MOVED = {
    "bypass": lambda net, x: plain(net, x) + x.flatten(1)[:, 0].square(),
    "mask": lambda net, x: plain(net, x) * (x.flatten(1)[:, 0] > 0),
    "detached": lambda net, x: plain(net, x) * x.detach().flatten(1).sum(1),
    "read as numbers": lambda net, x: plain(net, x) * float(x.sum()),
    "twice": lambda net, x: plain(net, x) + net.first(2 * x.flatten(1)).sum(1),
    "not first": lambda net, x: plain(net, x.tanh()),
    "normalised": lambda net, x: plain(net, x - x.flatten(1).mean(1).view(-1, 1, 1)),
    "squared by itself": lambda net, x: (x @ x.transpose(1, 2)).sum((1, 2)) + plain(net, x),
}


def found(net, x):
    return leading_linear_layer(open_problem(as_view(net), x, None, (), None))


@pytest.fixture
def x():
    return torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(1)).double()


def expected(net, x, baseline):
    """With fewer points than pay for looking, the whole network runs at each; these add up to 20 points."""
    nodes, weights = af.core.loops.quadrature.quadrature("gausslegendre", 20)
    total = torch.zeros_like(x)
    for node, weight in zip(nodes, weights, strict=True):
        total += weight * af.saliency(net, baseline + node * (x - baseline), absolute=False)
    return total * (x - baseline)


@pytest.mark.parametrize("name", ["alone", "by its shape"])
def test_moved(name, x):
    net = Net(MOVED[name]).double()
    assert found(net, x).module is net.first


@pytest.mark.parametrize("name", NOT_MOVED)
def test_not_moved(name, x):
    assert found(Net(NOT_MOVED[name]).double(), x) is None


@pytest.mark.parametrize("forward", [*MOVED.values(), *(f for n, f in NOT_MOVED.items() if n != "read as numbers")])
def test_the_result_is_the_same(forward, x):
    net = Net(forward).double()
    baseline = torch.randn_like(x)
    torch.testing.assert_close(af.ig(net, x, baseline=baseline, n_steps=20), expected(net, x, baseline))


def test_the_layer_runs_at_the_ends_only(x):
    rows = []

    class CountRows(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            if func is F.linear and args[1].shape == (8, 12):
                rows.append(len(args[0]))
            return func(*args, **(kwargs or {}))

    with CountRows():
        af.ig(Net(plain).double(), x, n_steps=50, chunk_size=1000)
    assert max(rows) == 5
    assert len(rows) < 10


class Tied(Net):
    """An autoencoder, whose decoder is another module with the same weight, or the same weight without a module."""

    def __init__(self, forward):
        super().__init__(forward)
        self.first, self.decoder = nn.Linear(12, 12), nn.Linear(12, 12)
        self.decoder.weight = self.first.weight


class Rectified(nn.Linear):
    def forward(self, x):
        return super().forward(x).relu()


def rectified(net):
    net.first = Rectified(12, 8)


def patched(net):
    net.first.forward = lambda x: F.linear(x, net.first.weight, net.first.bias).relu()


def hooked(net):
    net.first.register_forward_hook(lambda module, args, output: output.relu())


TIED = {
    "to another layer": lambda net, x: net.decoder(net.first(x.flatten(1)).tanh()).square().sum(1),
    "to a function": lambda net, x: net.decoder((x.flatten(1) @ net.decoder.weight).tanh()).square().sum(1),
    "to a layer that does not run": lambda net, x: net.first(x.flatten(1)).tanh().square().sum(1),
}


@pytest.mark.parametrize("forward", TIED.values(), ids=TIED)
def test_tied_weights(forward, x):
    net, baseline = Tied(forward).double(), torch.randn_like(x)
    torch.testing.assert_close(af.ig(net, x, baseline=baseline, n_steps=20), expected(net, x, baseline))


@pytest.mark.parametrize("change", [rectified, patched, hooked])
def test_a_layer_that_does_more_than_its_product(change, x):
    net, baseline = Net(plain), torch.randn_like(x)
    change(net)
    net = net.double()
    torch.testing.assert_close(af.ig(net, x, baseline=baseline, n_steps=20), expected(net, x, baseline))


def test_derivatives_go_through(x):
    net = Net(plain).double()
    parameters = {name: p.detach() for name, p in net.named_parameters()}

    def loss(parameters, n_steps):
        return af.ig(af.bind(net, parameters), x, n_steps=n_steps).square().sum()

    # 15 points are evaluated without the shortcut, and are as exact for this smooth network.
    moved, plainly = (torch.func.grad(lambda p, n=n: loss(p, n))(parameters) for n in (16, 15))
    for name in parameters:
        torch.testing.assert_close(moved[name], plainly[name], rtol=1e-6, atol=1e-9)
    leaf = x.clone().requires_grad_()
    af.ig(net, leaf, n_steps=16).square().sum().backward()
    by_vmap = torch.func.grad(lambda x: af.ig(net, x, n_steps=16).square().sum())(x)
    torch.testing.assert_close(leaf.grad, by_vmap)


def test_every_target_at_once(x):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    mapped = torch.vmap(lambda t: af.ig(net, x, target=t))(torch.arange(3))
    for target in range(3):
        torch.testing.assert_close(mapped[target], af.ig(net, x, target=target))


@pytest.mark.parametrize(
    ("method", "layer"),
    [
        (af.conductance, "act"),
        (af.conductance, ["act", "second"]),
        (af.conductance, ["first", "second"]),
        (af.internal_influence, "second"),
        (lambda *args, **options: af.neuron_conductance(*args, neuron=2, **options), "second"),
    ],
)
def test_methods_that_look_inside(method, layer, x):
    """The path moves behind the first layer, unless that is looked at; the results are those without."""
    torch.manual_seed(0)
    parts = {"first": nn.Linear(12, 8), "act": nn.Tanh(), "second": nn.Linear(8, 4), "last": nn.Tanh()}
    net = nn.Sequential()
    for name, part in parts.items():
        net.add_module(name, part)
    net.double()
    x, rows = x.flatten(1), []
    handle = net.first.register_forward_hook(lambda module, args, output: rows.append(len(args[0])))
    options = {"target": 1, "baseline": 0.3, "n_steps": 20}
    hooked = method(net, x, layer=layer, **options)  # a hook may do anything: the layer is run
    assert sum(rows) >= 20 * len(x)
    handle.remove()
    torch.testing.assert_close(method(net, x, layer=layer, **options), hooked)
    for chunk_size in (1, 3, 1000):
        torch.testing.assert_close(method(net, x, layer=layer, chunk_size=chunk_size, **options), hooked)


def test_a_layer_whose_output_is_known_does_not_run(x):
    """Where only the path's points go on from there; but where somebody looks in, it does."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Conv1d(3, 3, 1), nn.Tanh()), nn.Flatten(), nn.Linear(12, 2))
    net.double()
    view = af.layer(net, "1")
    options = {"target": 1, "n_steps": 9, "chunk_size": 15}
    called = []

    class Counted(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            called.append(func)
            return func(*args, **(kwargs or {}))

    with Counted():
        result = af.ig(view, x, **options)
    convolutions = sum(func is torch.conv1d for func in called)
    assert convolutions == 5  # at the two ends, and in what is seen beforehand; not at the points
    seen = []
    handle = net[1][0].register_forward_hook(lambda module, args, output: seen.append(len(output)))
    torch.testing.assert_close(af.ig(view, x, **options), result)
    handle.remove()
    assert len(seen) - 8 == 3  # chunks of points, beside the ends and what is seen beforehand
    neuron = af.layer(af.neuron(net, "1.0", (1, 2)), "1")  # stands inside, and does not depend on what comes out
    assert not af.ig(neuron, x, n_steps=3).any()


def test_a_layer_that_gives_other_rows_than_examples(x):
    """The nodes of one graph: which of them the model looks up is not there where the layer gives one row."""
    ends = torch.tensor([1, 2, 0])
    one = lambda net, nodes: net.head(net.first(nodes)[ends].tanh()).sum()
    graph = Net(lambda net, x: torch.stack([one(net, nodes) for nodes in x])).double()
    nodes = x.flatten(1)[None, :3]
    expected = sum(gradient_at(graph, nodes * (k + 0.5) / 400) for k in range(400)) * nodes / 400
    torch.testing.assert_close(af.ig(graph, nodes), expected, rtol=1e-3, atol=1e-5)


def gradient_at(model, point):
    point = point.clone().requires_grad_()
    return torch.autograd.grad(model(point).sum(), point)[0].detach()
