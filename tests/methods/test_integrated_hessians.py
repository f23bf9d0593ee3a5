"""Integrated Hessians against the paper's double integral, written out point by point in float64."""

import numpy as np
import pytest
import torch
from torch import nn

import attrfunc as af
from attrfunc.gradient.paths.double import double_quadrature


def smooth_net(inputs=4):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, 3), nn.Softplus()).double().eval()


def by_hand(score, x, baseline, n=20):
    """The definition for one example: a loop over both paths, second derivatives by autograd."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    nodes, weights = (nodes + 1) / 2, weights / 2
    way, total = x - baseline, torch.zeros(x.numel(), x.numel(), dtype=x.dtype)
    for s, u in zip(nodes, weights, strict=True):
        for t, v in zip(nodes, weights, strict=True):
            point = (baseline + s * t * way).requires_grad_()
            hessian = torch.autograd.functional.hessian(score, point)
            gradient = torch.autograd.grad(score(point), point)[0]
            for i in range(x.numel()):
                for j in range(x.numel()):
                    total[i, j] += u * v * s * t * hessian[i, j] * way[i] * way[j]
                total[i, i] += u * v * gradient[i] * way[i]
    return total


def test_the_double_integral():
    net, x, baseline = smooth_net(), torch.randn(3, 4).double(), 0.3 * torch.randn(3, 4).double()
    found = af.integrated_hessians(net, x, baseline=baseline, target=1)
    for pairs, one, start in zip(found, x, baseline, strict=True):
        torch.testing.assert_close(pairs, by_hand(lambda p: net(p[None])[0, 1], one, start), rtol=1e-8, atol=1e-10)


def test_the_axioms():
    net, x = smooth_net(), torch.randn(3, 4).double()
    pairs = af.integrated_hessians(net, x, baseline=0.2, target=2)
    torch.testing.assert_close(pairs, pairs.mT)
    torch.testing.assert_close(pairs.sum(2), af.ig(net, x, baseline=0.2, target=2))
    torch.testing.assert_close(pairs.sum((1, 2)), af.score_change(net, x, baseline=0.2, target=2))


def test_as_a_composition():
    net, x = smooth_net(), torch.randn(2, 4).double()

    def of_feature(j):
        return af.ig(lambda point: af.ig(net, point, target=0)[:, j], x)

    composed = torch.stack([of_feature(j) for j in range(4)], 2)
    torch.testing.assert_close(af.integrated_hessians(net, x, target=0), composed)


def test_known_interactions():
    """Of a product of powers: `x^p y^q` from zero shares `p q / (p + q)^2` and `p^2 / (p + q)^2`."""
    pairs = af.integrated_hessians(lambda x: x[:, 0] ** 3 * x[:, 1] ** 2, torch.tensor([[2.0, 3.0]]).double())
    expected = 72 / 25 * torch.tensor([[9.0, 6.0], [6.0, 4.0]]).double()
    torch.testing.assert_close(pairs[0], expected)


def test_several_tensors_and_shapes():
    x, y = torch.randn(2, 2, 2).double(), torch.randn(2).double()
    score = lambda x, y: (x.flatten(1).prod(1) * y).tanh()
    pairs = af.integrated_hessians(score, (x, y))
    joined = torch.cat([x.flatten(1), y[:, None]], 1)
    single = af.integrated_hessians(lambda z: z.prod(1).tanh(), joined)
    torch.testing.assert_close(pairs, single)


def test_a_layer_and_a_list_of_layers():
    net, x = smooth_net(), torch.randn(2, 4).double()
    first, second = af.integrated_hessians(af.layer(net, ["0", "1"]), x, target=0)
    hidden, start = net[0](x).detach(), net[0](torch.zeros_like(x)).detach()
    torch.testing.assert_close(first, af.integrated_hessians(net[1:], hidden, baseline=start, target=0))
    assert second.shape == (2, 8, 8)


def test_expected_hessians_are_a_map_over_baselines():
    net, x, background = smooth_net(), torch.randn(2, 4).double(), torch.randn(3, 4).double()
    found = torch.vmap(lambda b: af.integrated_hessians(net, x, baseline=b, target=0))(background).mean(0)
    each = [af.integrated_hessians(net, x, baseline=b, target=0) for b in background.unsqueeze(1)]
    torch.testing.assert_close(found, sum(each) / 3)


def test_attention_and_recurrence():
    torch.manual_seed(0)
    block = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, activation="gelu").double().eval()
    x, baseline = torch.randn(2, 2, 3, 4).double()
    pairs = af.integrated_hessians(block, x, baseline=baseline, target=lambda out: out[:, 0, 1])
    expected = af.ig(block, x, baseline=baseline, target=lambda out: out[:, 0, 1])
    torch.testing.assert_close(pairs.sum(2).view_as(x), expected, rtol=1e-4, atol=1e-6)
    lstm = nn.LSTM(4, 3, batch_first=True).double()
    found = af.integrated_hessians(lambda z: lstm(z)[0][:, -1].sum(1), x)
    torch.testing.assert_close(found.sum(2).view_as(x), af.ig(lambda z: lstm(z)[0][:, -1].sum(1), x))


@pytest.mark.parametrize("n", [1, 2, 7, 60, 400])
def test_the_rule_is_exact_for_polynomials(n):
    nodes, weights = map(np.array, double_quadrature(n))
    for power in {0, 1, n, 2 * n - 1}:
        assert (weights * nodes**power).sum() == pytest.approx(1 / (power + 1) ** 2, rel=1e-12)


def test_lost_interactions_are_told():
    """A network of ReLUs has none of its change in second derivatives."""
    score = lambda x: (x.sum(1) - 1).relu()
    with pytest.warns(UserWarning, match="integrated_hessians: .* put softplus in their place"):
        af.integrated_hessians(score, torch.full((2, 3), 0.5))


def test_bad_input():
    net, x = smooth_net(), torch.randn(3, 4).double()
    with pytest.raises(af.ArgumentError, match="integrated_hessians: argument `n_steps`: got int 0"):
        af.integrated_hessians(net, x, target=0, n_steps=0)
    with pytest.raises(af.ArgumentError, match=r"argument `x`: got .* 40000 features, which have 1,600,000,000 pairs"):
        af.integrated_hessians(lambda z: z.square().sum(1), torch.ones(1, 40000))
    with pytest.raises(af.ArgumentError, match="argument `x`"):
        af.integrated_hessians(net, torch.ones(3, 4, dtype=torch.long), target=0)
    with pytest.raises(af.ModelError, match="examples are not apart"), pytest.warns(UserWarning, match="one by one"):
        af.integrated_hessians(lambda z: (z - z.mean(0)).square().sum(1), x)
