"""XRAI: the greedy choice of regions by a loop over sets of pixels, in plain Python."""

import numpy as np
import pytest
import torch
from torch import nn

import attrfunc as af

X = torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(1)).double()


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 3)).double().eval()


def greedy(pixels, regions):
    """The paper's algorithm on sets of places; `pixels` is a flat array."""
    taken, heat = set(), np.zeros_like(pixels)
    while len(taken) < len(pixels):
        gains = {number: pixels[list(region - taken)].mean() for number, region in enumerate(regions) if region - taken}
        best = max(gains, key=gains.get)
        heat[list(regions[best] - taken)] = gains[best]
        taken |= regions[best]
    return heat


MASKS = [
    af.masks.grid_mask(X, (2, 2, 3)),
    af.masks.grid_mask(X, (2, 3, 2)),
    torch.randint(0, 5, (3, 1, 6, 6), generator=torch.Generator().manual_seed(2)),
]


@pytest.mark.parametrize("masks", [MASKS, MASKS[:2], MASKS[2:]])
def test_the_greedy_choice(net, masks):
    found = af.xrai(net, X, regions=masks, target=1, baselines=[0.1, 0.7], n_steps=20)
    slopes = [af.ig(net, X, baseline=start, target=1, n_steps=20) for start in (0.1, 0.7)]
    pixels = (sum(slopes) / 2).sum(1).flatten(1).numpy()
    for row in range(3):
        regions = []
        for mask in masks:
            numbers = mask[row if len(mask) > 1 else 0].flatten().numpy()
            regions += [set(np.flatnonzero(numbers == number)) for number in np.unique(numbers)]
        np.testing.assert_allclose(found[row].flatten(), greedy(pixels[row], regions), rtol=1e-9, atol=1e-12)


def test_completeness_and_one_mask(net):
    found = af.xrai(net, X, regions=MASKS[0], target=0)
    low, high = X.amin((2, 3), keepdim=True).expand(X.shape), X.amax((2, 3), keepdim=True).expand(X.shape)
    expected = sum(af.score_change(net, X, baseline=start, target=0) for start in (low, high)) / 2
    torch.testing.assert_close(found.sum((1, 2, 3)), expected)
    assert len(found[0].unique()) <= 6


def test_superpixels_are_the_default():
    """A bright square, of which alone the score knows, is the hottest region."""
    images = torch.zeros(2, 3, 24, 24)
    images[:, :, 4:12, 4:12] = 1.0
    heat = af.xrai(lambda z: z[:, :, 4:12, 4:12].mean((1, 2, 3)), images, baselines=[0.0], n_steps=2)
    hottest = heat >= heat.flatten(1).amax(1).view(2, 1, 1, 1)
    assert hottest[:, :, 5:11, 5:11].float().mean() > 0.9
    assert not hottest[:, :, 14:].any()


def test_bad_input(net):
    with pytest.raises(af.ArgumentError, match="xrai: argument `model`: got a view of layer '1'"):
        af.xrai(af.layer(net, "1"), X, target=0, regions=MASKS)
    with pytest.raises(af.ArgumentError, match=r"argument `x`: got .* \(3, 64\)"):
        af.xrai(net[3], torch.ones(3, 64).double(), target=0)
    with pytest.raises(af.ArgumentError, match="argument `regions`: got an empty list"):
        af.xrai(net, X, target=0, regions=[])
    for mask in (MASKS[0].double(), MASKS[0][0], MASKS[0][..., :4], MASKS[0] - 1, MASKS[2][:2]):
        with pytest.raises(af.ArgumentError, match=r"argument `regions`: .*\(1, 1, 6, 6\) or with 3 in front"):
            af.xrai(net, X, target=0, regions=mask)
    for baselines in ([], X):
        with pytest.raises(af.ArgumentError, match=r"argument `baselines`: .* a list of at least one"):
            af.xrai(net, X, target=0, regions=MASKS, baselines=baselines)
