"""Captum's gradients, of which users write classes of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

import attrfunc as af
from attrfunc.core.errors import warn as tell

__all__ = ["apply_gradient_requirements", "compute_gradients", "undo_gradient_requirements"]


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
    further = additional_forward_args
    args = () if further is None else further if isinstance(further, tuple) else (further,)
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
