"""Blur integrated gradients against SciPy's Gaussian filter and central differences by its width."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

import attrfunc as af
from attrfunc.gradient.blur_ig import _blurred, _rotated

X = torch.randn(3, 2, 9, 8, generator=torch.Generator().manual_seed(1)).double()


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 42, 3)).double().eval()


def blur(x, sigma):
    return _blurred(_rotated(x, inverse=False), [sigma])[0][0]


@pytest.mark.parametrize("sigma", [1.5, 3.0, 20.0])
def test_the_blur_is_gaussian(sigma):
    expected = gaussian_filter(X.numpy(), (0, 0, sigma, sigma), mode="reflect", truncate=10)
    np.testing.assert_allclose(blur(X, sigma), expected, atol=1e-4 if sigma < 2 else 1e-12)


def test_no_blur_is_the_input_and_much_is_the_mean():
    torch.testing.assert_close(blur(X, 0.0), X)
    torch.testing.assert_close(blur(X, 100.0), X.mean((2, 3), keepdim=True).expand(X.shape))


@pytest.mark.parametrize("chunk_size", [None, 1, 7])
def test_the_integral(net, chunk_size):
    """The derivative of the path by central differences, the gradient by plain autograd, a point at a time."""
    found = af.blur_ig(net, X, target=1, max_sigma=4, n_steps=6, chunk_size=chunk_size)
    nodes, weights = np.polynomial.legendre.leggauss(6)
    expected, h = torch.zeros_like(X), 1e-5
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        sigma = 4 * node
        point = blur(X, sigma).requires_grad_()
        gradient = torch.autograd.grad(net(point)[:, 1].sum(), point)[0]
        expected -= 4 * weight * gradient * (blur(X, sigma + h) - blur(X, sigma - h)) / (2 * h)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_completeness(net):
    found = af.blur_ig(net, X, target=2, max_sigma=10, n_steps=100)
    change = (net(X) - net(blur(X, 10.0)))[:, 2].detach()
    torch.testing.assert_close(found.sum((1, 2, 3)), change, rtol=1e-6, atol=1e-8)


def test_signals_volumes_and_half_precision(net):
    signal = X[:, :, 0]
    found = af.blur_ig(lambda s: s.square().sum((1, 2)), signal, max_sigma=5)
    assert found.shape == signal.shape
    volume = torch.randn(2, 1, 4, 3, 5)
    assert af.blur_ig(lambda v: v.square().sum((1, 2, 3, 4)), volume, max_sigma=3).shape == volume.shape
    half = af.blur_ig(net.bfloat16(), X.bfloat16(), target=1, max_sigma=4)
    assert half.dtype == torch.bfloat16


def test_bad_input(net):
    for sigma in (0, -1.0, float("inf"), "3"):
        with pytest.raises(af.ArgumentError, match="blur_ig: argument `max_sigma`"):
            af.blur_ig(net, X, target=0, max_sigma=sigma)
    with pytest.raises(af.ArgumentError, match=r"argument `x`: got a tensor of shape \(3, 5\)"):
        af.blur_ig(nn.Linear(5, 2), torch.ones(3, 5), target=0)
    with pytest.raises(af.ModelError, match="examples are not apart"), pytest.warns(UserWarning, match="one by one"):
        af.blur_ig(lambda z: (z - z.mean(0)).square().sum((1, 2, 3)), X)
