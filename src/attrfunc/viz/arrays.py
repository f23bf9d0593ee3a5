"""What pictures take: tensors on any device, arrays and lists become arrays of float64, or an error says why not."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, AttributionError, describe

__all__ = ["Array", "choice", "described", "drawing", "named", "require_shape", "text", "to_array"]

Array = np.ndarray[Any, Any]
P = ParamSpec("P")
T = TypeVar("T")


def drawing(function: Callable[P, T]) -> Callable[P, T]:
    """Make a function a public one of `af.viz`: its errors name it.

    Args:
        function: What draws.

    Returns:
        The same, with its name in every error that comes out.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except AttributionError as error:
            raise error.within(function.__name__)  # noqa: B904  # the same error, now with its name

    return call


def to_array(name: str, value: Any, *, empty: bool = False) -> Array:
    """Real numbers of any form as an array of float64; the tensor's graph and device stay behind.

    Args:
        name: The argument's name, for errors.
        value: A tensor, an array or nested lists of numbers.
        empty: Whether there may be none.
    """
    found = _from_tensor(name, value) if isinstance(value, Tensor) else _from_array(name, value)
    if not empty and found.size == 0:
        raise ArgumentError(
            name, f"{described(value)}, which is empty", "at least one number", "There is nothing to draw."
        )
    return found


def _from_tensor(name: str, value: Tensor) -> Array:
    if value.is_complex():
        fix = "Pass its real part or its size: value.real or value.abs()."
        raise ArgumentError(name, describe(value), "real numbers", fix)
    if value.is_meta or torch._C._functorch.is_functorch_wrapped_tensor(value):
        fix = "Return the attributions from vmap, grad or jacrev, and draw them outside."
        raise ArgumentError(name, f"{describe(value)} that holds no numbers yet", "a tensor outside transforms", fix)
    if value.is_nested:
        raise ArgumentError(name, "a nested tensor", "one shape for all", f"Draw one part: {name}.unbind()[0].")
    dense = value.detach().to_dense() if value.layout is not torch.strided else value.detach()
    numbers: Array = dense.cpu().to(torch.float64).resolve_neg().numpy()  # some devices have no float64
    return numbers


def _from_array(name: str, value: Any) -> Array:
    expected = "a tensor, an array or a list of numbers"
    try:
        found = np.asanyarray(_without_tensors(name, value))
        if found.dtype == object and all(isinstance(one, bool | int | float | np.generic) for one in found.flat):
            found = np.array(found.tolist()).reshape(found.shape)  # a table of truth values and numbers
        if found.dtype.kind not in "biuf":
            raise TypeError
    except (TypeError, ValueError):
        fix = "Pass torch.Tensor, numpy.ndarray or a list of floats."
        raise ArgumentError(name, describe(value), expected, fix) from None
    if isinstance(found, np.ma.MaskedArray):
        seen: Array = np.ma.filled(
            np.ma.asarray(found, np.float64), np.nan
        )  # what is behind the mask is not to be seen
        return seen
    return np.asarray(found, dtype=np.float64).copy()


def _without_tensors(name: str, value: Any) -> Any:
    """Lists of any depth with arrays in place of tensors, which may have a graph or lie on a device."""
    if isinstance(value, Tensor):
        return _from_tensor(name, value)
    return [_without_tensors(name, part) for part in value] if isinstance(value, list | tuple) else value


def described(value: Any) -> str:
    """Shape and dtype of a tensor or an array, or what else it is."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    return describe(value)


def require_shape(name: str, found: Array, shape: tuple[int, ...], of: str, fix: str) -> None:
    """Check that an argument has the shape of another one."""
    if found.shape != shape:
        raise ArgumentError(name, f"shape {found.shape}", f"{shape}, the shape of {of}", fix)


def choice(name: str, value: Any, known: Iterable[str]) -> str:
    """Check that an argument is one of the names that are known."""
    known = tuple(known)
    if not isinstance(value, str) or value not in known:
        listed = ", ".join(map(repr, known))
        raise ArgumentError(name, describe(value), f"one of {listed}", f"Pass {name}={known[0]!r}, say.")
    return value


def text(value: Any) -> str:
    """What is written: none where there is none, and no half of a character, which neither fonts nor files know."""
    return "" if value is None else str(value).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def named(name: str, names: Any, count: int, default: str) -> list[str]:
    """As many names as there are things to be named.

    Args:
        name: The argument's name.
        names: What the user passed; None numbers them.
        count: How many are needed.
        default: What stands before a number.
    """
    if names is None:
        return [f"{default} {number}".strip() for number in range(count)]
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ArgumentError(name, describe(names), f"a list of {count} names", "Pass a list of strings.")
    listed = [text(str(one)) for one in names]
    if len(listed) != count:
        expected = f"{count}, as many as there are values"
        raise ArgumentError(name, f"{len(listed)} names", expected, "Pass one name for each, in the same order.")
    return listed
