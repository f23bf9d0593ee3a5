"""Captum's gradients, of which users write classes of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

import attrfunc as af
from attrfunc.captum.convert import as_args
from attrfunc.captum.explainers import Explainer
from attrfunc.captum.forms import Inputs
from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.errors import warn as tell

__all__ = ["WithGradients", "apply_gradient_requirements", "compute_gradients", "undo_gradient_requirements"]


def compute_gradients(
    forward_fn: Callable[..., Any], inputs: Any, target_ind: Any = None, additional_forward_args: Any = None
) -> tuple[Tensor, ...]:
    """Gradients of what `target_ind` selects, with respect to each input; see `attrfunc.saliency`.

    Args:
        forward_fn: The model.
        inputs: A tensor, or a tuple of them; they need not require grad.
        target_ind: See `attrfunc.core.score.target`.
        additional_forward_args: What the model is called with after the inputs.
    """
    given = inputs if isinstance(inputs, tuple) else (inputs,)
    args = as_args(additional_forward_args)
    found: tuple[Tensor, ...] = af.saliency(forward_fn, given, target=target_ind, args=args, absolute=False)
    return tuple(part.detach() for part in found)


def apply_gradient_requirements(inputs: tuple[Tensor, ...], warn: bool = True) -> list[bool]:
    """Let inputs require grad; returns which of them did before."""
    before = [leaf.requires_grad for leaf in inputs]
    for place, leaf in enumerate(inputs):
        if leaf.is_floating_point() or leaf.is_complex():
            leaf.requires_grad_()
        elif warn:
            tell(f"input {place} has the type {leaf.dtype}, which has no gradients.")
    return before


def undo_gradient_requirements(inputs: tuple[Tensor, ...], grad_required: list[bool]) -> None:
    """Undo what `apply_gradient_requirements` did, which gave `grad_required`."""
    for leaf, required in zip(inputs, grad_required, strict=True):
        if not required:
            leaf.requires_grad_(False)


class WithGradients(Explainer):
    """Base of the classes that differentiate the model, which classes of one's own may do by `gradient_func`."""

    @property
    def gradient_func(self) -> Callable[..., tuple[Tensor, ...]]:
        """What gives gradients to classes of one's own: `(forward_fn, inputs, target, additional_forward_args)`."""
        found: Callable[..., tuple[Tensor, ...]] = vars(self).get("_gradient_func", compute_gradients)
        return found

    @gradient_func.setter
    def gradient_func(self, function: Callable[..., tuple[Tensor, ...]]) -> None:
        self._gradient_func = function

    def _called(self, function: Callable[..., Any], at: str, inputs: Inputs, options: dict[str, Any]) -> Any:
        if "_gradient_func" in vars(self):
            fix = "Give the model that gradient, by a torch.autograd.Function with setup_context, or define attribute."
            got, expected = describe(vars(self)["_gradient_func"]), "the model's gradients, which this class takes"
            raise ArgumentError("gradient_func", got, expected, fix)
        return super()._called(function, at, inputs, options)
