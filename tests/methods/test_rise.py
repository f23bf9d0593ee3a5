"""RISE: the average over masks by a loop, and what is known of masks and of linear scores."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import attrfunc as af

X = torch.randn(3, 2, 8, 7, generator=torch.Generator().manual_seed(1)).double()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 30, 3)).double().eval()


@pytest.mark.parametrize("chunk_size", [None, 1, 7])
def test_the_average_over_masks(net, chunk_size):
    options = {"n_samples": 70, "cells": 3, "probability": 0.4, "baseline": 0.2}
    found = af.rise(net, X, target=1, generator=seeded(), chunk_size=chunk_size, **options)
    generator = seeded()
    grids = torch.rand(70, 4, 4, generator=generator, dtype=torch.float64) < 0.4
    shifts = torch.rand(70, 2, generator=generator, dtype=torch.float64)
    expected = torch.zeros(3, 8, 7).double()
    for grid, shift in zip(grids, shifts, strict=True):
        down, right = int(shift[0] * 3), int(shift[1] * 3)
        mask = F.interpolate(grid[None, None].float(), (12, 12), mode="bilinear")[0, 0].double()
        mask = mask[down : down + 8, right : right + 7]
        with torch.no_grad():
            scores = net(0.2 + mask * (X - 0.2))[:, 1]
        expected += scores[:, None, None] * mask / (70 * 0.4)
    torch.testing.assert_close(found[:, 0], expected, rtol=1e-6, atol=1e-7)


def test_a_place_that_matters_stands_out():
    image = torch.ones(1, 1, 12, 12).double()
    found = af.rise(lambda z: z[:, 0, 2, 9], image, n_samples=3000, cells=4, generator=seeded())[0, 0]
    assert found.argmax() in [2 * 12 + 9, 2 * 12 + 8, 2 * 12 + 10, 3 * 12 + 9, 1 * 12 + 9]
    far = found[7:, :5]  # what is not seen together with it gets the mean score
    assert (far - 0.5).abs().max() < 0.06


def test_signals_volumes_layers_and_structures(net):
    assert af.rise(lambda s: s.sum((1, 2)), X[:, :, 0], n_samples=5, generator=seeded()).shape == (3, 1, 7)
    volume = torch.ones(2, 1, 3, 4, 5)
    assert af.rise(lambda v: v.sum((1, 2, 3, 4)), volume, n_samples=5, cells=2).shape == (2, 1, 3, 4, 5)
    assert af.rise(af.layer(net, "1"), X, target=0, n_samples=5, generator=seeded()).shape == (3, 1, 6, 5)
    pair = {"a": X, "b": X[..., :5]}
    found = af.rise(lambda d: d["a"].sum((1, 2, 3)) + d["b"].sum((1, 2, 3)), pair, n_samples=5)
    assert found["a"].shape == (3, 1, 8, 7)
    assert found["b"].shape == (3, 1, 8, 5)


def test_bad_input(net):
    for options, match in [
        ({"n_samples": 0}, "rise: argument `n_samples`"),
        ({"cells": 0}, "rise: argument `cells`"),
        ({"probability": 1.0}, "argument `probability`: got float 1.0"),
        ({"probability": 0}, "argument `probability`"),
        ({"generator": 3}, "argument `generator`"),
    ]:
        with pytest.raises(af.ArgumentError, match=match):
            af.rise(net, X, target=0, **options)
    with pytest.raises(af.ArgumentError, match=r"argument `x`: got .* \(3, 5\)"):
        af.rise(nn.Linear(5, 2), torch.ones(3, 5), target=0)
    with pytest.raises(af.ModelError, match="not apart"), pytest.warns(UserWarning, match="one by one"):
        af.rise(lambda z: (z - z.mean(0)).square().sum((1, 2, 3)), X)
