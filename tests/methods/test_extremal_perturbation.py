"""Extremal perturbations: the steps by torch's own optimiser and autograd, and masks that are known."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import attrfunc as af

X = torch.randn(3, 2, 8, 7, generator=torch.Generator().manual_seed(1)).double()


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 30, 3)).double().eval()


def by_hand(score, x, baseline, *, area, cell, sigma, steps, penalty):
    """One image `(C, H, W)`, cell by cell."""
    height, width = x.shape[1:]
    rows, columns = -(-height // cell), -(-width // cell)
    numbers = torch.ones(rows, columns, dtype=x.dtype, requires_grad=True)
    optimizer = torch.optim.SGD([numbers], lr=rows * columns / 1024, momentum=0.9, dampening=0.9)

    def mask():
        heights = []
        for i in range(rows):
            for j in range(columns):
                bumps = []
                for k in range(rows):
                    for m in range(columns):
                        far = cell * ((i - k) ** 2 + (j - m) ** 2) ** 0.5 / sigma
                        bumps.append(numbers[k, m] * torch.tensor(-2 * max(far - 0.5, 0) ** 2).double().exp())
                bumps = torch.stack(bumps)
                heights.append((bumps * torch.exp(20 * bumps) / torch.exp(20 * bumps).sum()).sum())
        grid = torch.stack(heights).view(1, 1, rows, columns)
        whole = F.interpolate(grid, (rows * cell, columns * cell), mode="bilinear")[0, 0]
        return whole[:height, :width]

    for _ in range(steps):
        optimizer.zero_grad()
        shown = mask()
        wanted = torch.zeros(height * width, dtype=x.dtype)
        wanted[int(height * width * (1 - area)) :] = 1
        distance = (shown.flatten().sort()[0] - wanted).square().mean()
        (penalty * distance - score(baseline + shown * (x - baseline))).backward()
        optimizer.step()
        penalty *= 1.0035
        with torch.no_grad():
            numbers.clamp_(0, 1)
    return mask().detach()


@pytest.mark.parametrize("chunk_size", [None, 1, 2])
def test_the_steps(net, chunk_size):
    options = {"area": 0.3, "cell": 3, "sigma": 4.0, "penalty": 20.0}
    found = af.extremal_perturbation(
        net, X, target=1, baseline=0.2, learning_rate=1.0, n_steps=8, chunk_size=chunk_size, **options
    )
    for mask, one in zip(found, X, strict=True):
        score = lambda image: net(image[None])[0, 1]
        torch.testing.assert_close(mask[0], by_hand(score, one, torch.full_like(one, 0.2), steps=8, **options))


def test_a_known_mask():
    """What the score of each image reads is shown, of about the area that was asked for, and the rest is not."""
    read = torch.zeros(2, 1, 12, 12)
    read[0, :, :6, :6] = read[1, :, 6:, 6:] = 1
    score = lambda images, read: 10 * (images * read).sum((1, 2, 3)) / 36
    options = {"area": 0.25, "cell": 2, "sigma": 2.0, "n_steps": 800, "penalty": 30.0}
    mask = af.extremal_perturbation(score, torch.ones(2, 1, 12, 12), args=(read,), **options)
    assert 0 <= mask.min() <= mask.max() <= 1
    assert not mask.requires_grad
    for one, part in zip(mask, read.bool(), strict=True):
        assert one[part].mean() > 0.8
        assert one[~part].mean() < 0.2


def test_signals_volumes_neurons_and_half_precision(net):
    short = {"n_steps": 3}
    assert af.extremal_perturbation(lambda s: s.sum((1, 2)), X[:, :, 0], **short).shape == (3, 1, 7)
    volume = torch.ones(2, 1, 3, 4, 5)
    assert af.extremal_perturbation(lambda v: v.sum((1, 2, 3, 4)), volume, **short).shape == (2, 1, 3, 4, 5)
    assert af.extremal_perturbation(af.neuron(net, "0", (1, 2, 3)), X, **short).shape == (3, 1, 8, 7)
    half = af.extremal_perturbation(net.bfloat16(), X.bfloat16(), target=1, **short)
    assert half.dtype == torch.bfloat16
    assert half.isfinite().all()


def test_bad_input(net):
    for name, value in [
        ("area", 0),
        ("area", 1.0),
        ("cell", 0),
        ("sigma", -1.0),
        ("n_steps", 0),
        ("learning_rate", "fast"),
        ("penalty", float("nan")),
    ]:
        with pytest.raises(af.ArgumentError, match=f"extremal_perturbation: argument `{name}`"):
            af.extremal_perturbation(net, X, target=0, **{name: value})
    with pytest.raises(af.ArgumentError, match="argument `model`: got a view of layer '1'"):
        af.extremal_perturbation(af.layer(net, "1"), X, target=0)
    with pytest.raises(af.ArgumentError, match=r"argument `x`: got .* \(3, 5\)"):
        af.extremal_perturbation(nn.Linear(5, 2), torch.ones(3, 5), target=0)
    with pytest.raises(af.ModelError, match="not apart"), pytest.warns(UserWarning, match="one by one"):
        af.extremal_perturbation(lambda z: (z - z.mean(0)).square().sum((1, 2, 3)), X, n_steps=1)
