"""Kinds of input: how what a user gives becomes what a model takes, and what attributions of it are drawn on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe, positive
from attrfunc.insights.uploads import to_tensor

__all__ = ["Image", "Input", "Kind", "Table", "Text", "Value"]

Kind = Literal["image", "text", "table"]


class Value(NamedTuple):
    """A value, and the code that makes it; without code it has to be saved."""

    value: Any
    code: str


class Input(Protocol):
    """One argument of the model.

    Attributes:
        kind: What it is.
        name: What it is called on the page.
    """

    kind: ClassVar[Kind]

    @property
    def name(self) -> str:
        """What it is called on the page."""

    def read(self, value: Any) -> Tensor:
        """What the model takes, `(1, *S)`, of what a user gives; a tensor `S` is taken to be that already."""

    def baselines(self, x: Tensor, code: str) -> dict[str, Value]:
        """By name, what may stand in place of `x`, which the code calls `code`; the first is the default."""


def _require_scale(name: str, value: Any, count: int, divides: bool = False) -> None:
    """Raise for what scales a channel or column, unless it is one number for all or one for each."""
    listed = value.tolist() if hasattr(value, "tolist") else value
    each = tuple(listed) if isinstance(listed, tuple | list) else (listed,)
    right = all(isinstance(one, Real) and math.isfinite(one) and (one or not divides) for one in each)
    if not right or len(each) not in (1, count):
        fix = f"Pass {name}={0.5 if divides else 0.0}, say."
        other = " other than zero, by which inputs are divided" if divides else ""
        raise ArgumentError(name, describe(value), f"a number, or {count} of them{other}", fix)


@dataclass(frozen=True)
class Image:
    """A picture, whose channels are scaled and shifted.

    Attributes:
        size: Height and width that the model takes: the middle of a picture is cut out and resized. None takes pictures
            as they are, scaled down to 512 pixels.
        mean: What is subtracted from values between 0 and 1, for all channels or for each.
        std: What they are divided by then.
        channels: 3, or 1 for grey.
        name: What it is called on the page.

    Example:
        >>> picture = af.insights.Image(size=(8, 8), mean=0.5, std=0.5)
        >>> picture.read(torch.zeros(3, 8, 8)).shape
        torch.Size([1, 3, 8, 8])
    """

    size: tuple[int, int] | None = (224, 224)
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0
    channels: int = 3
    name: str = "picture"
    kind: ClassVar[Kind] = "image"

    def __post_init__(self) -> None:
        """Check the parts."""
        if self.size is not None:
            if not isinstance(self.size, tuple | list) or len(self.size) != 2:
                raise ArgumentError("size", describe(self.size), "height and width", "Pass size=(224, 224), say.")
            object.__setattr__(self, "size", (positive("size", self.size[0]), positive("size", self.size[1])))
        if self.channels not in (1, 3):
            raise ArgumentError("channels", describe(self.channels), "3, or 1 for grey", "Pass channels=3.")
        _require_scale("mean", self.mean, self.channels)
        _require_scale("std", self.std, self.channels, divides=True)

    def read(self, value: Any) -> Tensor:
        """What the model takes, `(1, C, H, W)`, of bytes, a path, PIL's `Image` or an array; a tensor is that."""
        if isinstance(value, Tensor):
            expected = f"({self.channels}, H, W)"
            if value.ndim != 3 or len(value) != self.channels:
                fix = "Pass it as the model takes it, without the batch dimension."
                raise ArgumentError(self.name, describe(value), f"a tensor {expected}", fix)
            return value[None]
        picture = to_tensor(value, self.size, self.channels)
        return ((picture - self._of(self.mean)) / self._of(self.std))[None]

    def photo(self, x: Tensor) -> Tensor:
        """What is shown of `(1, C, H, W)`: values from 0 to 1."""
        return (x[0].detach().float().cpu() * self._of(self.std) + self._of(self.mean)).clamp(0, 1)

    def baselines(self, x: Tensor, code: str) -> dict[str, Value]:
        """The zero that the model sees, black, grey and white."""
        shades = {"black": 0.0, "grey": 0.5, "white": 1.0}
        made = {name: self._shade(level, x, code) for name, level in shades.items()}
        return {"zero": Value(torch.zeros_like(x), f"torch.zeros_like({code})"), **made}

    def photo_code(self, code: str) -> str:
        """The code of `photo`."""
        mean, std = _number_code(self.mean), _number_code(self.std)
        return f"({code}[0] * {std} + {mean}).clamp(0, 1)"

    def _shade(self, level: float, x: Tensor, code: str) -> Value:
        value = ((level - self._of(self.mean)) / self._of(self.std)).to(x) + torch.zeros_like(x)
        formula = f"({level} - {_number_code(self.mean)}) / {_number_code(self.std)}"
        return Value(value, f"{formula} + torch.zeros_like({code})")

    def _of(self, value: float | tuple[float, ...]) -> Tensor:
        return torch.as_tensor(value, dtype=torch.float32).reshape(-1, 1, 1)


