"""Class activation maps against each paper's formula, written out literally, one example at a time, in float64."""

import itertools

import pytest
import torch
from torch import nn
from torch.func import grad, jacfwd, vmap
from torch.nn import functional as F

import attrfunc as af
from attrfunc.gradient.cam_weights import WEIGHTINGS
from zoo import CASES

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
SIDE = 3  # of the layer's activation, in every dimension


class Cnn(nn.Module):
    """One convolution with few and many positive activations, and a head that is not linear."""

    def __init__(self, dimensions=2):
        super().__init__()
        self.conv = CONVOLUTIONS[dimensions](2, 4, 2)
        self.act = nn.ReLU()
        self.hidden = nn.Linear(4 * SIDE**dimensions, 6)
        self.head = nn.Linear(6, 3)

    def behind(self, activation):
        return self.head(self.hidden(activation.flatten(1)).tanh())

    def forward(self, x):
        return self.behind(self.act(self.conv(x)))


def make(dimensions=2):
    torch.manual_seed(0)
    return Cnn(dimensions).double().eval(), torch.randn(2, 2, *[SIDE + 1] * dimensions).double()


@pytest.fixture
def net():
    return make()[0]


@pytest.fixture
def x():
    return make()[1]


def sides(behind, activation, target):
    """One example's activation `(C, *S)` and the gradient of its score there, by plain autograd."""
    activation = activation.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(behind(activation[None])[0, target], activation)
    return activation.detach(), gradient


def positions(tensor):
    """Every index behind the channels."""
    return list(itertools.product(*map(range, tensor.shape[1:])))


def paper_map(weighting, A, G):
    """The map `S` of one example: the sum over k of w_k A_k, position by position."""
    total = torch.zeros(A.shape[1:], dtype=A.dtype)
    Z = len(positions(A))
    for k in range(len(A)):
        mass = sum(A[k][p] for p in positions(A))
        if weighting == "grad_cam":
            w = sum(G[k][p] for p in positions(A)) / Z
        elif weighting == "xgrad_cam":
            w = sum(A[k][p] / mass * G[k][p] for p in positions(A)) if mass else 0
        elif weighting == "grad_cam_plus_plus":
            w = 0
            for p in positions(A):
                if G[k][p] != 0:
                    alpha = G[k][p] ** 2 / (2 * G[k][p] ** 2 + mass * G[k][p] ** 3)
                    w += alpha * max(G[k][p], 0)
        for p in positions(A):
            if weighting == "hires_cam":
                w = G[k][p]
            elif weighting == "layer_cam":
                w = max(G[k][p], 0)
            total[p] += w * A[k][p]
    return total


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_each_paper(weighting, dimensions):
    net, x = make(dimensions)
    result = af.grad_cam(net, x, layer="act", target=2, weighting=weighting)
    assert result.shape == (2, 1, *[SIDE] * dimensions)
    for activation, heat in zip(F.relu(net.conv(x)), result, strict=True):
        expected = paper_map(weighting, *sides(net.behind, activation, 2))
        assert expected.any()
        torch.testing.assert_close(heat[0], expected)


