"""The tokens of a vision transformer as the image that they are."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe

__all__ = ["tokens_to_grid"]


def tokens_to_grid(*, skip: int = 1, size: Sequence[int] | None = None) -> Callable[[Tensor], Tensor]:
    """What brings tokens `(B, skip + H * W, C)` into the form `(B, C, H, W)`, for `reshape` of `af.grad_cam`.

    Where the score reads the class token alone, choose a layer before tokens are mixed for the last time, such as the
    norm in front of the last attention: behind it no other token has a gradient.

    Args:
        skip: How many tokens stand before those of the image: 1 for a class token, more with a distillation token or
            registers.
        size: Number of patches `(H, W)`, row by row; a square by default. Any number of dimensions.

    Returns:
        The callable. It raises `ArgumentError` where the tokens do not fill the grid.

    Raises:
        ArgumentError: If `skip` is negative, or `size` holds anything but positive numbers.

    Example:
        >>> tokens = torch.arange(2 * 7 * 3).view(2, 7, 3)
        >>> grid = af.viz.tokens_to_grid(size=(2, 3))(tokens)
        >>> grid.shape
        torch.Size([2, 3, 2, 3])
        >>> torch.equal(grid[1, :, 1, 2], tokens[1, 6])
        True
    """
    skip = _whole("skip", skip, 0, "a number of tokens, 0 or more")
    grid = None if size is None else _grid(size)

    def reshape(tokens: Tensor) -> Tensor:
        if not isinstance(tokens, Tensor) or tokens.dim() != 3 or tokens.shape[1] <= skip:
            raise _error(
                "tokens",
                describe(tokens),
                f"tokens (B, {skip} + H * W, C)",
                "Choose a layer that gives the tokens, or another `skip`.",
            )
        image = tokens[:, skip:].transpose(1, 2)
        count = image.shape[2]
        shape = grid or (math.isqrt(count),) * 2
        if math.prod(shape) != count:
            raise _error(
                "size",
                f"{size} for {count} tokens, the first {skip} of {tokens.shape[1]} being skipped",
                "a grid of as many places" if grid else "a square number of tokens",
                "Pass size=(H, W), the number of patches, or another `skip`.",
            )
        return image.unflatten(2, shape)

    return reshape


def _grid(size: Any) -> tuple[int, ...]:
    expected, fix = "positive whole numbers (H, W)", "Pass the number of patches in each dimension."
    if not isinstance(size, Sequence) or isinstance(size, str) or not size:
        raise _error("size", describe(size), expected, fix)
    return tuple(_whole("size", part, 1, expected) for part in size)


def _whole(name: str, value: Any, least: int, expected: str) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise _error(name, describe(value), expected, "Count tokens, not pixels.")
    return number


def _error(argument: str, got: str, expected: str, fix: str) -> ArgumentError:
    return ArgumentError(argument, got, expected, fix).within("tokens_to_grid", settled=True)
