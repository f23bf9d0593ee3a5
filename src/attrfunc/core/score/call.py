"""What a method may be called with: checked before anything runs, in words of what the user passed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.model.parts import named_modules
from attrfunc.core.score.views import View
from attrfunc.core.trees import leaves_of

__all__ = ["require_call"]


def require_call(view: View, x: Any, args: Any, kwargs: Any) -> None:
    """Raise where an argument cannot be right, whatever the model is.

    Args:
        view: The view.
        x: The input.
        args: Further positional arguments of the model.
        kwargs: Keyword arguments of the model.
    """
    if isinstance(args, Tensor | str | bytes) or not isinstance(args, Sequence):
        raise ArgumentError(
            "args", describe(args), "a tuple of further arguments", "Pass args=(value,) for a single one."
        )
    if kwargs is not None and not (isinstance(kwargs, Mapping) and all(isinstance(name, str) for name in kwargs)):
        raise ArgumentError(
            "kwargs",
            describe(kwargs),
            "None, or a dict of the model's keyword arguments",
            "Pass kwargs={'name': value}.",
        )
    for leaf in leaves_of(x):
        if view.differentiated and not view.sites and not leaf.is_floating_point():
            raise ArgumentError(
                "x", describe(leaf), "floating-point inputs, which have a gradient", _embedding_hint(view, leaf)
            )


def _embedding_hint(view: View, leaf: Tensor) -> str:
    parts = named_modules(view.model).items()
    names = [repr(name) for name, part in parts if isinstance(part, nn.Embedding | nn.EmbeddingBag)]
    if leaf.is_complex():
        return "Pass torch.view_as_real(x), and let the model begin with torch.view_as_complex."
    if not names:
        return (
            "Pass x.float() if they are quantities. If they are identifiers, attribute to the embedding layer, "
            "af.layer(model, embedding), or take a method without gradients, such as feature_ablation."
        )
    return f"Attribute to the model's embedding layer (it has {', '.join(names)}): af.layer(model, {names[0]})."
