"""The layers of class activation maps: a view at them, and their activations with the channels first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.model.engines import known
from attrfunc.core.model.sites import Side, find_sites
from attrfunc.core.score.places import AtLayers
from attrfunc.core.score.views import View

__all__ = ["Reshape", "at_layers", "channels_first", "require_callable"]

Reshape = Callable[[Tensor], Tensor]


def at_layers(view: View, layer: Any, side: Side, call: int | None) -> View:
    """The view at the layer, or layers, of a map.

    Args:
        view: The model, or a view of it that stands at no layer.
        layer: The layer, by name or as a module, or a list of these.
        side: Its input or its output.
        call: Which call of a layer that runs several times.

    Returns:
        The view.

    Raises:
        ArgumentError: If the view stands at a layer already, or the model has no such layer.
    """
    if view.sites:
        names = [site.name for site in view.sites]
        raise ArgumentError(
            "model",
            f"a view of layer {', '.join(map(repr, names))}",
            "a module, a callable, or a view by af.bind or af.neuron",
            f"Pass the model itself, and layer={names if view.place.several else names[0]!r}.",
        )
    several = not isinstance(layer, str | nn.Module)
    return replace(view, place=AtLayers(find_sites(view.model, layer, side, call, "layer"), several))


def require_callable(reshape: Any) -> None:
    """Raise if `reshape` is neither None nor a function."""
    if reshape is not None and not callable(reshape):
        raise ArgumentError(
            "reshape",
            describe(reshape),
            "None or a callable that maps the activation to (B, C, *S)",
            "For the tokens of a vision transformer pass af.viz.tokens_to_grid(), with size=(H, W) if not square.",
        )


def channels_first(values: Tensor, reshape: Reshape | None, rows: int, place: str) -> Tensor:
    """The activation as `(B, C, *S)`.

    Args:
        values: The activation.
        reshape: What brings it into this form, if it has another one.
        rows: Number of examples, B.
        place: Where it stands, in words.

    Raises:
        ArgumentError: If it has another form, or `reshape` changes values.
    """
    shaped = values if reshape is None else reshape(values)
    if not isinstance(shaped, Tensor) or shaped.dim() < 2 or shaped.shape[0] != rows:
        own = f"an activation of shape {tuple(values.shape)} at {place}"
        raise ArgumentError(
            "layer" if reshape is None else "reshape",
            own if reshape is None else f"{describe(shaped)}, from {own}",
            f"(B, C, *S): the {rows} examples first, then channels, then positions",
            "Pass attrfunc.grad_cam(..., reshape=) a callable that brings it into this form, or choose another layer."
            if reshape is None
            else "Return the rearranged activation.",
        )
    if reshape is not None:
        # Exact for whatever only moves numbers around; the gradient is not that of anything else.
        same = torch.isclose(reshape(-2 * values), -2 * shaped, rtol=0, atol=0, equal_nan=True).all()
        if known(same) is False:
            raise ArgumentError(
                "reshape",
                f"a function that is not linear at {place}",
                "one that rearranges and selects, since the gradient goes through it as well",
                "Move what changes values into the model, and choose the layer behind it.",
            )
    return shaped
