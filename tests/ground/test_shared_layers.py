"""Torch's own layers keep their tensors where nobody else differentiates, and the user's model notices nothing."""

import copy

import pytest
import torch
from torch import nn

import attrfunc as af


class Net(nn.Module):
    """A part of torch's own layers, and what a case does with one of them."""

    def __init__(self, meddle=None):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.body = nn.Linear(4, 5), nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.BatchNorm1d(5))
        self.head, self.meddle = nn.Linear(5, 2), meddle
        self.eval().double()

    def forward(self, x):
        y = self.body(self.first(x))
        if self.meddle is not None:
            y = self.meddle(self, y)
        return self.head(y)


@torch.no_grad()
def halved(net, y):
    net.head.weight.mul_(0.5)
    return y


def counted(net, y):
    net.body[2].num_batches_tracked += 1
    return y * net.body[2].num_batches_tracked


class Renewing(Net):
    def forward(self, x):
        self.first.weight.data = self.first.weight.data * 0.5
        return super().forward(x)


class Freezing(Net):
    def forward(self, x):
        self.first.requires_grad_(False)
        return super().forward(x)


X = torch.randn(3, 4, generator=torch.Generator().manual_seed(1)).double()
METHODS = {
    "saliency": lambda model, x: af.saliency(model, x, target=1, absolute=False),
    "saliency at a layer": lambda model, x: af.saliency(af.layer(model, "first"), x, target=1, absolute=False),
    "ig": lambda model, x: af.ig(model, x, target=1, n_steps=4),
    "neuron": lambda model, x: af.saliency(af.neuron(model, "body.0", 2), x, absolute=False),
}


def described(net):
    parameters = [(name, p, p.requires_grad, p.grad, p._version) for name, p in net.named_parameters()]
    return (
        parameters,
        [(name, buffer._version) for name, buffer in net.named_buffers()],
        copy.deepcopy(net.state_dict()),
    )


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("make", [Net, lambda: Net(halved), lambda: Net(counted), Renewing, Freezing])
def test_the_model_is_as_it_was(name, make):
    net = make()
    parameters, buffers, state = described(net)
    for _ in range(2):
        with torch.no_grad():
            expected = METHODS[name](copy.deepcopy(net), X)
        torch.testing.assert_close(METHODS[name](net, X), expected)
    for (_, then, needs, grad, version), (_, now, *rest) in zip(parameters, described(net)[0], strict=True):
        assert then is now
        assert rest == [needs, grad, version]
    assert buffers == described(net)[1]
    assert all(torch.equal(state[key], held) for key, held in net.state_dict().items())


@pytest.mark.parametrize("name", METHODS)
def test_results_have_no_graph_to_the_parameters(name):
    net, x = Net(), X.clone().requires_grad_()
    assert not METHODS[name](net, X).requires_grad
    found = METHODS[name](net, x)
    if found.requires_grad:
        slopes = torch.autograd.grad(found.square().sum(), [x, *net.parameters()], allow_unused=True)
        assert all(slope is None for slope in slopes[1:])


def test_methods_that_build_a_model_are_not_taken_for_what_it_runs():
    class Drawn(Net):
        def __init__(self):
            super().__init__()
            self.apply(self._draw)

        def _draw(self, module):
            if isinstance(module, nn.Linear):
                module.weight.data.normal_()

    from attrfunc.core.model.twin import Twin

    twin = Twin(Drawn())
    twin.restore()
    assert not twin._copier.opaque
    twin = Twin(Renewing())
    twin.restore()
    assert twin._copier.opaque


class TestInference:
    """Methods without gradients see what the model gives without them, its fast path among it."""

    @staticmethod
    def model():
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        return nn.Sequential(
            nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Flatten(), nn.Linear(40, 2)
        )

    def test_ablation_is_the_change_of_the_output(self):
        net, x = self.model().eval(), torch.randn(3, 5, 8)
        found = af.feature_ablation(net, x, target=1, feature_mask=torch.arange(5)[None, :, None])
        with torch.no_grad():
            for step in range(5):
                moved = x.clone()
                moved[:, step] = 0
                expected = (net(x) - net(moved))[:, 1, None].expand(3, 8)
                torch.testing.assert_close(found[:, step], expected, rtol=1e-4, atol=1e-6)

    def test_gradients_take_the_other_path(self):
        net, x = self.model().eval().requires_grad_(False), torch.randn(3, 5, 8)
        leaf = x.clone().requires_grad_()
        (expected,) = torch.autograd.grad(net(leaf)[:, 1].sum(), leaf)
        torch.testing.assert_close(af.saliency(net, x, target=1, absolute=False), expected)
        view = af.layer(net, "0.layers.0")
        assert af.saliency(view, x, target=1).abs().sum() > 0