@dataclass(frozen=True)
class Text:
    """A text, cut into tokens.

    Attributes:
        encode: The numbers of a text's tokens.
        decode: Their pieces, one for each number.
        embedding: The layer that embeds them, by name: methods that take gradients attribute to its output.
        padding: The token that stands in place of others in baselines.
        keep: How many tokens at the beginning are the same in baselines, such as a mark of the beginning.
        longest: The most tokens that are taken.
        name: What it is called on the page.

    Example:
        >>> letters = af.insights.Text(lambda text: [ord(one) % 32 for one in text], lambda ids: list("?" * len(ids)))
        >>> letters.read("abc")
        tensor([[1, 2, 3]])
    """

    encode: Callable[[str], Sequence[int]]
    decode: Callable[[Sequence[int]], Sequence[str]]
    embedding: str | None = None
    padding: int = 0
    keep: int = 0
    longest: int = 512
    name: str = "text"
    kind: ClassVar[Kind] = "text"

    def read(self, value: Any) -> Tensor:
        """The numbers of tokens `(1, T)` of a text; a tensor `(T,)` is these."""
        if isinstance(value, Tensor):
            if value.ndim != 1 or value.is_floating_point():
                raise ArgumentError(self.name, describe(value), "numbers of tokens (T,)", "Pass one text's.")
            return value[None].long()
        if not isinstance(value, str) or not value.strip():
            raise ArgumentError(self.name, describe(value), "a text of at least one word", "Write one.")
        ids = list(self.encode(value))
        if not self.keep < len(ids) <= self.longest:
            expected = f"at most {self.longest}" if len(ids) > self.longest else f"more than {self.keep}"
            raise ArgumentError(self.name, f"a text of {len(ids)} tokens", expected, "Shorten it, or write more.")
        return torch.tensor([ids])

    def pieces(self, x: Tensor) -> list[str]:
        """What is read of each token of `(1, T)`."""
        return [str(piece) for piece in self.decode(x[0].tolist())]

    def baselines(self, x: Tensor, code: str) -> dict[str, Value]:
        """Padding."""
        padded = torch.where(torch.arange(x.shape[1], device=x.device) < self.keep, x, self.padding)
        kept = f"torch.arange({code}.shape[1]) < {self.keep}"
        return {"padding": Value(padded, f"torch.where({kept}, {code}, {self.padding})")}


@dataclass(frozen=True)
class Table:
    """A row of a table.

    Attributes:
        columns: The names of its columns.
        mean: What is subtracted from each, or from all.
        std: What they are divided by then.
        name: What it is called on the page.

    Example:
        >>> af.insights.Table(("age", "dose"), mean=(40.0, 1.0), std=(10.0, 1.0)).read({"age": 50, "dose": 3})
        tensor([[1., 2.]])
    """

    columns: tuple[str, ...]
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0
    name: str = "row"
    kind: ClassVar[Kind] = "table"

    def __post_init__(self) -> None:
        """Check the parts."""
        if isinstance(self.columns, str) or not self.columns or len(set(self.columns)) < len(self.columns):
            fix = "Pass columns=('age', 'dose'), say."
            raise ArgumentError("columns", describe(self.columns), "names of columns, each once", fix)
        _require_scale("mean", self.mean, len(self.columns))
        _require_scale("std", self.std, len(self.columns), divides=True)

    def read(self, value: Any) -> Tensor:
        """What the model takes, `(1, F)`, of a mapping, numbers in order, or lines `column = number`."""
        if isinstance(value, Tensor):
            if value.shape != (len(self.columns),):
                raise ArgumentError(self.name, describe(value), f"a tensor ({len(self.columns)},)", "Pass one row.")
            return value[None]
        if isinstance(value, str):
            value = self._lines(value)
        if isinstance(value, Mapping):
            if missing := [column for column in self.columns if column not in value]:
                got = f"a row without {', '.join(map(repr, missing[:3]))}"
                raise ArgumentError(self.name, got, f"all of {len(self.columns)} columns", "Add what is missing.")
            value = [value[column] for column in self.columns]
        numbers = self._numbers(value)
        return ((numbers - torch.as_tensor(self.mean)) / torch.as_tensor(self.std))[None].float()

    def raw(self, x: Tensor) -> list[float]:
        """The numbers of `(1, F)` as the user knows them."""
        numbers = x[0].detach().double().cpu() * torch.as_tensor(self.std) + torch.as_tensor(self.mean)
        return [float(f"{number:.6g}") for number in numbers.tolist()]

    def lines(self, x: Tensor) -> str:
        """A row as it is written on the page."""
        return "\n".join(f"{name} = {number:g}" for name, number in zip(self.columns, self.raw(x), strict=True))

    def baselines(self, x: Tensor, code: str) -> dict[str, Value]:
        """The zero that the model sees: the mean, where rows are scaled."""
        return {"zero": Value(torch.zeros_like(x), f"torch.zeros_like({code})")}

    def _lines(self, text: str) -> dict[str, str]:
        lines = [line for line in text.splitlines() if line.strip()]
        found = {}
        for line in lines:
            name, sign, number = line.rpartition("=")
            if not sign or name.strip() not in self.columns:
                fix = "Write one line for each: name = number."
                raise ArgumentError(self.name, f"the line {line[:80]!r}", "a column of the table", fix)
            found[name.strip()] = number.strip()
        return found

    def _numbers(self, value: Any) -> Tensor:
        fix = "Pass one number for each column, in their order."
        try:
            numbers = torch.tensor([float(one) for one in value], dtype=torch.float64)
        except (TypeError, ValueError) as error:
            raise ArgumentError(self.name, f"{describe(value)} ({error})", "numbers", fix) from None
        if len(numbers) != len(self.columns):
            raise ArgumentError(self.name, f"{len(numbers)} numbers", f"{len(self.columns)}", fix)
        if not numbers.isfinite().all():
            raise ArgumentError(self.name, "a number that is not finite", "finite numbers", fix)
        return numbers


def _number_code(value: float | tuple[float, ...]) -> str:
    """The code of one number, or of one for each channel."""
    if isinstance(value, tuple):
        return f"torch.tensor({tuple(map(float, value))}).view(-1, 1, 1)"
    return repr(float(value)) if value >= 0 else f"({float(value)!r})"
