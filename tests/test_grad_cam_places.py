"""Where `grad_cam` looks: lists of layers, layers of tuples, sides, calls, and layers inside plain callables."""

import threading

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

import attrfunc as af
from zoo import CASES


class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.act = nn.Conv2d(2, 4, 2), nn.Tanh()
        self.hidden, self.head = nn.Linear(36, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.hidden(self.act(self.conv(x)).flatten(1)).tanh())


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Cnn().double().eval()


@pytest.fixture
def x():
    return torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(1)).double()


def test_a_list_of_layers_in_one_pass(net, x):
    counts = {"forward": 0, "backward": 0}

    class Count(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x):
            counts["forward"] += 1
            return x.clone()

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

        @staticmethod
        def backward(ctx, gradient):
            counts["backward"] += 1
            return gradient.clone()

    net.head.register_forward_pre_hook(lambda module, args: (Count.apply(args[0]),))
    together = af.grad_cam(net, x, layer=["act", net.conv, "hidden"], target=1, weighting="hires_cam")
    assert counts == {"forward": 1, "backward": 1}
    assert isinstance(together, list)
    assert [tuple(heat.shape) for heat in together] == [(2, 1, 3, 3), (2, 1, 3, 3), (2, 1)]
    for name, heat in zip(["act", "conv", "hidden"], together, strict=True):
        torch.testing.assert_close(af.grad_cam(net, x, layer=name, target=1, weighting="hires_cam"), heat)


def test_a_layer_that_gives_a_tuple():
    case = next(case for case in CASES if case.name == "tuple_layer")
    model = case.make()
    activations = af.activation(af.layer(model, "two"), case.inputs)
    gradients = af.saliency(af.layer(model, "two"), case.inputs, target=2, absolute=False)
    result = af.grad_cam(model, case.inputs, layer="two", target=2)
    assert isinstance(result, tuple)
    for heat, activation, gradient in zip(result, activations, gradients, strict=True):
        torch.testing.assert_close(heat, (activation * gradient).sum(1, keepdim=True))


def test_sides_calls_and_arguments(net, x):
    options = {"target": 1, "weighting": "hires_cam"}
    torch.testing.assert_close(
        af.grad_cam(net, x, layer="act", side="input", **options), af.grad_cam(net, x, layer="conv", **options)
    )

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.Tanh()

        def forward(self, x, scale, shift=0.0):
            return self.act(scale * self.act(x) + shift).sum((1, 2, 3))

    scale = torch.tensor([2.0, 3.0], dtype=x.dtype).view(2, 1, 1, 1)
    arguments = {"args": (scale,), "kwargs": {"shift": 0.5}, "weighting": "hires_cam"}
    first, second = (af.grad_cam(Twice(), x, layer="act", call=call, **arguments) for call in (0, 1))
    inner = x.tanh()
    outer = (scale * inner + 0.5).tanh()
    torch.testing.assert_close(second, outer.sum(1, keepdim=True))
    torch.testing.assert_close(first, (inner * scale * (1 - outer.square())).sum(1, keepdim=True))


def test_what_the_score_does_not_depend_on_gets_zeros(net, x):
    heat = af.grad_cam(af.neuron(net, "act", (0, 1, 1)), x, layer="hidden")
    assert heat.shape == (2, 1)
    assert not heat.any()


class TestPlainCallables:
    """The layer is then given as a module."""

    def test_threads(self, net, x):
        inputs, failures = [x, 2 * x, 3 * x], []
        expected = [af.grad_cam(net, one, layer="act", target=1) for one in inputs]

        def work(number):
            try:
                for model in (net, lambda x: net(x)) * 10:
                    heat = af.grad_cam(model, inputs[number], layer=net.act, target=1)
                    torch.testing.assert_close(heat, expected[number])
            except BaseException as error:  # a thread must hand its failure over
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert all(not module._forward_hooks for module in net.modules())

    def test_gradients_through_functional_call_and_vmap(self, net, x):
        parameters = {name: p.detach() for name, p in net.named_parameters()}

        def loss(bias, model=None):
            changed = {**parameters, "conv.bias": bias}
            model = model or (lambda x: functional_call(net, changed, (x,)))
            one = lambda t: af.grad_cam(model, x, layer=net.act, target=t)
            return vmap(one)(torch.arange(3)).square().sum()

        bias, moved = parameters["conv.bias"], torch.tensor([0.3, -1, 0.5, 2]).double()
        slope = (loss(bias + 1e-6 * moved) - loss(bias - 1e-6 * moved)) / 2e-6
        torch.testing.assert_close((grad(loss)(bias) * moved).sum(), slope, rtol=1e-6, atol=1e-8)
        assert slope != 0
        bound = lambda b: loss(b, af.bind(net, {"conv.bias": b}))
        torch.testing.assert_close(grad(bound)(bias), grad(loss)(bias))


class ClassToken(nn.Module):
    """A transformer whose head reads the class token alone."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Parameter(torch.randn(1, 1, 4).double())
        self.norm, self.mix = nn.LayerNorm(4).double(), nn.MultiheadAttention(4, 2, batch_first=True).double()
        self.last, self.head = nn.Linear(4, 4).double(), nn.Linear(4, 3).double()

    def forward(self, tokens):
        tokens = torch.cat([self.first.expand(len(tokens), -1, -1), tokens], 1)
        normed = self.norm(tokens)
        tokens = tokens + self.mix(normed, normed, normed)[0]
        return self.head((tokens + self.last(tokens).tanh())[:, 0])


@pytest.mark.parametrize("weighting", ["grad_cam", "layer_cam", "hires_cam"])
def test_a_map_of_tokens_that_the_score_does_not_read_is_an_error(weighting):
    model, x = ClassToken(), torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(1)).double()
    options = {"target": 1, "weighting": weighting, "reshape": af.viz.tokens_to_grid()}
    with pytest.raises(af.ArgumentError, match=r"`layer`.*'last'.*class token.*norm in front of the last attention"):
        af.grad_cam(model, x, layer="last", **options)
    found = af.grad_cam(model, x, layer="norm", **options)  # as the message says
    assert found.shape == (2, 1, 3, 3)
    assert found.ne(0).all()
