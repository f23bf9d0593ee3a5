"""Corruptions of images against numpy, scipy and Pillow, and accuracy under them."""

import colorsys
import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from skimage import data
from torch import nn

import attrfunc as af
from attrfunc.robust.corruptions import CORRUPTIONS
from small_nets import generator

A = af.robust


@pytest.fixture(scope="module")
def photo():
    """A coffee cup of 64 by 48 pixels, as one example, in double precision."""
    image = Image.fromarray(data.coffee()).crop((100, 0, 500, 300)).resize((64, 48))
    return torch.tensor(np.asarray(image) / 255).permute(2, 0, 1)[None]


def made(x, name, severity=3, **options):
    return A.corrupt(x, name=name, severity=severity, generator=generator(), **options)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_what_holds_for_all(name, photo):
    x = torch.cat([photo, photo.flip(3)])
    kept, found = x.clone(), made(x, name)
    assert found.shape == x.shape
    assert found.dtype == x.dtype
    assert torch.equal(x, kept)
    assert 0 <= found.min() <= found.max() <= 1
    assert torch.equal(found, made(x, name))
    if name != "saturation":  # whose levels take colour away at first, and add it then
        far = [(made(x, name, severity) - x).square().mean() for severity in (1, 3, 5)]
        assert 1e-6 < far[0] < far[1] < far[2] < 0.2
    # Other units, another memory format, half precision, small images.
    low, width = torch.tensor([-1.0, -2.0, 0.0]).view(1, 3, 1, 1).double(), 3.0
    scaled = made(low + width * x, name, bounds=(low, low + width))
    torch.testing.assert_close(scaled, low + width * found, atol=1e-6, rtol=0)
    torch.testing.assert_close(made(x.to(memory_format=torch.channels_last), name), found)
    assert (made(x.half(), name).double() - found).abs().mean() < 2e-3
    for height, width in ((1, 1), (2, 3), (1, 9)):
        assert made(x[..., :height, :width], name).isfinite().all()
    assert made(x[:0], name).shape == (0, 3, 48, 64)


def test_blurs_are_those_of_scipy(photo):
    x, plain = photo, photo[0].numpy()
    sigma = 3 * (48 / 224) ** 0.7
    truncate = round(4 * sigma + 0.5) / sigma
    expected = [ndimage.gaussian_filter(channel, sigma, mode="mirror", truncate=truncate) for channel in plain]
    torch.testing.assert_close(made(x, "gaussian_blur")[0], torch.tensor(np.array(expected)))
    radius = 6 * (48 / 224) ** 0.7
    disk = [[min(1, max(0, radius + 0.5 - np.hypot(a, b))) for a in range(-3, 4)] for b in range(-3, 4)]
    disk = np.array(disk) / np.sum(disk)
    expected = [ndimage.correlate(channel, disk, mode="mirror") for channel in plain]
    torch.testing.assert_close(made(x, "defocus_blur")[0], torch.tensor(np.array(expected)))
    # Along its path alone: what does not change along the path stays as it is.
    flat = x[..., :1].expand(-1, -1, -1, 64)
    for name in ("motion_blur", "zoom_blur"):
        torch.testing.assert_close(made(torch.full_like(x, 0.3), name), torch.full_like(x, 0.3))
    assert (made(flat, "motion_blur") - flat).abs().max() < 0.5


def test_colours_are_those_of_colorsys(photo):
    pixels = photo[0].permute(1, 2, 0).reshape(-1, 3).tolist()
    for name, change in (
        ("brightness", lambda h, s, v: (h, s, min(1, v + 0.3))),
        ("saturation", lambda h, s, v: (h, min(1, 2 * s), v)),
    ):
        expected = [colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*pixel))) for pixel in pixels]
        found = made(photo, name)[0].permute(1, 2, 0).reshape(-1, 3)
        torch.testing.assert_close(found, torch.tensor(expected).double(), atol=1e-5, rtol=0)
    mean = photo.mean((2, 3), keepdim=True)
    torch.testing.assert_close(made(photo, "contrast"), mean + 0.2 * (photo - mean))


def test_small_files_are_those_of_pillow(photo):
    """kornia's codec is not Pillow's to the bit, but nearer to it than to the image."""
    image = Image.fromarray((photo[0].permute(1, 2, 0) * 255).round().byte().numpy())
    stored = io.BytesIO()
    image.save(stored, "JPEG", quality=15)
    expected = torch.tensor(np.asarray(Image.open(stored)) / 255).permute(2, 0, 1)
    found = made(photo, "jpeg")[0]
    assert (found - expected).square().mean() < 0.2 * (photo[0] - expected).square().mean()
    even = photo[..., :40, :60]
    blocks = even.reshape(1, 3, 40, 60)
    found, small = made(even, "pixelate"), torch.nn.functional.adaptive_avg_pool2d(blocks, (16, 24))
    for row, column in ((0, 0), (17, 40), (39, 59)):
        place = int((row + 0.5) * 16 / 40), int((column + 0.5) * 24 / 60)
        torch.testing.assert_close(found[..., row, column], small[..., place[0], place[1]])


def test_noises_have_their_moments():
    """Mean and variance of each law, within five standard errors."""
    x, count = torch.full((1, 1, 300, 300), 0.4, dtype=torch.float64), 300 * 300
    laws = {"gaussian_noise": (0.4, 0.08**2), "speckle_noise": (0.4, (0.15 * 0.4) ** 2), "shot_noise": (0.4, 0.4 / 60)}
    for name, (mean, variance) in laws.items():
        found = made(x, name, 1)
        assert abs(float(found.mean()) - mean) < 5 * (variance / count) ** 0.5
        assert abs(float(found.var()) / variance - 1) < 5 * (2.2 / count) ** 0.5
    found = made(x, "impulse_noise", 1)
    for value in (0, 1):
        assert abs(float((found == value).double().mean()) - 0.015) < 5 * (0.015 / count) ** 0.5
    assert float((found == 0.4).double().mean()) == pytest.approx(0.97, abs=0.005)
    photons = (made(x, "shot_noise", 5) * 3).unique()
    torch.testing.assert_close(photons, photons.round())


