"""Where the classes look: at the model's input, at layers, and what drives a neuron."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

import attrfunc as af
from attrfunc.core.errors import ArgumentError

__all__ = ["explained", "shared"]

_JOINT: dict[str, Any] = {"joint": True, "cut": "cut"}


def explained(explainer: Any, at: str, options: dict[str, Any]) -> Any:
    """What an object of a class explains: a model or a view; options that say so are taken out, or put in.

    Args:
        explainer: The object.
        at: See `attrfunc.captum.faces.face`.
        options: The options of the function that explains it.
    """
    model = explainer.forward_func
    if at == "model":
        return model
    layer = explainer.layer
    if isinstance(layer, list | tuple) and at.startswith("one"):
        got, fix = f"{len(layer)} layers", "The functions of attrfunc take lists, and share one pass among them."
        raise ArgumentError("layer", got, "one layer", fix)
    if layer is None:  # all modules without parts
        layer = [module for module in model.modules() if not list(module.children())]
    if at.endswith("inside"):
        options["layer"] = layer
        return model
    if at == "neuron":
        return af.neuron(model, layer, options.pop("neuron"), side=options.pop("side"))
    return af.layer(model, layer, side=options.pop("side", "output"), joint=_JOINT.get(at, False))


def shared(selector: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A neuron selector of one number for the whole batch as one that gives each row its share."""

    def share(activation: Any) -> Any:
        chosen, rows = selector(activation), len(pytree.tree_leaves(activation)[0])
        one = isinstance(chosen, Tensor) and chosen.numel() == 1
        return chosen.reshape(1).expand(rows) / rows if one else chosen

    return share
