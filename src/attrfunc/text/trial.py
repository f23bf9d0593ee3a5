"""What is tried before it is relied on: that a model reads ahead of nothing, and each prompt by itself."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ModelError
from attrfunc.text.continuation import Continuation

__all__ = ["agree", "is_causal", "require_causal", "shortened", "steps"]


def agree(one: Tensor, other: Tensor, model: Any) -> bool:
    """Whether numbers are the same, up to the rounding of a model's precision."""
    half = getattr(model, "dtype", torch.float32) in (torch.float16, torch.bfloat16)
    return torch.allclose(one, other, rtol=5e-2 if half else 1e-5, atol=5e-2 if half else 1e-4)


def shortened(function: Any) -> Any:
    """The same function of an answer without its last token; itself, where that cannot be told or leaves nothing."""
    if not isinstance(function, Continuation) or len(function.ids) < 2 or function.columns != len(function.ids):
        return function
    made = copy.copy(function)
    made.ids = function.ids[:-1]
    made.foil = None if function.foil is None else function.foil[:-1]
    made.fed = None if function.fed is None else function.fed[:-1]
    return made


def steps(function: Any) -> list[Any]:
    """The function of the first token of an answer, of the first two, and so on to itself."""
    found = [function]
    while (short := shortened(found[-1])) is not found[-1]:
        found.append(short)
    return found[::-1]


def is_causal(function: Any, ids: Tensor, numbers: Tensor | None = None) -> bool:
    """Whether what a model says of a token is the same whatever stands behind it.

    Args:
        function: The model with its answer.
        ids: A prompt `(1, L)`.
        numbers: What the function gives, where that is known.
    """
    short = shortened(function)
    if short is function:
        return True
    with torch.no_grad():
        before = short(ids)
        after = function(ids) if numbers is None else numbers
    return agree(before.cpu(), after[:, : before.shape[1]].cpu(), function.model)


def require_causal(function: Continuation, ids: Tensor) -> None:
    """Check that a model does not look ahead: one pass reads an answer, and it would see what it is asked for.

    Raises:
        ModelError: If it does.
    """
    if not is_causal(function, ids):
        raise ModelError(
            f"the {type(function.model).__name__} looks ahead: what it says of a token changes with the tokens behind "
            "it, so that one pass does not tell how probable an answer is. Pass a causal model (for BERT and its like "
            "config.is_decoder=True), a target of one token (target=[token]), or a method that perturbs, such as "
            "feature_ablation, which reads each token in a pass of its own then."
        )
