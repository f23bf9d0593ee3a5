"""Superpixels: as many as asked for, each in one piece, along the edges of objects."""

import numpy as np
import pytest
import torch
from skimage import data
from skimage.measure import label

import attrfunc as af
from attrfunc.perturbation.joining import join_neighbours


def photograph(load, side=96):
    pixels = torch.from_numpy(load()).movedim(-1, 0)[None].double()
    return torch.nn.functional.interpolate(pixels, (side, side), mode="area")


def disc(side=48, radius=15):
    rows, columns = np.indices((side, side)) - side // 2 + 3
    return torch.from_numpy(rows**2 + columns**2 < radius**2)


IMAGES = {
    "coffee": lambda: photograph(data.coffee),
    "astronaut": lambda: photograph(data.astronaut),
    "noise": lambda: torch.rand(1, 3, 60, 40, generator=torch.Generator().manual_seed(0)),
    "one colour": lambda: torch.full((1, 3, 64, 64), -2.5),
    "one bright pixel": lambda: torch.eye(50)[:, :1].mul(torch.eye(50)[:1])[None, None] * 1e6,
    "two channels": lambda: torch.rand(1, 2, 30, 70, generator=torch.Generator().manual_seed(1)),
    "one row": lambda: torch.arange(100.0).view(1, 1, 1, 100),
    "integers": lambda: torch.arange(3 * 20 * 20).view(1, 3, 20, 20) % 251,
}


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("count", [1, 8, 20, 75])
def test_as_many_as_asked_for_and_each_in_one_piece(name, count):
    mask = af.masks.superpixels(IMAGES[name](), n_segments=count)[0, 0]
    assert mask.unique().tolist() == list(range(count))
    for number in range(count):
        assert label((mask == number).numpy(), connectivity=1).max() == 1


def test_an_image_of_fewer_pixels_has_one_for_each():
    assert af.masks.superpixels(torch.rand(1, 3, 4, 5), n_segments=50).flatten().tolist() == list(range(20))


@pytest.mark.parametrize("channels", [1, 3])
def test_they_follow_the_object(channels):
    inside = disc()
    noise = torch.rand(1, channels, 48, 48, generator=torch.Generator().manual_seed(0))
    mask = af.masks.superpixels(inside + 0.2 * noise, n_segments=12, sigma=0.5)[0, 0]
    # The part of each patch on the smaller side of the disc's edge; a grid of 12 cells has 0.13 of all pixels there.
    strays = sum(min(inside[mask == n].sum(), (~inside)[mask == n].sum()) for n in range(12))
    assert strays < 0.01 * inside.numel()


def test_more_compactness_makes_them_more_equal():
    image = photograph(data.coffee)
    spread = [
        af.masks.superpixels(image, n_segments=16, compactness=c).flatten().bincount().double().std() for c in (5, 1000)
    ]
    assert spread[1] < 0.5 * spread[0]


def test_each_image_by_itself():
    images = torch.cat([photograph(data.coffee), photograph(data.astronaut)])
    both = af.masks.superpixels(images, n_segments=10)
    assert both.equal(torch.cat([af.masks.superpixels(one[None], n_segments=10) for one in images]))


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"image": torch.full((1, 3, 8, 8), torch.nan)}, "image"),
        ({"image": torch.zeros(0, 3, 8, 8)}, "image"),
        ({"image": torch.zeros(1, 3, 8, 8, dtype=torch.complex64)}, "image"),
        ({"n_segments": 0}, "n_segments"),
        ({"n_segments": 2.5}, "n_segments"),
        ({"compactness": 0}, "compactness"),
        ({"compactness": "10"}, "compactness"),
        ({"sigma": -1.0}, "sigma"),
        ({"sigma": float("nan")}, "sigma"),
    ],
)
def test_what_cannot_be_is_refused_by_name(options, argument):
    call = {"image": torch.rand(1, 3, 8, 8), **options}
    with pytest.raises(af.ArgumentError, match=f"superpixels: argument `{argument}`"):
        af.masks.superpixels(call.pop("image"), **call)


def test_the_cheapest_union_of_neighbours_comes_first():
    pieces = np.array([[0, 1, 2, 3]])
    features = np.array([0.0, 5.0, 5.5, 0.1])[None, :, None]  # 0 and 3 are alike, but not neighbours
    assert join_neighbours(pieces, features, 3).tolist() == [[0, 1, 1, 2]]
    # The unions {0, 1, 2} and {1, 2, 3} add (2 / 3) 5.25 ** 2 and (2 / 3) 5.15 ** 2.
    assert join_neighbours(pieces, features, 2).tolist() == [[0, 1, 1, 1]]
    assert join_neighbours(pieces, features, 1).tolist() == [[0, 0, 0, 0]]
