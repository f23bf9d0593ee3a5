"""Corruptions of images by weather: fog, snow, frost, and what splashes onto a lens."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attrfunc.robust.filters import Draw, gray, kornia, pixels, places_of, sampled, smooth_noise, smoothed

__all__ = ["fog", "frost", "snow", "spatter"]

ICE = (0.80, 0.88, 0.95)
WATER = (0.69, 0.93, 0.93)
MUD = (0.25, 0.16, 0.08)


def fog(image: Tensor, level: tuple[float, float], draw: Draw) -> Tensor:
    """Fractal clouds in front of an image.

    Args:
        image: Images from 0 to 1.
        level: How thick they are, and how fast their details fade.
        draw: The source of randomness.
    """
    thickness, decay = level
    side = max(*image.shape[2:], 3)
    random = lambda shape, **_: draw(torch.rand, image.new_zeros(shape))  # noqa: E731
    size, form = (len(image), 1, side, side), {"device": image.device, "dtype": image.dtype}
    plasma = kornia().contrib.diamond_square(size, 1 / decay, 1.0, random, normalize_range=(0, 1), **form)
    plasma = plasma[:, :, : image.shape[2], : image.shape[3]]
    brightest = image.amax((1, 2, 3), keepdim=True)
    return (image + thickness * plasma) * brightest / (brightest + thickness)


def snow(image: Tensor, level: tuple[float, ...], draw: Draw) -> Tensor:
    """Flakes that wind blows across an image whose ground is white.

    Args:
        image: Images from 0 to 1.
        level: How bright flakes are, their size, the deviation from which on there is one, how far it is seen to move,
            and how much of the image's own colour is left.
        draw: The source of randomness.
    """
    bright, size, least, length, own = level
    length = pixels(image, length)
    field = smooth_noise(draw(torch.randn, image[:, :1]), max(pixels(image, size), 0.3))
    flakes = (bright + 0.2 * (field - least)).clamp(max=1).masked_fill(field < least, 0.0)
    # Wind comes from above, from any side; a flake is brightest where it is now.
    angle = math.pi * (0.25 + 0.5 * draw(torch.rand, image[:, 0, 0, 0]))
    direction = torch.stack([angle.cos(), angle.sin()], 1)[:, None, None, :]
    places, count = places_of(image), math.ceil(length)
    shares = [math.exp(-4.5 * (number / count) ** 2) for number in range(count + 1)]
    moved = torch.zeros_like(flakes)
    for number, share in enumerate(shares):
        moved += share / sum(shares) * sampled(flakes, places - length * number / count * direction)
    white = torch.maximum(image, 1.5 * gray(image) + 0.5)
    return own * image + (1 - own) * white + moved + moved.flip((2, 3))


def frost(image: Tensor, level: tuple[float, float], draw: Draw) -> Tensor:
    """Ice on a window: crystals like ferns, from the frame inwards and in patches.

    Args:
        image: Images from 0 to 1.
        level: How much of the image is left, and how much ice is added.
        draw: The source of randomness.
    """
    left, added = level
    height, width = image.shape[2:]
    one = image[:, :1]
    patches = smooth_noise(draw(torch.randn, one), max(pixels(image, 24), 0.5))
    down, across = (places_of(image)[..., place] for place in (1, 0))
    edge = torch.minimum(torch.minimum(across, width - 1 - across), torch.minimum(down, height - 1 - down))
    frame = 1 - 2 * edge / max(1, min(height, width))
    cover = torch.sigmoid(2 * patches + 4 * frame - 0.5)
    return left * image + added * cover * (0.4 + 0.6 * _ferns(one, draw)) * tinted(image, ICE)


def _ferns(image: Tensor, draw: Draw) -> Tensor:
    """How bright crystals are, `(B, 1, H, W)`: each grows along a stem, with needles off to both sides."""
    rows, height, width = len(image), *image.shape[2:]
    count, unit = 60, max(pixels(image, 1), 0.3)
    seeds = draw(torch.rand, image.new_zeros(rows, count, 2)) * image.new_tensor([width, height])
    angles = 2 * math.pi * draw(torch.rand, image.new_zeros(rows, count))
    bend = smooth_noise(draw(torch.randn, image.expand(-1, 2, -1, -1)), 4 * unit)
    places = (places_of(image) + 0.8 * unit * bend.permute(0, 2, 3, 1)).flatten(1, 2)
    nearest = torch.cdist(places, seeds).argmin(2)
    across, down = (places - seeds.gather(1, nearest[..., None].expand(-1, -1, 2))).unbind(2)
    angle = angles.gather(1, nearest)
    along, beside = across * angle.cos() + down * angle.sin(), (down * angle.cos() - across * angle.sin()).abs()
    # Noise that is drawn out along the needles, at 60 degrees to the stem; every crystal begins elsewhere in it.
    side = max(height, width, 64)
    grain = smooth_noise(draw(torch.randn, image.new_zeros(rows, 1, side, side)), 1.0)
    needles = torch.stack(
        [beside / (10 * unit) + 7 * nearest, (along - beside / math.sqrt(3)) / (0.7 * unit) + side / 2], 2
    )
    needles = sampled(grain, needles.view(rows, height, width, 2))
    stem = 0.8 * (-(beside / unit).square()).exp().view(rows, 1, height, width)
    return torch.maximum(torch.sigmoid(3 * needles - 1), stem)


def spatter(image: Tensor, level: tuple[float, ...], draw: Draw) -> Tensor:
    """Drops of water on the lens, and mud at the two highest levels.

    Args:
        image: Images from 0 to 1.
        level: The size of drops, the deviation from which on there is one, how much they show, and whether it is mud.
        draw: The source of randomness.
    """
    size, least, strength, mud = level
    field = smooth_noise(draw(torch.randn, image[:, :1]), max(pixels(image, size), 0.3))
    if mud:
        cover = smoothed((field > least).to(image), max(pixels(image, strength), 0.3))
        cover = cover.masked_fill(cover < 0.8, 0.0)
        return image * (1 - cover) + cover * tinted(image, MUD)
    drop = 1 - (-2 * (field - least).clamp(min=0)).exp()
    # A drop is a lens: bright where it faces the light, above on the left, and clear on the other side.
    slope = drop - sampled(drop, places_of(image) - max(1.0, pixels(image, 2)))
    shine = 0.7 * drop * (1 + slope / slope.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12))
    return image + strength * shine * tinted(image, WATER)


def tinted(image: Tensor, colour: tuple[float, float, float]) -> Tensor:
    """A colour `(C, 1, 1)`; for other channels than red, green and blue, its brightness."""
    value = image.new_tensor(colour).view(1, 3, 1, 1)
    return value[0] if image.shape[1] == 3 else gray(value)[0]
