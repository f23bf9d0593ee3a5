"""Maps and photographs: their layouts, and how a map and a photograph become one picture."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError
from attrfunc.viz.arrays import Array, choice, described, to_array
from attrfunc.viz.scales import Scale

__all__ = [
    "STYLES",
    "Channels",
    "Style",
    "layers",
    "looks_turned",
    "missing_note",
    "photograph",
    "require_fit",
    "style_of",
    "to_map",
]

Style = Literal["heat", "overlay", "masked", "alpha"]
Channels = Literal["first", "last"]
STYLES: tuple[Style, ...] = ("heat", "overlay", "masked", "alpha")
COLOURS = (1, 3, 4)  # numbers of channels that a photograph may have
LUMA = np.array([0.299, 0.587, 0.114])  # how light red, green and blue look (ITU-R BT.601)
OPACITY, GAMMA = 0.9, 0.8  # of a map over a photograph; gamma lets small values show


def to_map(name: str, attributions: Any, channels: Any) -> Array:
    """Attributions as one number for each position `(H, W)`: the sum over channels.

    Args:
        name: The argument's name.
        attributions: `(C, H, W)`, or `(H, W, C)` with `channels="last"`, or `(H, W)`.
        channels: Where channels stand.
    """
    values = _with_channels(name, to_array(name, attributions), attributions, channels)
    with np.errstate(all="ignore"):  # infinities of both signs, and sums beyond the largest float, are not finite
        summed: Array = values.sum(0)
    return summed


def photograph(image: Any, channels: Any, name: str = "image") -> Array:
    """A photograph as red, green, blue and opacity `(H, W, 4)`, from 0 to 1.

    Args:
        image: As attributions, with 1 channel (grey), 3 (red, green, blue) or 4 (and opacity): floats from 0 to 1, or
            integers from 0 to 255.
        channels: Where channels stand.
        name: The argument's name.
    """
    values = _with_channels(name, to_array(name, image), image, channels)
    if values.shape[0] not in COLOURS:
        fix = "Choose the channels to be shown, image[[3, 2, 1]] say, or one of them."
        raise ArgumentError(name, f"{values.shape[0]} channels", "1 (grey), 3 (colours) or 4 (with opacity)", fix)
    top = 255.0 if _whole(image) else 1.0
    # Resized images go slightly beyond.
    if not np.isfinite(values).all() or values.min() < -1e-3 * top or values.max() > 1.001 * top:
        got = f"values from {values.min():.3g} to {values.max():.3g} of {described(image)}"
        fix = "Undo the model's normalisation, image * std + mean, or stretch it: (image - min) / (max - min)."
        if np.isfinite(values).all() and values.min() >= 0 and 1 < values.max() <= 255 and top == 1:
            fix = "If they are from 0 to 255 pass image / 255; if not stretch it: (image - min) / (max - min)."
        raise ArgumentError(name, got, "floats from 0 to 1, or integers from 0 to 255", fix)
    pixels = np.moveaxis(np.clip(values / top, 0, 1), 0, -1)
    pixels = np.repeat(pixels, 3, 2) if pixels.shape[2] == 1 else pixels
    return pixels if pixels.shape[2] == 4 else np.concatenate([pixels, np.ones_like(pixels[..., :1])], 2)


def _whole(image: Any) -> bool:
    """Whether its values are integers; truth values are not."""
    if isinstance(image, Tensor):
        return not image.is_floating_point() and image.dtype != torch.bool
    if isinstance(image, list | tuple):
        return all(_whole(part) for part in image)
    return np.asarray(image).dtype.kind in "iu"


def require_fit(values: Array, photo: Array, name: str = "attributions") -> None:
    """Check that a map has the positions of its photograph."""
    if values.shape != photo.shape[:2]:
        fix = "Resize a layer's map: af.viz.interpolate(attributions, image.shape[-2:])."
        got = f"a map of {values.shape[0]} x {values.shape[1]} positions"
        raise ArgumentError(name, got, f"those of the image, {photo.shape[0]} x {photo.shape[1]}", fix)


def style_of(style: Any, sign: str, pictured: bool, cmap: Any) -> Style:
    """Check that a style is known, and goes with the other arguments."""
    found: Any = choice("style", style, STYLES)
    if found != "heat" and not pictured:
        raise ArgumentError("image", "None", f"a photograph, which {found!r} shows", 'Pass it, or style="heat".')
    if found in ("masked", "alpha"):
        if sign == "all":
            fix = 'Pass sign="positive", "negative" or "absolute".'
            raise ArgumentError("sign", "'all'", f"one sign: {found!r} shows sizes alone", fix)
        if cmap is not None:
            fix = 'Leave it out, or pass style="overlay".'
            raise ArgumentError("cmap", described(cmap), f"None: {found!r} shows the photograph's own colours", fix)
    return found


def layers(style: Style, shares: Array, photo: Array | None, paint: Any, opacity: float | None = None) -> list[Array]:
    """The pictures `(H, W, 4)` that lie over each other.

    Args:
        style: The style.
        shares: Shares of the full colour `(H, W)`.
        photo: The photograph.
        paint: What gives shares their colours `(H, W, 4)`.
        opacity: Of a map over a photograph; None is that of the share, over a pale photograph.
    """
    if style == "heat" or photo is None:
        return [paint(shares)]
    kept = np.nan_to_num(np.abs(shares))[..., None]
    if style == "masked":
        return [np.concatenate([photo[..., :3] * kept, photo[..., 3:]], 2)]
    if style == "alpha":
        return [np.concatenate([photo[..., :3], photo[..., 3:] * kept], 2)]
    heat = paint(shares)
    heat[..., 3] = OPACITY * np.where(np.isnan(shares), 1.0, kept[..., 0] ** GAMMA) if opacity is None else opacity
    return [_grey(photo, pale=opacity is None), heat]


def _grey(photo: Array, pale: bool) -> Array:
    light = (photo[..., :3] @ LUMA * photo[..., 3] + 1 - photo[..., 3])[..., None]
    light = 0.6 + 0.4 * light if pale else light
    return np.concatenate([np.repeat(light, 3, 2), np.ones_like(light)], 2)


def _with_channels(name: str, values: Array, given: Any, channels: Any) -> Array:
    """An array `(C, H, W)`, if its layout is what `channels` says."""
    last = choice("channels", channels, ("first", "last")) == "last"
    form = "(H, W, C)" if last else "(C, H, W)"
    expected = f'{form}, as channels="{channels}" says, or (H, W)'
    if values.ndim == 2:
        return values[None]
    if values.ndim != 3:
        fix = f"Pass one example: {name}[0]." if values.ndim == 4 else f"Bring it into the form {form}."
        raise ArgumentError(name, described(given), expected, fix)
    if looks_turned(values, last):
        other, order = ("first", "1, 2, 0") if last else ("last", "2, 0, 1")
        there = "(C, H, W)" if last else "(H, W, C)"
        turned = _turned(given, name, order)
        fix = f'It looks like {there}: pass channels="{other}" if all arguments are, or {turned}. '
        fix += f"If it is {form}, pass the sum over channels."
        raise ArgumentError(name, described(given), expected, fix)
    return np.moveaxis(values, 2, 0) if last else values


def looks_turned(values: Array, last: bool) -> bool:
    """Whether few numbers stand where positions are said to be, and many where channels are.

    Small maps are taken as they are said.

    Args:
        values: Of three dimensions.
        last: Whether channels are said to stand last.
    """
    first, middle, behind = values.shape
    meant, looks = (behind, first) if last else (first, behind)
    return looks <= max(COLOURS) and meant > max(COLOURS) and middle > max(COLOURS)


def _turned(given: Any, name: str, order: str) -> str:
    return f"{name}.permute({order})" if isinstance(given, Tensor) else f"numpy.transpose({name}, ({order}))"


def missing_note(scale: Scale, style: str = "heat") -> str:
    """What is said of values that are not finite."""
    few = "1 value is" if scale.missing == 1 else f"{scale.missing} values are"
    return f"{few} not finite: {'hidden' if style in ('masked', 'alpha') else 'green'}" if scale.missing else ""
