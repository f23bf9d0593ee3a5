"""Score-CAM, Ablation-CAM and Eigen-CAM against the papers' formulas, one example and one channel at a time."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import attrfunc as af


class Cnn(nn.Module):
    """A head that is not linear; few positions."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 5, 2, stride=2)
        self.norm = nn.BatchNorm2d(5)
        self.hidden = nn.Linear(5 * 9, 6)
        self.head = nn.Linear(6, 3)

    def behind(self, activation):
        return self.head(self.hidden(activation.flatten(1)).tanh())

    def forward(self, x):
        return self.behind(self.norm(self.conv(x)).relu())


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = Cnn().double()
    model(torch.randn(20, 2, 6, 6).double())
    return model.eval()


@pytest.fixture
def x():
    return torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("chunk_size", [None, 1, 4])
def test_score_cam(model, x, chunk_size):
    found = af.score_cam(model, x, layer="conv", target=1, baseline=0.3, chunk_size=chunk_size)
    for heat, one in zip(found, x, strict=True):
        activation = model.conv(one[None])[0].detach()
        scores = []
        for channel in activation:
            mask = F.interpolate(channel[None, None], (6, 6), mode="bilinear")[0, 0]
            mask = (mask - mask.min()) / (mask.max() - mask.min())
            start = torch.full((1, 2, 6, 6), 0.3).double()
            shown = 0.3 + mask * (one[None] - 0.3)
            scores.append((model(shown) - model(start))[0, 1].item())
        weights = np.exp(scores) / np.exp(scores).sum()
        expected = sum(weight * channel for weight, channel in zip(weights, activation, strict=True))
        torch.testing.assert_close(heat[0], expected)


def test_a_channel_that_is_constant_lets_nothing_through(model, x):
    with torch.no_grad():
        model.conv.weight[2] = 0
    found = af.score_cam(model, x, layer="conv", target=0)
    assert found.isfinite().all()


@pytest.mark.parametrize("chunk_size", [None, 1, 4])
def test_ablation_cam(model, x, chunk_size):
    found = af.ablation_cam(model, x, layer="conv", target=2, chunk_size=chunk_size)
    for heat, one in zip(found, x, strict=True):
        activation = model.conv(one[None]).detach()
        behind = lambda a: model.behind(model.norm(a).relu())[0, 2]
        score, expected = behind(activation), 0
        for k in range(5):
            without = activation.clone()
            without[:, k] = 0
            expected = expected + (score - behind(without)) / score * activation[0, k]  # the paper's slope
        torch.testing.assert_close(heat[0], score * expected)


def test_eigen_cam(model, x):
    found = af.eigen_cam(model, x, layer="conv")
    for heat, one in zip(found, x, strict=True):
        matrix = model.conv(one[None])[0].detach().flatten(1).T.numpy()  # positions by channels
        values, vectors = np.linalg.eigh(matrix.T @ matrix)
        expected = matrix @ vectors[:, np.argmax(values)]
        expected = expected if expected.sum() >= 0 else -expected
        np.testing.assert_allclose(heat.flatten(), expected, rtol=1e-9, atol=1e-12)


METHODS = [af.score_cam, af.ablation_cam, af.eigen_cam]


def call(method, model, x, **options):
    target = {} if method is af.eigen_cam else {"target": 1}
    return method(model, x, **{**target, **options})


@pytest.mark.parametrize("method", METHODS)
def test_lists_of_layers_and_relu(method, model, x):
    first, second = call(method, model, x, layer=["conv", model.norm])
    torch.testing.assert_close(first, call(method, model, x, layer="conv"))
    torch.testing.assert_close(second, call(method, model, x, layer="norm"))
    torch.testing.assert_close(call(method, model, x, layer="conv", relu=True), first.relu())


class Tokens(nn.Module):
    """Channels last, behind a class token, as vision transformers have them."""

    def __init__(self, model):
        super().__init__()
        self.model, self.tokens = model, nn.Identity()

    def forward(self, x):
        activation = self.model.conv(x)
        grid = activation.flatten(2).mT
        tokens = self.tokens(torch.cat([grid.mean(1, keepdim=True), grid], 1))
        grid, token = tokens[:, 1:], tokens[:, :1]
        activation = grid.mT.unflatten(2, (3, 3))
        return self.model.behind(self.model.norm(activation).relu()) + token.sum((1, 2))[:, None]


@pytest.mark.parametrize("method", METHODS)
def test_tokens_as_channels(method, model, x):
    """The class token has no part in the map, and is left as it is."""
    tokens = Tokens(model)
    found = call(method, tokens, x, layer="tokens", reshape=lambda a: a[:, 1:].mT.unflatten(2, (3, 3)))

    if method is af.score_cam:  # inputs are masked, and the token changes with them
        expected = call(method, af.bind(tokens, {}), x, layer=model.conv)
    else:  # the activation is replaced behind the token
        expected = call(method, model, x, layer="conv")
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("method", METHODS)
def test_bad_input(method, model, x):
    with pytest.raises(af.ArgumentError, match=f"{method.__name__}: argument `layer`: got 'cnv'.*'conv'"):
        call(method, model, x, layer="cnv")
    with pytest.raises(af.ArgumentError, match="argument `model`: got a view of layer 'conv'"):
        call(method, af.layer(model, "conv"), x, layer="norm")
    with pytest.raises(af.ArgumentError, match="argument `reshape`: got int 3"):
        call(method, model, x, layer="conv", reshape=3)
    with pytest.raises(af.ArgumentError, match=r"argument `reshape`.*is not linear"):
        call(method, model, x, layer="conv", reshape=lambda a: a.relu())
    with pytest.raises(af.ArgumentError, match=r"argument `chunk_size`"):
        call(method, model, x, layer="conv", chunk_size=0)


def test_maps_that_do_not_fit_the_input(model, x):
    with pytest.raises(af.ArgumentError, match=r"score_cam: argument `x`: got .* activation of shape \(3, 6\)"):
        af.score_cam(model, x, layer="hidden", target=0)


@pytest.mark.parametrize("method", [af.score_cam, af.ablation_cam])
def test_examples_that_depend_on_each_other(method, model, x):
    coupled = nn.Sequential(model.conv, nn.Flatten(), model.hidden, nn.Softmax(0)).eval()
    with pytest.raises(af.ModelError, match="not apart"), pytest.warns(UserWarning, match="one by one"):
        method(coupled, x, layer="0", target=1)
