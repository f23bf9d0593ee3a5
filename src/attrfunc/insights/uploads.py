"""Pictures that come from users: read with limits, and never run."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.extras import require

__all__ = ["MOST_BYTES", "MOST_PIXELS", "decoded", "fitted"]

MOST_BYTES = 20 * 2**20
MOST_PIXELS = 50 * 10**6  # 150 MB of memory once it is decoded
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
KINDS = "a picture: PNG, JPEG, WebP, GIF, BMP, TIFF or PPM"


def decoded(data: bytes, name: str = "the upload") -> Any:
    """A picture from the bytes of a file, as PIL's `Image` in red, green and blue.

    The size is read before the picture is: what would take more memory than allowed is never decoded. Opacity is laid
    on white, sixteen bits become eight, and of several frames the first is taken.

    Args:
        data: The bytes.
        name: What the file is called, for messages.

    Raises:
        ArgumentError: If it is empty, too large, or no picture.
    """
    require("PIL", "viz")
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise ArgumentError("image", f"{name!r}, an empty file", KINDS, "Choose another file.")
    if len(data) > MOST_BYTES:
        got = f"{name!r} of {len(data) / 2**20:.0f} MiB"
        raise ArgumentError("image", got, f"at most {MOST_BYTES // 2**20} MiB", "Save it smaller, or as JPEG.")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > MOST_PIXELS:
                # JPEG knows how to give an eighth of itself; other formats would have to be decoded whole.
                picture.draft("RGB", (max(width // 8, 1), max(height // 8, 1)))
            if picture.size[0] * picture.size[1] > MOST_PIXELS:
                raise _too_large(name, f"{width} x {height}")
            return _plain(picture)
    except UnidentifiedImageError:
        raise ArgumentError("image", f"{name!r}, which is no picture", KINDS, "Choose another file.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        count = re.search(r"\d+", str(error))
        raise _too_large(name, f"{int(count[0]) // 10**6} million" if count else "too many") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, ArgumentError):
            raise
        got = f"{name!r}, a damaged picture ({str(error)[:100]})"
        raise ArgumentError("image", got, KINDS, "Save it anew, or choose another file.") from None


def _too_large(name: str, count: str) -> ArgumentError:
    fix = "Scale it down first: models see a few hundred pixels a side."
    return ArgumentError("image", f"{name!r} of {count} pixels", f"at most {MOST_PIXELS // 10**6} million", fix)


def _plain(picture: Any) -> Any:
    """Red, green and blue of eight bits, on white, the way up that the camera says."""
    from PIL import Image, ImageOps

    picture.load()
    picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        values = np.asarray(picture, dtype=np.float64)
        # Sixteen bits by their range, other numbers by their own.
        top = 65535.0 if picture.mode.startswith("I") and values.min() >= 0 and values.max() <= 65535 else values.max()
        shares = np.nan_to_num(values / (top or 1.0)).clip(0, 1)
        return Image.fromarray((255 * shares).round().astype(np.uint8)).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        above = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", above.size, "white"), above).convert("RGB")
    return picture.convert("RGB")


def fitted(picture: Any, size: tuple[int, int] | None, most: int = 512) -> Any:
    """The middle of a picture, at the size that the model takes.

    Args:
        picture: PIL's `Image`.
        size: Height and width; None keeps the picture whole, and scales it down to `most` pixels a side.
        most: The longest side, where the model takes any.
    """
    from PIL import Image, ImageOps

    if size is None:
        picture = picture.copy()
        picture.thumbnail((most, most), Image.Resampling.BICUBIC)
        return picture
    return ImageOps.fit(picture, (size[1], size[0]), Image.Resampling.BICUBIC)


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)  # more is refused, and need not be read
    except OSError as error:
        fix = "Pass the path of a picture."
        raise ArgumentError("image", f"{str(path)!r} ({error.strerror})", "a file that can be read", fix) from None


def to_tensor(value: Any, size: tuple[int, int] | None, channels: int) -> Tensor:
    """A picture `(C, H, W)` with values from 0 to 1, of a file's bytes or path, PIL's `Image`, or an array.

    Raises:
        ArgumentError: If it is none of these.
    """
    require("PIL", "viz")
    from PIL import Image

    if isinstance(value, str | Path):
        value = decoded(_bytes(Path(value)), Path(value).name)
    elif isinstance(value, bytes):
        value = decoded(value)
    elif isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim in (2, 3):
        try:
            value = Image.fromarray(value)
        except (TypeError, ValueError):
            value = value.shape  # what it is instead is told below
    if not isinstance(value, Image.Image):
        fix = "Pass bytes of a file, its path, PIL's Image, or an array (H, W, 3) of unsigned bytes."
        raise ArgumentError("image", describe(value), "a picture", fix)
    array = np.asarray(fitted(_plain(value), size).convert("L" if channels == 1 else "RGB"))
    found = torch.from_numpy(array.copy()).float() / 255
    return found[None] if channels == 1 else found.permute(2, 0, 1).contiguous()
