"""Attacks on inputs in half precision: the model sees these, all else is computed in single precision.

Steps, norms and Adam's averages have factors down to 1e-30, which are 0 in half precision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from attrfunc.core.score.baseline import fitted
from attrfunc.core.score.views import View

__all__ = ["in_single"]


def in_single(function: Callable[..., Tensor], view: View, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """Call an attack, if its input is in half precision on the input in single precision.

    Args:
        function: The attack, `(view, x, **options)`.
        view: The model.
        args: The input, unless it stands among the keywords.
        kwargs: Further arguments.

    Returns:
        What the attack gives, in the dtype of the input.
    """
    options = dict(kwargs)
    x = args[0] if args else options.get("x")
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.dtype.itemsize >= 4 or view.sites or view.output:
        return function(view, *args, **kwargs)
    bounds = options.get("bounds")
    if isinstance(bounds, tuple | list):
        # Ends are those that the input's own dtype knows: what stands at one is not beyond it.
        options["bounds"] = [_rounded(end, x) for end in bounds]
    tensors = None if view.tensors is None else {f"model.{name}": tensor for name, tensor in view.tensors.items()}
    view = replace(view, model=_Narrow(view.model, x.dtype), tensors=tensors)
    first = () if not args else (x.float(), *args[1:])
    if not args:
        options["x"] = x.float()
    return function(view, *first, **options).to(x.dtype)


def _rounded(end: Any, x: Tensor) -> Any:
    if not isinstance(end, Real | Tensor) or isinstance(end, bool):
        return end
    return torch.as_tensor(fitted("bounds", end, x), dtype=x.dtype, device=x.device).float()


class _Narrow(nn.Module):
    """A model that is given its input in half precision."""

    def __init__(self, model: Callable[..., Any], dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype = model, dtype
        self.training = getattr(model, "training", False)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        return self.model(x.to(self.dtype), *args, **kwargs)