def test_glass_moves_pixels_and_makes_none(photo, monkeypatch):
    """Without its blurs: the same pixels, within twice the reach of two passes, and the channels together."""
    monkeypatch.setattr("attrfunc.robust.corruptions.smoothed", lambda image, sigma: image)
    numbers = torch.arange(48 * 64).view(1, 1, 48, 64) / (48 * 64)
    found = made(torch.cat([numbers, 1 - numbers], 1).double(), "glass_blur", 4)
    assert torch.equal(found[0, 0].flatten().sort().values, numbers.double().flatten())
    torch.testing.assert_close(found[:, 1], 1 - found[:, 0])
    came_from = (found[0, 0] * 48 * 64).round().long()
    rows, columns = torch.meshgrid(torch.arange(48), torch.arange(64), indexing="ij")
    reach = 2 * 2 * 6 * (48 / 224) ** 0.7
    for moved in (came_from // 64 - rows, came_from % 64 - columns):
        assert 0 < moved.abs().max() < reach
        assert (moved != 0).double().mean() > 0.5


def test_weather_is_laid_over_the_image(photo):
    """Frost and drops are added, the same to every image; snow whitens by its formula; mud covers."""
    dark, light = 0.02 + 0.0 * photo, 0.05 + 0.1 * photo
    ice = [made(x, "frost", 5) - 0.6 * x for x in (dark, light)]
    torch.testing.assert_close(*ice)
    assert 0 < ice[0].min() < ice[0].max() <= 0.75 * 0.95 + 1e-9
    # More at the frame than in the middle, and somewhere else for another generator.
    many = made(torch.zeros(12, 1, 48, 64), "frost", 5)
    assert many[..., :6, :].mean() > 1.2 * many[..., 18:30, 24:40].mean()
    other = A.corrupt(dark, name="frost", severity=5, generator=generator(1)) - 0.6 * dark
    assert (other - ice[0]).abs().mean() > 0.02
    drops = [made(x, "spatter", 2) - x for x in (dark, light)]
    torch.testing.assert_close(*drops)
    assert drops[0].min() == 0
    assert 0.05 < (drops[0] > 0.01).double().mean() < 0.3
    # Mud: each pixel is the same mixture of the image and one colour, in all channels.
    mud, colour = made(photo, "spatter", 5), torch.tensor([0.25, 0.16, 0.08]).double().view(3, 1, 1)
    share = ((photo - mud) / (photo - colour).where((photo - colour).abs() > 0.05, torch.nan))[0]
    for channel in (1, 2):
        both = (share[0] - share[channel]).abs()
        assert both[both.isfinite()].max() < 1e-6
    clean = share[0][share[0].isfinite()]
    assert ((clean.abs() < 1e-6) | ((clean >= 0.8 - 1e-6) & (clean <= 1 + 1e-6))).all()
    # Snow on black: half of what is white is added, and flakes on both halves alike.
    black = torch.zeros_like(photo)
    ground = made(black, "snow", 1)
    assert float(ground.min()) == pytest.approx(0.2 * 0.5)
    torch.testing.assert_close(ground, ground.flip((2, 3)), atol=1e-6, rtol=0)
    assert torch.equal(ground[:, 0], ground[:, 1])


def test_accuracy_under_corruptions_stands_beside_attacks(photo):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 48 * 64, 20), nn.ReLU(), nn.Linear(20, 4)).double()
    x = (photo + 0.3 * torch.rand(30, 3, 1, 1, generator=generator()).double()).clamp(0, 1)
    labels = model(x).argmax(1)
    tried = {name: A.corruption(name, severity=4) for name in ("gaussian_noise", "fog", "brightness")}
    table = A.compare_attacks(tried, model, [(x, labels)], bounds=(0, 1), generator=generator())
    drawn = generator()
    for number, name in enumerate(tried, 1):
        found = A.corrupt(x, name=name, severity=4, generator=drawn)
        assert table.accuracy[number] == (model(found).argmax(1) == labels).double().mean()
    assert table.accuracy[-1] <= table.accuracy[:-1].min()


REFUSED = {
    "name": (lambda x: made(x, "haze"), "corrupt: argument `name`.*gaussian_noise"),
    "severity": (lambda x: made(x, "fog", 6), "`severity`.*1 to 5"),
    "outside": (lambda x: made(x * 2, "fog"), "corrupt: argument `bounds`.*exclude"),
    "bytes": (lambda x: made((x * 255).byte(), "fog"), "`x`.*divide bytes by 255"),
    "one image": (lambda x: made(x[0], "fog"), r"`x`.*x\[None\]"),
    "gray": (lambda x: made(x[:, :1], "jpeg"), "`x`.*1 channels for 'jpeg'"),
    "no bounds": (lambda x: made(x, "fog", bounds=None), "`bounds`.*finite"),
    "generator": (lambda x: A.corrupt(x, name="fog", generator=3), "`generator`"),
    "maker": (lambda x: A.corruption("fog", severity=0), "corruption: argument `severity`"),
    "radius": (lambda x: A.corruption("fog")(None, x, label=0, radius=0.1), r"corruption\(fog\): argument `radius`"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_corruptions(name, photo):
    call, message = REFUSED[name]
    with pytest.raises(af.ArgumentError, match=message):
        call(photo)
