"""What attacks maximise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe, warn
from attrfunc.robust.victim import Loss, Victim

__all__ = ["aimed_difference", "aimed_dlr", "loss_of", "margin", "margins", "warn_of_flat"]


def margin(logits: Tensor, labels: Tensor, aims: Tensor) -> Tensor:
    """The largest logit of another class, less the label's."""
    own = logits.gather(1, labels[:, None]).squeeze(1)
    return logits.scatter(1, labels[:, None], -torch.inf).amax(1) - own


def margins(victim: Victim, logits: Tensor) -> Tensor:
    """How far logits are beyond what fools a model: above 0 where they do."""
    found = margin(logits, victim.labels, victim.labels)
    return -found if victim.targeted else found


def aimed_difference(logits: Tensor, labels: Tensor, aims: Tensor) -> Tensor:
    """The logit of a class, less the label's."""
    return (logits.gather(1, aims[:, None]) - logits.gather(1, labels[:, None])).squeeze(1)


def aimed_dlr(logits: Tensor, labels: Tensor, aims: Tensor) -> Tensor:
    """That difference, divided by the distance of the largest logit to the mean of the third and the fourth."""
    largest = logits.topk(4, dim=1).values
    spread = largest[:, 0] - (largest[:, 2] + largest[:, 3]) / 2
    return aimed_difference(logits, labels, aims) / (spread + 1e-12)


def _cross_entropy(logits: Tensor, labels: Tensor, aims: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(logits, labels, reduction="none")


def _dlr(logits: Tensor, labels: Tensor, aims: Tensor) -> Tensor:
    largest = logits.topk(3, dim=1).values
    return margin(logits, labels, aims) / (largest[:, 0] - largest[:, 2] + 1e-12)


_BY_NAME: dict[str, Loss] = {"cross_entropy": _cross_entropy, "margin": margin, "dlr": _dlr}


def warn_of_flat(slope: Tensor, fooled: Tensor) -> None:
    """Say that examples have a gradient of 0 everywhere: they do not move, which is no robustness."""
    flat = ~slope.reshape(len(slope), slope.shape[1:].numel()).any(1) & ~fooled
    if bool(flat.any()):
        warn(
            f"the loss of {int(flat.sum())} of {len(flat)} examples have no gradient, so it cannot move them. "
            "Large logits saturate the cross-entropy: pass loss='margin', or take a square attack."
        )


def loss_of(given: Any, victim: Victim) -> Loss:
    """The loss that an attack maximises, as `attrfunc.robust.victim` documents it."""
    if isinstance(given, str) and given in _BY_NAME:
        if given == "dlr" and victim.classes < 3:
            fix = "Pass loss='margin', or 'cross_entropy'."
            raise ArgumentError("loss", "'dlr' for two classes", "three classes and more", fix)
        loss = _BY_NAME[given]
    elif isinstance(given, str) or not callable(given):
        expected = f"one of {', '.join(_BY_NAME)}, or a callable (logits, label) -> (B,)"
        raise ArgumentError("loss", describe(given), expected, "Pass loss='cross_entropy', say.")
    else:
        loss = _users(given)
    if not victim.targeted:
        return loss
    return lambda logits, labels, aims: -loss(logits, labels, aims)


def _users(function: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    def loss(logits: Tensor, labels: Tensor, aims: Tensor) -> Tensor:
        values = function(logits, labels)
        if not isinstance(values, Tensor) or values.shape != labels.shape:
            fix = "Do not reduce over the batch: reduction='none'."
            raise ArgumentError("loss", f"a callable that returns {describe(values)}", f"{len(labels)} numbers", fix)
        return values

    return loss
