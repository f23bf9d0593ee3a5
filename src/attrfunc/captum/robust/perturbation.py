"""The base of attacks, and gradients of their losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attrfunc.captum.convert import as_args
from attrfunc.core.errors import ArgumentError, describe, warn
from attrfunc.core.score.method import method, open_problem
from attrfunc.core.score.target import canonical, select
from attrfunc.core.score.views import Model
from attrfunc.core.trees import batch_size

__all__ = ["GradientAttack", "Perturbation", "as_masks", "as_tuple", "losses_and_gradients"]

Loss = Callable[[Any, Any], Tensor]


class Perturbation:
    """Base of all attacks; calling one calls `perturb`."""

    perturb: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Perturb inputs."""
        return self.perturb(*args, **kwargs)


class GradientAttack(Perturbation):
    """Base of the attacks that follow the loss's gradient.

    Args:
        forward_func: The model.
        loss_func: `(outputs, target)` gives a loss, of each example or of the batch.
        lower_bound: The least value of an element.
        upper_bound: The largest.
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        loss_func: Loss | None = None,
        lower_bound: float = float("-inf"),
        upper_bound: float = float("inf"),
    ) -> None:
        super().__init__()
        self.forward_func = forward_func
        self.loss_func = loss_func
        self.bound: Callable[[Tensor], Tensor] = lambda x: torch.clamp(x, min=lower_bound, max=upper_bound)


def as_tuple(inputs: Any) -> tuple[Tensor, ...]:
    """Inputs as a tuple."""
    return inputs if isinstance(inputs, tuple) else (inputs,)


def as_masks(mask: Any, inputs: tuple[Tensor, ...]) -> list[Any]:
    """The masks of inputs, in a shape that broadcasts to theirs; 1 where there is none."""
    if mask is None:
        return [1] * len(inputs)
    masks = list(mask) if isinstance(mask, tuple | list) else [mask]
    if len(masks) != len(inputs) or not all(map(_fits, masks, inputs)):
        fix = "Pass one mask for each input, of its shape, or of one that broadcasts to it."
        raise ArgumentError("mask", describe(mask), f"shapes {[tuple(leaf.shape) for leaf in inputs]}", fix)
    return masks


def _fits(mask: Any, leaf: Tensor) -> bool:
    if isinstance(mask, bool | int | float):
        return True
    if not isinstance(mask, Tensor) or mask.dim() > leaf.dim():
        return False
    return all(own in (1, size) for own, size in zip(reversed(mask.shape), reversed(leaf.shape), strict=False))


@method
def losses_and_gradients(
    model: Model, inputs: tuple[Tensor, ...], target: Any, additional_forward_args: Any, loss_func: Loss | None
) -> tuple[Tensor, list[Tensor], bool]:
    """Losses `(B,)`, their gradients, and whether each example has a loss of its own."""
    rows, own = batch_size(inputs), []

    def loss(output: Any) -> Tensor:
        values = _default(output, target, rows) if loss_func is None else loss_func(output, target)
        if not isinstance(values, Tensor) or not values.is_floating_point():
            got = f"a callable that returns {describe(values)}"
            raise ArgumentError("loss_func", got, "a loss", "Let it return a tensor.")
        own.append(values.numel() == rows and values.dim() > 0)
        flat = values.reshape(-1)
        return flat if own[-1] else flat.sum().expand(rows) / max(rows, 1)

    problem = open_problem(model, inputs, loss, as_args(additional_forward_args), None)
    _, scores, gradients = problem.gradient()
    return scores.detach(), [part.detach() for part in gradients], own[-1]


def _default(output: Any, target: Any, rows: int) -> Tensor:
    """The negative logarithm of what is selected, taken for a probability, as in Captum.

    Of other numbers it is that of their size, which has the same gradient where there is a logarithm at all.
    """
    chosen = select(output, canonical(target, rows), rows)
    if bool(((chosen <= 0) | (chosen > 1)).any()):
        warn(
            "the default loss, -log of the target's output, is one of probabilities, and some outputs are none: of "
            "logits it leads astray. Pass loss_func=torch.nn.CrossEntropyLoss(reduction='none')."
        )
    return -chosen.abs().clamp(min=torch.finfo(chosen.dtype).tiny).log()