def test_grad_cam_plus_plus_from_third_derivatives(net):
    """Equation 19, whose Y is the exponential of a piecewise linear score."""
    torch.manual_seed(1)
    head = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    model = nn.Sequential(nn.Identity(), head)
    A = torch.rand(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    Y = head(A)[0, 1].exp()
    (first,) = torch.autograd.grad(Y, A, create_graph=True)
    expected = torch.zeros(2, 2, dtype=torch.float64)
    for k in range(3):
        w = 0
        for i, j in itertools.product(range(2), range(2)):
            second = torch.autograd.grad(first[0, k, i, j], A, create_graph=True)[0]
            third = torch.autograd.grad(second[0, k, i, j], A, retain_graph=True)[0]
            d1, d2, d3 = (d[0, k, i, j].detach() for d in (first, second, third))
            w += d2 / (2 * d2 + A[0, k].sum().detach() * d3) * d1.relu()
        expected += w * A[0, k].detach()
    heat = af.grad_cam(model, A.detach(), layer="0", target=1, weighting="grad_cam_plus_plus")
    torch.testing.assert_close(heat[0, 0], expected / Y.detach())  # without the factor exp(score)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_a_dense_layer_has_one_position(weighting, net, x):
    heat = af.grad_cam(net, x, layer="hidden", target=1, weighting=weighting)
    assert heat.shape == (2, 1)
    for activation, one in zip(net.hidden(F.relu(net.conv(x)).flatten(1)), heat, strict=True):
        A, G = sides(lambda a: net.head(a.tanh()), activation, 1)
        torch.testing.assert_close(one[0], paper_map(weighting, A, G))


class TestCompleteness:
    """What the maps sum to, where the network behind the layer is affine."""

    def model(self, *pool):
        torch.manual_seed(0)
        size = 4 if pool else 36
        return nn.Sequential(nn.Conv2d(2, 4, 2), nn.ReLU(), *pool, nn.Flatten(), nn.Linear(size, 3)).double()

    def gap(self, model, x, weighting):
        heat = af.grad_cam(model, x, layer="1", target=2, weighting=weighting)
        return (heat.sum((1, 2, 3)) - (model(x) - model[-1].bias).detach()[:, 2]).abs().max()

    @pytest.mark.parametrize("weighting", ["grad_cam", "xgrad_cam", "hires_cam"])
    def test_behind_global_average_pooling(self, weighting, x):
        assert self.gap(self.model(nn.AdaptiveAvgPool2d(1)), x, weighting) < 1e-12

    @pytest.mark.parametrize("weighting", ["xgrad_cam", "hires_cam"])
    def test_behind_flattening(self, weighting, x):
        assert self.gap(self.model(), x, weighting) < 1e-12
        assert self.gap(self.model(), x, "grad_cam") > 0.01  # which averages the gradient


@pytest.mark.parametrize("weighting", WEIGHTINGS)
class TestDivisions:
    """Where a formula divides by zero, maps are finite, and so are their derivatives."""

    def test_a_dead_channel_and_no_gradient(self, weighting, net, x):
        with torch.no_grad():
            net.conv.bias[1] = -100  # the channel is zero everywhere
            net.hidden.weight[:, :3] = 0  # the first row of the first channel has no gradient
        loss = lambda x: af.grad_cam(net, x, layer="act", target=0, weighting=weighting).square().sum()
        moved = torch.randn_like(x)
        slope = (grad(loss)(x) * moved).sum()
        step = 1e-6 * moved
        torch.testing.assert_close(slope, (loss(x + step) - loss(x - step)) / 2e-6, rtol=1e-6, atol=1e-8)
        assert slope != 0
        torch.testing.assert_close(jacfwd(lambda t: loss(x + t * moved))(torch.zeros((), dtype=x.dtype)), slope)

    @pytest.mark.parametrize("values", [[-1.0, -1.0], [1.0, -1.0], [0.0, 0.0]], ids=["pole", "cancelling", "zeros"])
    def test_sums_that_vanish(self, weighting, values):
        """With a gradient of one, the first is the pole of Grad-CAM++; the others sum to zero."""
        model = nn.Sequential(nn.Identity(), nn.Flatten())
        x = torch.tensor(values).view(1, 1, 2)
        function = lambda x: af.grad_cam(model, x, layer="0", target=lambda a: a.sum(1), weighting=weighting)
        assert function(x).isfinite().all()
        assert grad(lambda x: function(x).sum())(x).isfinite().all()
        pole = weighting == "grad_cam_plus_plus" and values == [-1, -1]
        torch.testing.assert_close(function(x), torch.zeros_like(x) if pole else x)

    def test_in_float32_gradients_whose_square_underflows(self, weighting):
        model = nn.Sequential(nn.Identity(), nn.Flatten())
        tiny = lambda a: 1e-30 * a.sum(1)
        heat = af.grad_cam(model, torch.ones(1, 1, 2), layer="0", target=tiny, weighting=weighting)
        torch.testing.assert_close(1e30 * heat, torch.ones(1, 1, 2))


def test_the_weight_of_one_position_is_the_gradient_even_at_zero():
    function = lambda x: af.grad_cam(nn.Identity(), x, layer="", weighting="xgrad_cam", target=lambda a: 3 * a.sum(1))
    x = torch.zeros(1, 2)
    torch.testing.assert_close(grad(lambda x: function(x).sum())(x), torch.full((1, 2), 3.0))


def test_a_weighting_of_ones_own(net, x):
    options = {"layer": "act", "target": 1}
    mean = lambda activation, gradient: gradient.mean((2, 3), keepdim=True)
    torch.testing.assert_close(af.grad_cam(net, x, weighting=mean, **options), af.grad_cam(net, x, **options))
    plain = af.grad_cam(net, x, weighting=lambda a, g: torch.ones(1, 1, 1, 1, dtype=a.dtype), **options)
    torch.testing.assert_close(plain, F.relu(net.conv(x)).sum(1, keepdim=True).detach())


def test_relu_and_channels(net, x):
    options = {"layer": "act", "target": 1}
    heat = af.grad_cam(net, x, **options)
    assert heat.min() < 0
    assert torch.equal(af.grad_cam(net, x, relu=True, **options), heat.clamp(min=0))
    channels = af.grad_cam(net, x, sum_channels=False, **options)
    assert channels.shape == (2, 4, SIDE, SIDE)
    torch.testing.assert_close(channels.sum(1, keepdim=True), heat)
    cut = af.grad_cam(net, x, sum_channels=False, relu=True, **options)
    assert torch.equal(cut, channels.clamp(min=0))


class TestTokens:
    """A vision transformer, whose tokens are reshaped to an image."""

    @pytest.fixture
    def case(self):
        return next(case for case in CASES if case.name == "vit")

    @pytest.mark.parametrize("weighting", WEIGHTINGS)
    def test_the_map_of_a_vision_transformer(self, case, weighting):
        model, x = case.make(torch.float64), case.inputs.double()
        layer = "model.vit.embeddings"
        heat = af.grad_cam(model, x, layer=layer, target=1, weighting=weighting, reshape=af.viz.tokens_to_grid())
        assert heat.shape == (3, 1, 2, 2)
        kept = []
        handle = model.get_submodule(layer).register_forward_hook(
            lambda m, a, out: out.retain_grad() or kept.append(out)
        )
        model(x)[:, 1].sum().backward()
        handle.remove()
        for tokens, gradient, one in zip(kept[0].detach(), kept[0].grad, heat, strict=True):
            images = torch.zeros(2, tokens.shape[1], 2, 2).double()
            for image, values in zip(images, (tokens, gradient), strict=True):
                for row, column in itertools.product(range(2), range(2)):
                    image[:, row, column] = values[1 + 2 * row + column]
            torch.testing.assert_close(one[0], paper_map(weighting, *images))

    def test_transforms(self, case):
        model = case.make()
        layer = "model.vit.embeddings"
        function = lambda x, t: af.grad_cam(model, x, layer=layer, target=t, reshape=af.viz.tokens_to_grid(size=(4, 1)))
        mapped = vmap(lambda t: function(case.inputs, t))(torch.arange(4))
        for target in range(4):
            torch.testing.assert_close(mapped[target], function(case.inputs, target))

    def test_compile(self):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Flatten(), nn.Linear(28, 3))
        x = torch.randn(2, 7, 5)
        function = lambda x: af.grad_cam(model, x, layer="1", target=1, reshape=af.viz.tokens_to_grid(size=(3, 2)))
        torch.compiler.reset()
        compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), function(x))

    def test_channels_last(self):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Flatten(), nn.Linear(24, 3))
        x = torch.randn(2, 3, 2, 5)
        heat = af.grad_cam(model, x, layer="1", target=1, reshape=lambda a: a.movedim(-1, 1))
        activation = model[0](x).tanh()
        gradient = model[3].weight[1].view(3, 2, 4)
        torch.testing.assert_close(heat[:, 0], (activation * gradient.mean((0, 1))).sum(3).detach())
