"""Common corruptions of images: noise, blur, weather, digital ones (Hendrycks and Dietterich 2019), by kornia."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.score.method import named
from attrfunc.core.score.views import Model
from attrfunc.robust.ball import ball_around, drawn
from attrfunc.robust.filters import Draw, filtered, kornia, pixels, places_of, sampled, smoothed
from attrfunc.robust.weather import fog, frost, snow, spatter

__all__ = ["CORRUPTIONS", "corrupt", "corruption"]


def corrupt(
    x: Tensor,
    *,
    name: str,
    severity: int = 3,
    bounds: Any = (0.0, 1.0),
    generator: torch.Generator | None = None,
) -> Tensor:
    """Images as they come from a bad camera, in bad weather, or out of a small file.

    The levels are those of ImageNet-C, except `"elastic"` and `"jpeg"` (kornia's differentiable codec); lengths (of
    blurs, displacements) are those for a smaller side s of 224 pixels, times `(s / 224)^0.7`. Frost is procedural:
    crystals that grow from the frame inwards, where the paper pastes photographs of frost. `"glass_blur"` sorts pixels
    by jittered places, rows and then columns, where the paper swaps pairs. Needs kornia, `attrfunc[corruptions]`.

    Args:
        x: Images `(B, C, H, W)`, within the bounds.
        name: `"gaussian_noise"`, `"shot_noise"`, `"impulse_noise"`, `"speckle_noise"`; `"gaussian_blur"`,
            `"defocus_blur"`, `"glass_blur"`, `"motion_blur"`, `"zoom_blur"`; `"snow"`, `"frost"`, `"fog"`, `"spatter"`,
            `"brightness"`; `"contrast"`, `"saturation"`, `"pixelate"`, `"jpeg"`, `"elastic"`. `"brightness"`,
            `"saturation"` and `"jpeg"` need three channels, red, green and blue.
        severity: From 1 to 5.
        bounds: Black and white, `(low, high)`: numbers, or tensors that broadcast to `x`, as after a normalisation of
            each channel.
        generator: The source of randomness; `None` is torch's default generator.

    Returns:
        Images of the shape and dtype of `x`, within the bounds, without a graph.

    Raises:
        ArgumentError: If an argument cannot be right.
        AttributionError: If kornia is not installed, the extra `attrfunc[corruptions]`.

    Example:
        >>> x = torch.rand(2, 3, 32, 32)
        >>> af.robust.corrupt(x, name="contrast", severity=5).std() < 0.1 * x.std()
        tensor(True)

    Reference:
        Hendrycks, Dietterich: Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, ICLR
        2019, https://arxiv.org/abs/1903.12261.
    """
    return named("corrupt", _corrupted)(x, name, severity, bounds, generator)


def corruption(name: str, *, severity: int = 3) -> Callable[..., Tensor]:
    """A corruption as if it were an attack, for `compare_attacks`: accuracy under corruptions, with its intervals.

    Args:
        name: As in `corrupt`.
        severity: From 1 to 5.

    Returns:
        A function `(model, x, *, label, bounds=(0, 1), generator=None)` that gives corrupted images. It looks at no
        model and no label, and keeps no radius: a call with one is refused.

    Raises:
        ArgumentError: If an argument cannot be right.

    Example:
        >>> x = torch.rand(9, 3, 16, 16)
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 4))
        >>> tried = {f"fog {level}": af.robust.corruption("fog", severity=level) for level in (1, 3, 5)}
        >>> table = af.robust.compare_attacks(tried, model, [(x, model(x).argmax(1))], bounds=(0, 1))
        >>> table.attacks
        ('none', 'fog 1', 'fog 3', 'fog 5', 'any')
    """
    named("corruption", _check)(name, severity)

    def corrupted(
        model: Model, x: Tensor, /, *, label: Any, bounds: Any = (0.0, 1.0), generator: Any = None, **options: Any
    ) -> Tensor:
        kept = [key for key in ("radius", "norm") if options.get(key) is not None]
        if kept:
            fix = "Compare corruptions with each other, and attacks in another call."
            raise ArgumentError(kept[0], describe(options[kept[0]]), "none: corruptions keep no distance", fix)
        return _corrupted(x, name, severity, bounds, generator)

    return named(f"corruption({name})", corrupted)


def _check(name: str, severity: int) -> None:
    if name not in CORRUPTIONS:
        expected = f"one of {', '.join(CORRUPTIONS)}"
        raise ArgumentError("name", describe(name), expected, "Pass name='gaussian_noise', say.")
    if isinstance(severity, bool) or severity not in (1, 2, 3, 4, 5):
        raise ArgumentError("severity", describe(severity), "an integer from 1 to 5", "Pass severity=3, say.")


def _corrupted(x: Tensor, name: str, severity: int, bounds: Any, generator: torch.Generator | None) -> Tensor:
    _check(name, severity)
    if not isinstance(x, Tensor) or x.dim() != 4 or not x.is_floating_point() or not x.shape[1:].numel():
        fix = "Give it a dimension for the examples, x[None], and divide bytes by 255."
        raise ArgumentError("x", describe(x), "floating-point images (B, C, H, W)", fix)
    kind = CORRUPTIONS[name]
    if kind.coloured and x.shape[1] != 3:
        raise ArgumentError("x", f"images of {x.shape[1]} channels for {name!r}", "red, green and blue", "Repeat gray.")
    ball = ball_around(x.detach(), "linf", None, bounds)
    width = ball.high - ball.low
    if not bool(width.isfinite().all()):
        fix = "Pass what black and white are after normalisation; (0, 1) for pixels divided by 255."
        raise ArgumentError("bounds", describe(bounds), "two finite ends", fix)
    draw = lambda source, like: drawn(source, like, generator)  # noqa: E731
    # Half precision has no filters on the CPU; a channel whose bounds are equal stays as it is.
    image = ((ball.x - ball.low) / torch.where(width > 0, width, 1.0)).to(torch.promote_types(x.dtype, torch.float32))
    if len(image):
        image = kind.function(image, kind.levels[severity - 1], draw).clamp(0, 1)
    return ball.clipped(ball.low + image.to(x.dtype) * width)


def _noise(image: Tensor, level: float, draw: Draw) -> Tensor:
    return image + level * draw(torch.randn, image)


def _speckle(image: Tensor, level: float, draw: Draw) -> Tensor:
    return image + level * image * draw(torch.randn, image)


def _shot(image: Tensor, photons: float, draw: Draw) -> Tensor:
    # Inverted: the number of photons k is the least whose probability of up to k exceeds a uniform number.
    uniform, rate = draw(torch.rand, image).double(), image.double() * photons
    term = (-rate).exp()
    reached, count = term.clone(), torch.zeros_like(rate)
    for number in range(1, round(photons + 12 * photons**0.5) + 2):
        count = count + (uniform >= reached)
        term = term * rate / number
        reached = reached + term
    return (count / photons).to(image)


def _impulse(image: Tensor, share: float, draw: Draw) -> Tensor:
    uniform = draw(torch.rand, image)
    return image.masked_fill(uniform < share / 2, 0.0).masked_fill(uniform > 1 - share / 2, 1.0)


def _gaussian_blur(image: Tensor, sigma: float, draw: Draw) -> Tensor:
    return smoothed(image, pixels(image, sigma))


def _defocus_blur(image: Tensor, radius: float, draw: Draw) -> Tensor:
    """By a disk whose edge is as wide as a pixel."""
    radius = pixels(image, radius)
    reach = int(radius + 1)
    offset = torch.arange(-reach, reach + 1).double()
    disk = (radius + 0.5 - (offset[:, None].square() + offset.square()).sqrt()).clamp(0, 1)
    return filtered(image, (disk / disk.sum())[None])


def _glass_blur(image: Tensor, level: tuple[float, float, int], draw: Draw) -> Tensor:
    """Between two blurs, pixels change places with others that are near, at random."""
    sigma, reach = max(pixels(image, level[0]), 0.1), max(2 * pixels(image, level[1]), 1.0)
    image = smoothed(image, sigma)
    for _ in range(level[2]):
        for axis in (2, 3):
            shape = [1] * 4
            shape[axis] = image.shape[axis]
            places = torch.arange(image.shape[axis]).to(image).view(shape)
            order = (places + reach * (2 * draw(torch.rand, image[:, :1]) - 1)).argsort(axis)
            image = image.gather(axis, order.expand_as(image))
    return smoothed(image, sigma)


def _motion_blur(image: Tensor, length: float, draw: Draw) -> Tensor:
    size = 2 * max(1, round(pixels(image, length) / 2)) + 1
    angle = 90 * draw(torch.rand, image[:, 0, 0, 0]) - 45
    direction = torch.zeros_like(angle)
    kernel = kornia().filters.get_motion_kernel2d(size, angle, direction, mode="bilinear")
    return filtered(image, kernel / kernel.sum((1, 2), keepdim=True))


def _zoom_blur(image: Tensor, most: float, draw: Draw) -> Tensor:
    """The mean of the image and of its enlargements."""
    factors = torch.arange(1.0, most + 1e-6, 0.01 if most < 1.2 else 0.02 if most < 1.3 else 0.03)
    places, middle = places_of(image), image.new_tensor([image.shape[3] - 1, image.shape[2] - 1]) / 2
    zoomed = [sampled(image, middle + (places - middle) / factor) for factor in factors.tolist()]
    return torch.stack([image, *zoomed]).mean(0)


def _brightness(image: Tensor, added: float, draw: Draw) -> Tensor:
    colour = kornia().color
    hue, saturation, value = colour.rgb_to_hsv(image).unbind(1)
    return colour.hsv_to_rgb(torch.stack([hue, saturation, (value + added).clamp(0, 1)], 1))


def _saturation(image: Tensor, level: tuple[float, float], draw: Draw) -> Tensor:
    colour = kornia().color
    hue, saturation, value = colour.rgb_to_hsv(image).unbind(1)
    return colour.hsv_to_rgb(torch.stack([hue, (saturation * level[0] + level[1]).clamp(0, 1), value], 1))


def _contrast(image: Tensor, share: float, draw: Draw) -> Tensor:
    mean = image.mean((2, 3), keepdim=True)
    return (image - mean) * share + mean


def _pixelate(image: Tensor, share: float, draw: Draw) -> Tensor:
    height, width = image.shape[2:]
    small = interpolate(image, (max(1, int(height * share)), max(1, int(width * share))), mode="area")
    return interpolate(small, (height, width), mode="nearest-exact")


def _jpeg(image: Tensor, quality: float, draw: Draw) -> Tensor:
    height, width = image.shape[2:]
    # The codec takes whole blocks of 16 pixels.
    padded = torch.nn.functional.pad(image, (0, -width % 16, 0, -height % 16), mode="replicate")
    found = kornia().enhance.jpeg_codec_differentiable(padded, image.new_full((len(image),), quality))
    return found[:, :, :height, :width]


def _elastic(image: Tensor, level: tuple[float, float], draw: Draw) -> Tensor:
    """Pixels are displaced by smoothed noise, by at most so many pixels."""
    most, sigma = pixels(image, level[0]), max(pixels(image, level[1]), 0.5)
    noise = 2 * draw(torch.rand, image[:, :1].expand(-1, 2, -1, -1)) - 1
    smooth = smoothed(noise, sigma)
    spread = smooth.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
    return sampled(image, places_of(image) + (smooth / spread * most).permute(0, 2, 3, 1))


class _Kind(NamedTuple):
    """A corruption: a function `(image from 0 to 1, level, draw)`, its five levels, and whether it needs colours."""

    function: Callable[[Tensor, Any, Draw], Tensor]
    levels: tuple[Any, ...]
    coloured: bool = False


CORRUPTIONS: Mapping[str, _Kind] = {
    "gaussian_noise": _Kind(_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),
    "shot_noise": _Kind(_shot, (60, 25, 12, 5, 3)),
    "impulse_noise": _Kind(_impulse, (0.03, 0.06, 0.09, 0.17, 0.27)),
    "speckle_noise": _Kind(_speckle, (0.15, 0.2, 0.35, 0.45, 0.6)),
    "gaussian_blur": _Kind(_gaussian_blur, (1, 2, 3, 4, 6)),
    "defocus_blur": _Kind(_defocus_blur, (3, 4, 6, 8, 10)),
    "glass_blur": _Kind(_glass_blur, ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))),
    "motion_blur": _Kind(_motion_blur, (10, 15, 20, 25, 30)),
    "zoom_blur": _Kind(_zoom_blur, (1.1, 1.15, 1.2, 1.25, 1.3)),
    "snow": _Kind(
        snow,
        (
            (0.5, 1.2, 2.0, 10, 0.8),
            (0.5, 0.8, 1.5, 12, 0.7),
            (0.9, 1.6, 1.75, 12, 0.7),
            (0.85, 1.8, 1.5, 12, 0.65),
            (0.85, 1.0, 1.4, 12, 0.55),
        ),
    ),
    "frost": _Kind(frost, ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))),
    "fog": _Kind(fog, ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))),
    "spatter": _Kind(
        spatter, ((4, 1.9, 0.6, 0), (3, 1.05, 0.6, 0), (2, 0.7, 0.5, 0), (1, 0.0, 1.5, 1), (1, -0.15, 1.5, 1))
    ),
    "brightness": _Kind(_brightness, (0.1, 0.2, 0.3, 0.4, 0.5), coloured=True),
    "contrast": _Kind(_contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
    "saturation": _Kind(_saturation, ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)), coloured=True),
    "pixelate": _Kind(_pixelate, (0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg": _Kind(_jpeg, (25, 18, 15, 10, 7), coloured=True),
    "elastic": _Kind(_elastic, ((2, 3), (4, 4), (6, 5), (8, 6), (12, 8))),
}
"""All corruptions, by name; levels of motion blur are the lengths of the path."""
