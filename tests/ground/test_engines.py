"""Models that torch.func cannot trace have the gradients that plain autograd gives, by every method."""

import pytest
import torch
from alike import by_loop, drawn, same
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

import attrfunc as af

LENGTHS = torch.tensor([2, 4, 3])
# What torch says of checkpoints that run without a gradient, and of hooks on a layer whose input has none.
pytestmark = [
    pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad"),
    pytest.mark.filterwarnings("ignore:Full backward hook is firing when gradients"),
]


class Packed(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        torch.manual_seed(0)
        self.cell = kind(3, 4, batch_first=True, **options)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.cell(packed)[0], batch_first=True)[0].tanh().sum((1, 2))


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"num_layers": 2}], ids=str)
@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_packed_sequences(kind, options):
    net, x = Packed(kind, **options).double().eval(), drawn(3, 4, 3)
    point = x.clone().requires_grad_()
    gradient = torch.autograd.grad(net(point, LENGTHS).sum(), point)[0]
    same(af.saliency(net, x, args=(LENGTHS,), absolute=False), gradient)
    same(af.input_x_gradient(net, x, args=(LENGTHS,)), gradient * x)
    expected = by_loop(lambda z: net(z, LENGTHS), x, torch.zeros_like(x), points=100)
    for chunk_size in (3, None):
        same(af.ig(net, x, args=(LENGTHS,), chunk_size=chunk_size, n_steps=20), expected, 1e-4)
    assert not gradient[0, 2:].any()  # behind its end


class Square(torch.autograd.Function):
    """Without setup_context, as fused kernels and spiking networks have them."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        return 2 * ctx.saved_tensors[0] * grad


class Spike(torch.autograd.Function):
    """A step whose gradient is another function's."""

    @staticmethod
    def forward(ctx, x):
        ctx.slope = 1 / (1 + x.detach().square())
        return (x > 0).to(x)

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.slope


def body():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)).double().eval()


class Around(nn.Module):
    """A network some of whose parts are called in another way."""

    def __init__(self, way):
        super().__init__()
        self.body, self.way = body(), way

    def forward(self, x):
        return self.way(self.body, x)


def with_hooks(net, x):
    handles = [
        net[0].register_full_backward_hook(lambda module, grad_in, grad_out: None),
        net[2].register_full_backward_pre_hook(lambda module, grad_out: None),
    ]
    out = net(x)
    for handle in handles:
        handle.remove()
    return out


def required(net, x):
    return net[1:](net[0](x).requires_grad_(True))


def kept(net, x):
    with torch.autograd.graph.save_on_cpu():
        return net(x)


WAYS = {
    "checkpoint": lambda net, x: checkpoint(net, x, use_reentrant=False),
    "reentrant checkpoint": lambda net, x: checkpoint(net, x, use_reentrant=True),
    "several checkpoints": lambda net, x: checkpoint_sequential(net, 2, x, use_reentrant=False),
    "several reentrant checkpoints": lambda net, x: checkpoint_sequential(net, 3, x, use_reentrant=True),
    "both kinds of checkpoints": lambda net, x: checkpoint(
        net[2:], checkpoint(net[:2], x, use_reentrant=True), use_reentrant=False
    ),
    "a checkpoint behind a layer": lambda net, x: checkpoint(net[1:], net[0](x), use_reentrant=True),
    "backward hooks": with_hooks,
    "requires_grad_": required,
    "saved on the CPU": kept,
}
METHODS = {
    "saliency": lambda net, x: af.saliency(net, x, target=0),
    "ig": lambda net, x: af.ig(net, x, target=0, n_steps=4),
    "gradient_shap": lambda net, x: af.gradient_shap(
        net, x, baselines=x.flip(0), n_samples=3, target=0, generator=torch.Generator().manual_seed(0)
    ),
    "smooth": lambda net, x: af.smooth(
        af.input_x_gradient, n_samples=3, stdev=0.1, generator=torch.Generator().manual_seed(0)
    )(net, x, target=0),
    "shapley_sampling": lambda net, x: af.shapley_sampling(
        net, x, n_samples=2, target=0, generator=torch.Generator().manual_seed(0)
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", METHODS)
def test_other_ways_to_call(name, way):
    net, x = Around(WAYS[way]), drawn(4, 6)
    same(METHODS[name](net, x), METHODS[name](body(), x))
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("way", ["backward hooks", "requires_grad_"])
def test_layers_of_models_that_are_called_in_other_ways(way):
    net, x = Around(WAYS[way]), drawn(4, 6)
    same(af.ig(af.layer(net, "body.0"), x, target=0), af.ig(af.layer(body(), "0"), x, target=0))
    same(af.conductance(net, x, layer="body.2", target=0), af.conductance(body(), x, layer="2", target=0))


@pytest.mark.parametrize("kind", [Square, Spike])
def test_functions_of_the_old_style(kind):
    x = drawn(2, 3)
    score = lambda z: (kind.apply(z) * z).sum(1)
    point = x.clone().requires_grad_()
    same(af.saliency(score, x, absolute=False), torch.autograd.grad(score(point).sum(), point)[0])
    same(af.ig(score, x, n_steps=400, method="riemann_middle"), by_loop(score, x, torch.zeros_like(x)))
    if kind is Square:
        same(af.ig(lambda z: Square.apply(z).sum(1), x), x * x)


@pytest.mark.parametrize("name", METHODS)
def test_both_engines_give_the_same(name):
    """A transform outside takes gradients by torch.func; none takes them by plain autograd."""
    net, x = body(), drawn(4, 6)
    if name in ("saliency", "ig"):
        same(torch.vmap(lambda z: METHODS[name](net, z))(x[None])[0], METHODS[name](net, x))
    stacked = {key: value.detach()[None] for key, value in net.named_parameters()}
    view = lambda state: METHODS[name](af.bind(net, state), x)
    same(torch.vmap(view, randomness="same")(stacked)[0], METHODS[name](net, x))


def test_hooks_of_the_users_are_not_lost():
    """They run for her own backward passes as before."""
    net, x, seen = body(), drawn(4, 6), []
    net[0].register_full_backward_hook(lambda module, grad_in, grad_out: seen.append(1))
    af.ig(net, x, target=0)
    seen.clear()
    net(x).sum().backward()
    assert seen == [1]


def test_a_hook_that_requires_gradients_of_an_embedding():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2)).eval()
    words = torch.tensor([[1, 2], [0, 4]])
    expected = {method: method(af.layer(net, "0"), words, target=0) for method in (af.ig, af.saliency, af.deep_lift)}
    net[0].register_forward_hook(lambda module, args, out: out.requires_grad_(True))
    for method, values in expected.items():
        same(method(af.layer(net, "0"), words, target=0), values, 1e-6)
