"""Guided integrated gradients against the paper's algorithm, written out with its loops, in NumPy, one example each."""

import numpy as np
import pytest
import torch
from torch import nn

import attrfunc as af


def by_hand(gradient, x, baseline, steps, fraction, max_distance):
    """Algorithm 1 of the paper, with its bounds around the straight line."""
    at, total, far = baseline.copy(), np.zeros_like(x), np.abs(x - baseline).sum()
    for step in range(steps):
        actual = gradient(at)
        order = np.abs(actual)
        alpha = (step + 1) / steps
        low, high = max(alpha - max_distance, 0), min(alpha + max_distance, 1)
        x_low, x_high = baseline + low * (x - baseline), baseline + high * (x - baseline)
        wanted = far * (1 - alpha)
        gamma = np.inf
        while gamma > 1:
            before = at.copy()
            place = (at - baseline) / (x - baseline)
            at = np.where(place < low - 1e-12, x_low, at)
            now = np.abs(at - x).sum()
            if abs(now - wanted) < 1e-12:
                total += (at - before) * actual
                break
            order = np.where(np.abs(at - x_high) < 1e-12, np.inf, order)
            threshold = np.quantile(order, fraction, method="lower")
            chosen = (order <= threshold) & (order < np.inf)
            room = np.abs(at - x_high)[chosen].sum()
            gamma = (now - wanted) / room if room > 0 else np.inf
            moved = x_high if gamma > 1 else at + gamma * (x_high - at)
            at = np.where(chosen, moved, at)
            total += (at - before) * actual
    return total


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(9, 8), nn.Tanh(), nn.Linear(8, 3)).double().eval()


X = torch.randn(3, 9, generator=torch.Generator().manual_seed(1)).double()
START = torch.randn(3, 9, generator=torch.Generator().manual_seed(2)).double()


@pytest.mark.parametrize(("fraction", "distance"), [(0.25, 0.02), (0.1, 1.0), (1.0, 0.3), (0.5, 0.1)])
def test_the_algorithm(net, fraction, distance):
    options = {"n_steps": 12, "fraction": fraction, "max_distance": distance}
    found = af.guided_ig(net, X, baseline=START, target=1, **options)

    def gradient(at):
        point = torch.tensor(at, requires_grad=True)
        return torch.autograd.grad(net(point[None])[0, 1], point)[0].numpy()

    for row, one, start in zip(found, X.numpy(), START.numpy(), strict=True):
        expected = by_hand(gradient, one, start, 12, fraction, distance)
        np.testing.assert_allclose(row, expected, rtol=1e-7, atol=1e-9)


def test_the_straight_path_is_integrated_gradients(net):
    found = af.guided_ig(net, X, target=1, n_steps=10, max_distance=0.0)
    torch.testing.assert_close(found, af.ig(net, X, target=1, n_steps=10, method="riemann_left"))


@pytest.mark.parametrize("distance", [0.02, 0.2, 1.0])
def test_completeness(net, distance):
    gaps = []
    for steps in (50, 400):
        found = af.guided_ig(net, X, baseline=START, target=1, n_steps=steps, max_distance=distance)
        gaps.append(af.completeness_gap(net, X, found, baseline=START, target=1).abs().max())
    assert gaps[1] < min(0.3 * gaps[0], 0.02)


def test_features_without_a_way_and_equal_ends(net):
    baseline = X.clone()
    baseline[:, 3:] = 0
    found = af.guided_ig(net, X, baseline=baseline, target=0)
    assert not found[:, :3].any()
    assert found[:, 3:].all()
    assert not af.guided_ig(net, X, baseline=X, target=0).any()


def test_several_tensors_share_the_way(net):
    model = lambda a, b: net(torch.cat([a.flatten(1), b], 1))
    a, b = X[:, :4].view(3, 2, 2), X[:, 4:]
    first, second = af.guided_ig(model, (a, b), target=1, n_steps=20)
    joined = af.guided_ig(net, X, target=1, n_steps=20)
    torch.testing.assert_close(torch.cat([first.flatten(1), second], 1), joined)


def test_bad_input(net):
    for options, match in [
        ({"n_steps": 0}, "guided_ig: argument `n_steps`: got int 0"),
        ({"fraction": 0}, "argument `fraction`: got 0"),
        ({"fraction": 1.5}, "argument `fraction`: got float 1.5"),
        ({"max_distance": -0.1}, "argument `max_distance`: got float -0.1"),
        ({"max_distance": float("nan")}, "argument `max_distance`"),
    ]:
        with pytest.raises(af.ArgumentError, match=match):
            af.guided_ig(net, X, target=0, **options)
    with pytest.raises(af.ModelError, match="a path of its own"), pytest.warns(UserWarning, match="one by one"):
        af.guided_ig(lambda z: (z - z.mean(0)).square().sum(1), X)
