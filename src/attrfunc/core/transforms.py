"""The two transforms that everything is built on, and what torch.func says when it cannot trace a model."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import _functorch
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ModelError

__all__ = [
    "differentiated",
    "explain",
    "inside",
    "known",
    "pullback",
    "require_finite",
    "transformed",
    "worst",
    "wrapped",
]


def differentiated(value: Tensor) -> bool:
    """Whether anyone outside differentiates through `value`: plain autograd, or an outer grad, vjp or jacrev.

    A batched or dual tensor answers `requires_grad` for its own level only, so every level is asked.
    """
    if torch.compiler.is_compiling():
        return True  # A compiler drops what is not used; it cannot trace the question.
    while not value.requires_grad:
        if not _functorch.is_functorch_wrapped_tensor(value):
            return False
        value = _functorch.get_unwrapped(value)
    return True


def known(condition: Tensor) -> bool | None:
    """The truth of a scalar tensor, or None where a transform hides it (vmap, compilation)."""
    if torch.compiler.is_compiling():
        return None
    while _functorch.is_functorch_wrapped_tensor(condition):
        if _functorch.is_batchedtensor(condition):
            return None
        condition = _functorch.get_unwrapped(condition)
    return None if condition.is_meta else bool(condition)


def worst(values: Tensor) -> list[float]:
    """The numbers in a vector; under vmap, the largest of all entries that are mapped together."""
    while _functorch.is_functorch_wrapped_tensor(values):
        mapped = _functorch.maybe_get_bdim(values) if _functorch.is_batchedtensor(values) else None
        values = _functorch.get_unwrapped(values)
        values = values if mapped is None else values.amax(mapped)
    numbers: list[float] = values.tolist()
    return numbers


def pullback(function: Callable[[list[Tensor]], Tensor], point: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Value and gradient of a scalar function.

    The same as `torch.func.grad_and_value`, but the backward pass records a graph of its own only when someone outside
    differentiates the result. `torch.func.grad` always records it: 1.1 to 1.7 x the time, and the memory of all
    intermediate gradients. Under the caller's `torch.no_grad()` nothing that is returned has a graph.

    Args:
        function: Maps a list of tensors to a scalar.
        point: Where to differentiate.

    Returns:
        The value, and one gradient for each tensor of `point`, zeros where the value does not depend on it.
    """
    wanted = torch.is_grad_enabled()
    with torch.enable_grad():  # Some kernels (oneDNN's LSTM) keep what their backward needs only in this mode.
        value, pull = torch.func.vjp(function, point)  # type: ignore[misc]  # three values only with has_aux
    with torch.set_grad_enabled(wanted and differentiated(value)):
        (gradient,) = pull(torch.ones_like(value), retain_graph=False)
    return (value, gradient) if wanted else (value.detach(), [leaf.detach() for leaf in gradient])


def wrapped(value: Tensor) -> bool:
    """Whether a transform of torch.func has wrapped this tensor."""
    return _functorch.is_functorch_wrapped_tensor(value)


def transformed(tree: Any) -> bool:
    """Whether a transform or plain autograd works through any tensor of a structure.

    Fused kernels have no second derivative, no forward-mode and no batching rule.
    """
    leaves = [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]
    return any(leaf.requires_grad or (not torch.compiler.is_compiling() and wrapped(leaf)) for leaf in leaves)


def inside(value: Tensor) -> Tensor:
    """What the innermost transform wraps."""
    return value if torch.compiler.is_compiling() or not wrapped(value) else _functorch.get_unwrapped(value)


def require_finite(value: Tensor) -> None:
    """Raise if a score is infinite or not a number, where that can be seen."""
    if known(torch.isfinite(value)) is False:
        raise ModelError(
            f"the score is not finite (its sum is {float(value)}), so no attribution of it means anything. Look for "
            "overflow, log(0) or 0/0 in the model at the input, the baseline, or between them."
        )


def explain(error: RuntimeError) -> ModelError | None:
    """What torch.func means where it cannot trace a model; None for an error of the model's own."""
    message = str(error)
    if "saved tensor hooks" in message:
        return ModelError(
            f"torch.func cannot trace gradient checkpointing{_module_culprit(error)}, nor other saved-tensor hooks. "
            + _CHECKPOINT
        )
    if "setup_context" not in message:
        return None
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    names = [frame.f_locals["cls"].__name__ for frame in frames if isinstance(frame.f_locals.get("cls"), type)]
    name = names[-1] if names else "?"
    if name == "CheckpointFunction":
        return ModelError(f"torch.func cannot trace gradient checkpointing{_module_culprit(error)}. {_CHECKPOINT}")
    if name == "BackwardHookFunction":
        return ModelError(
            f"torch.func cannot run the full backward hooks{_module_culprit(error)}. Remove them: handle.remove()."
        )
    return ModelError(
        f"torch.func cannot trace the autograd.Function {name!r}{_module_culprit(error)}, which has no "
        "setup_context. Split its forward into forward and setup_context, and set generate_vmap_rule = True."
    )


_CHECKPOINT = (
    "Switch gradient checkpointing off for the attribution (torch.utils.checkpoint; for a transformers model: "
    "model.gradient_checkpointing_disable())."
)


def _module_culprit(error: BaseException) -> str:
    """The innermost module whose forward was running."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    owners = [frame.f_locals["self"] for frame in frames if isinstance(frame.f_locals.get("self"), nn.Module)]
    return f" in {type(owners[-1]).__name__}" if owners else ""
