"""Models that write their own tensors while a transform works through them, and parameters that they replace."""

import copy

import pytest
import torch
from torch import nn

import attrfunc as af

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(1)).double()
METHODS = {
    "saliency": lambda model, target: af.saliency(model, X, target=target, absolute=False),
    "ig": lambda model, target: af.ig(model, X, target=target, n_steps=4),
    "lrp": lambda model, target: af.lrp(model, X, target=target),
    "ablation": lambda model, target: af.feature_ablation(model, X, target=target),
}


class Running(nn.Module):
    """Writes a buffer, a part of it, and a weight, and reads what it has written."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.head = nn.Linear(4, 3), nn.Linear(3, 2)
        self.register_buffer("level", torch.ones(3))
        self.bank = torch.zeros(5, 3)
        self.double().eval()
        self.bank = self.bank.double()

    def forward(self, x, cache=None):
        self.level.mul_(0.5).add_(1)
        self.bank[1] = self.level
        if cache is not None:
            cache["steps"].add_(1)
            self.level.mul_(cache["steps"])
        with torch.no_grad():
            self.inner.weight.clamp_(-0.3, 0.3)
        return self.head(self.inner(x).tanh() * self.level + self.bank.sum(0))


@pytest.mark.parametrize("name", METHODS)
def test_under_vmap(name):
    net = Running()
    before = copy.deepcopy(net.state_dict()), net.bank.clone()
    found = torch.vmap(lambda target: METHODS[name](net, target))(torch.tensor([1, 0]))
    torch.testing.assert_close(found[0], METHODS[name](net, 1))
    torch.testing.assert_close(found[1], METHODS[name](Running(), 0))
    torch.testing.assert_close(dict(net.state_dict()), dict(before[0]), rtol=0, atol=0)
    assert torch.equal(net.bank, before[1])


def test_derivatives_of_attributions():
    net = Running()
    slopes = torch.func.jacrev(lambda x: af.ig(net, x, target=1, n_steps=4)[0])(X)[:, 0]
    step = torch.zeros_like(X)
    step[0, 2] = 1e-6
    apart = (af.ig(net, X + step, target=1, n_steps=4) - af.ig(net, X - step, target=1, n_steps=4))[0] / 2e-6
    torch.testing.assert_close(slopes[:, 2], apart, rtol=1e-6, atol=1e-7)


def test_arguments_that_it_writes():
    net, cache = Running(), {"steps": torch.ones(()).double()}
    one = lambda target: af.saliency(net, X, target=target, absolute=False, kwargs={"cache": cache})
    torch.testing.assert_close(torch.vmap(one)(torch.tensor([1]))[0], one(1))
    assert cache["steps"] == 1


class Careless(Running):
    def forward(self, x):
        self.level.data = self.level.data + 1
        return super().forward(x)


class Noisy(Running):
    def forward(self, x):
        return super().forward(x + torch.rand(4, dtype=x.dtype))


@pytest.mark.parametrize(
    ("kind", "words"), [(Careless, "writes into a tensor in Careless"), (Noisy, "draws random numbers in Noisy")]
)
def test_what_it_cannot_do_there_is_named(kind, words):
    net = kind()
    one = lambda target: METHODS["saliency"](net, target)
    with pytest.raises(af.ModelError, match=f"saliency: the model {words}"):
        torch.vmap(one)(torch.tensor([1]))
    if kind is Noisy:
        assert torch.vmap(one, randomness="same")(torch.tensor([1])).isfinite().all()  # as the message says


class Rebuilt(nn.Module):
    """Puts another parameter in the place of a layer's."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.head = nn.Linear(4, 3).double(), nn.Linear(3, 2).double()

    def forward(self, x):
        self.inner.weight = nn.Parameter(self.inner.weight * 0.5)
        self.head.bias = None
        return self.head(self.inner(x).tanh())


@pytest.mark.parametrize("name", METHODS)
def test_parameters_that_forward_replaces(name):
    net = Rebuilt()
    held = net.inner.weight, net.head.bias
    halved = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2, bias=False)).double()
    halved[0].weight.data, halved[0].bias.data = net.inner.weight.data * 0.5, net.inner.bias.data
    halved[2].weight.data = net.head.weight.data
    for _ in range(2):
        torch.testing.assert_close(METHODS[name](net, 1), METHODS[name](halved, 1))
    assert (net.inner.weight, net.head.bias) == held
