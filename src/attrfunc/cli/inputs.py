"""What is explained: pictures, texts and tensors from files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attrfunc.cli.failures import UsageError
from attrfunc.cli.models import Loaded, first_tensor
from attrfunc.core.errors import AttributionError

__all__ = ["PICTURES", "Preparation", "Seen", "is_picture", "preparation", "read_picture", "read_tensor", "read_text"]

PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
TENSORS = {".npy", ".pt", ".safetensors"}
MOST_PIXELS = 100_000_000


@dataclass(frozen=True)
class Preparation:
    """How a picture becomes what a model takes: the middle is cut out and resized, scaled to 0..1, shifted and scaled.

    Attributes:
        size: Height and width; None leaves the picture as it is.
        mean: What is subtracted, for each channel or for all.
        std: What is divided by.
        channels: 3 colours, or 1 for grey.
        processor: An image processor of transformers, in place of all that.
    """

    size: tuple[int, int] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: int = 3
    processor: Any = None


@dataclass(frozen=True)
class Seen:
    """A picture.

    Attributes:
        x: What the model takes, `(1, C, H, W)`.
        photo: What is drawn, `(C, H, W)` from 0 to 1.
    """

    x: Tensor
    photo: Tensor


def is_picture(given: str) -> bool:
    """Whether an input is a file of a picture, by its name."""
    return Path(given).suffix.lower() in PICTURES


def preparation(loaded: Loaded, size: str | None, mean: str | None, std: str | None, grey: bool) -> Preparation:
    """What the options say, and the model where they do not.

    Raises:
        UsageError: If an option is not of the form that it should have.
    """
    processor = None if size or mean or std else loaded.processor
    sides = _sides(size)
    example = first_tensor(loaded.example)
    channels = 1 if grey else 3
    if example is not None and example.dim() == 4:
        sides = sides or (example.shape[-2], example.shape[-1])
        channels = 1 if example.shape[1] == 1 else channels
    config = getattr(getattr(loaded.model, "config", None), "image_size", None)
    if sides is None and processor is None and config is not None:
        sides = (config, config) if isinstance(config, int) else (int(config[0]), int(config[1]))
    means, stds = _numbers("--mean", mean, channels) or (0.0,), _numbers("--std", std, channels) or (1.0,)
    if 0.0 in stds:
        raise UsageError(f"--std {std!r}: expected numbers that are not zero; pixels are divided by them.")
    return Preparation(sides, means, stds, channels, processor)


def _sides(text: str | None) -> tuple[int, int] | None:
    if not text:
        return None
    parts = text.lower().replace("x", ",").split(",")
    try:
        numbers = [int(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or min(numbers) < 1 or max(numbers) > 10_000:
        raise UsageError(f"--size {text!r}: expected one side or height,width in pixels, such as 224 or 224,320.")
    return numbers[0], numbers[-1]


def _numbers(option: str, text: str | None, channels: int) -> tuple[float, ...] | None:
    if not text:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, channels):
        raise UsageError(f"{option} {text!r}: expected one number, or {channels}, one for each channel: 0.5,0.5,0.5.")
    return numbers


def read_picture(path: Path, how: Preparation) -> Seen:
    """Read a picture, and make of it what the model takes.

    Raises:
        UsageError: If there is no such file, or it is no picture.
        AttributionError: If Pillow is not installed.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise AttributionError("pictures need Pillow. Install it: pip install 'attrfunc[viz]'.") from None
    if not path.is_file():
        raise UsageError(f"there is no file {str(path)!r}.")
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise UsageError(
                    f"{str(path)!r} has {opened.width} x {opened.height} pixels; expected 100 million at most."
                )
            picture = ImageOps.exif_transpose(opened).convert("L" if how.channels == 1 else "RGB")
    except UsageError:
        raise
    except Exception as error:  # whatever Pillow makes of a file
        raise UsageError(f"{str(path)!r} is not a picture that Pillow reads: {error}") from error
    if how.processor is not None:
        x = how.processor(images=picture, return_tensors="pt")["pixel_values"]
        return Seen(x, _unit(x[0]))
    if how.size is not None:
        height, width = how.size
        picture = ImageOps.fit(picture, (width, height), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(picture, dtype=np.float32) / 255)
    photo = pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1)
    mean, std = (torch.tensor(numbers).view(-1, 1, 1) for numbers in (how.mean, how.std))
    return Seen(((photo - mean) / std)[None].contiguous(), photo)


def _unit(x: Tensor) -> Tensor:
    """Numbers from 0 to 1, to be drawn."""
    low, high = x.min(), x.max()
    return (x - low) / (high - low).clamp(min=1e-12)


def read_text(given: str) -> str:
    """A text: of standard input for `-`, of a file that ends in .txt, or the words themselves.

    Raises:
        UsageError: If it is empty, or a file that is not there.
    """
    path = Path(given) if len(given) < 4096 else None
    if given == "-":
        text = sys.stdin.read()
    elif path is not None and path.suffix in (".txt", ".md"):
        if not path.is_file():
            raise UsageError(f"there is no file {given!r}.")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(f"{given!r} is not a text in UTF-8: {error}.") from None
    else:
        text = given
    if not text.strip():
        raise UsageError("the text is empty.")
    return text


def read_tensor(path: Path) -> Tensor:
    """A tensor of a file: .npy, .pt (tensors alone), or .safetensors with one tensor.

    Raises:
        UsageError: If there is none.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {str(path)!r}.")
    try:
        if path.suffix == ".npy":
            return torch.from_numpy(np.load(path, allow_pickle=False))
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a pickle of other things, or no file of either's
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{str(path)!r} is not a tensor by itself: {line}") from error
    if not isinstance(found, Tensor):
        raise UsageError(f"{str(path)!r} holds {type(found).__name__}; expected a tensor (B, *S).")
    return found


def labels_of(path: Path | None, loaded: Loaded) -> dict[int, str]:
    """Names of the classes, by number: of a file with one in each line, or the model's own."""
    if path is None:
        return loaded.classes or {}
    if not path.is_file():
        raise UsageError(f"there is no file {str(path)!r}.")
    return dict(enumerate(path.read_text(encoding="utf-8").splitlines()))


def class_number(target: str | None, labels: dict[int, str]) -> int | None:
    """The number of a class, by its number or name; None for none.

    Raises:
        UsageError: If there is no such class.
    """
    if target is None:
        return None
    try:
        return int(target)
    except ValueError:
        pass
    found = [number for number, name in labels.items() if target.lower() == name.lower()]
    found = found or [number for number, name in labels.items() if target.lower() in name.lower()]
    if len(found) == 1:
        return found[0]
    known: Sequence[str] = [f"{number} ({labels[number]})" for number in found[:6]]
    told = f"it may be {', '.join(known)}" if found else "no class has this name; pass its number, or --labels"
    raise UsageError(f"--target {target!r}: {told}.")
