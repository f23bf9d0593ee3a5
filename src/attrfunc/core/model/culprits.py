"""Which part of a model torch cannot differentiate or map, and what to do about it."""

from __future__ import annotations

import dis
import itertools
import traceback

import torch
from torch import nn

from attrfunc.core.errors import ModelError

__all__ = ["CHECKPOINT_FIX", "diagnose"]


def diagnose(error: Exception) -> ModelError | None:
    """What torch means where it cannot differentiate a model; None for an error of the model's own."""
    message = str(error)
    where = _module_culprit(error)
    if "saved tensor hooks" in message:
        return ModelError(
            f"neither torch.func nor an attribution at layers can do with gradient checkpointing{where}, or other "
            f"saved-tensor hooks: it runs layers again, without what was put there. {CHECKPOINT_FIX}"
        )
    if "derivative for " in message and "not implemented" in message:
        name = message.partition("derivative for ")[2].split()[0]
        return ModelError(
            f"the operation {name}{where} has no derivative in torch, so the score has no gradient. Write it in other "
            "operations, or take a method that needs no gradient, such as feature_ablation."
        )
    if "requires_grad_()" in message and "functorch" in message.lower():
        return ModelError(
            f"the model calls requires_grad_(){where}, which the transforms of torch.func do not allow. Attribute "
            "outside of them (no vmap, jacrev or grad around the call), or remove the call."
        )
    if "data pointer of Tensor that doesn't have storage" in message:
        return ModelError(
            f"the model reads the numbers of a tensor{where} (numpy(), data_ptr()), which has no gradient and which "
            "the transforms of torch.func do not allow. Compute it in torch, or take a method that needs no gradient, "
            "such as feature_ablation."
        )
    if "mutate a captured Tensor" in message or "mutating directly with `.data`" in message:
        return ModelError(
            f"the model writes into a tensor{where} that it keeps outside of itself, which the transforms of "
            "torch.func do not allow. Call model.eval() if these are batch statistics; else let it keep a buffer that "
            "it writes with copy_(), and pass the module itself and no function of it."
        )
    if "does not require grad and does not have a grad_fn" in message:
        return ModelError(
            f"the model takes a gradient itself{where}, which it cannot where gradients are switched off, as for runs "
            "that only give a score. Let it do so inside of `with torch.enable_grad():`."
        )
    if "random operation while in randomness error mode" in message:
        return ModelError(
            f"the model draws random numbers{where}, of which vmap has to know whether they are the same for all. "
            'Call model.eval() if that stops it; else torch.vmap(..., randomness="same"), or "different".'
        )
    if "Inference tensors" in message:
        return ModelError(
            f"the model reads tensors made under torch.inference_mode{where}, which cannot take part in a gradient. "
            "Clone them outside of it: tensor.clone()."
        )
    lacks = next((what for part, what in _LACKING.items() if part in message), None)
    return None if lacks is None else _function_culprit(error, where, *lacks)


_LACKING = {
    "setup_context": (
        "has no setup_context",
        "Split its forward into forward and setup_context, and set generate_vmap_rule = True.",
    ),
    "does not have vmap support": ("has no rule for vmap", "Set generate_vmap_rule = True in it."),
    "must implement the jvp function": ("has no rule for forward mode", "Define its jvp, or take reverse mode."),
}
"""What an autograd.Function can lack, by a part of torch's message, and the fix."""


def _function_culprit(error: Exception, where: str, lacks: str, fix: str) -> ModelError:
    name = _function_called(error)
    if name in ("CheckpointFunction", "_NoopSaveInputs"):
        return ModelError(f"torch.func cannot trace gradient checkpointing{where}. {CHECKPOINT_FIX}")
    if name == "BackwardHookFunction":
        return ModelError(f"torch.func cannot run the full backward hooks{where}. Remove them: handle.remove().")
    return ModelError(f"torch.func cannot trace the autograd.Function {name!r}{where}, which {lacks}. {fix}")


def _function_called(error: Exception) -> str:
    """The name of the autograd.Function that failed; later versions of torch call it without a frame of its own."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    classes = [frame.f_locals.get("cls") for frame in frames]
    names = [cls.__name__ for cls in classes if isinstance(cls, type) and issubclass(cls, torch.autograd.Function)]
    if names:
        return names[-1]
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    steps = (
        [step for step in dis.get_instructions(last.tb_frame.f_code) if step.offset <= last.tb_lasti] if last else []
    )
    calls = [of.argval for of, called in itertools.pairwise(steps) if called.argval == "apply"]  # as in Function.apply
    return str(calls[-1]) if calls else "?"


CHECKPOINT_FIX = (
    "Switch gradient checkpointing off for the attribution (torch.utils.checkpoint; for a transformers model: "
    "model.gradient_checkpointing_disable())."
)


def _module_culprit(error: BaseException) -> str:
    """The innermost module whose forward was running."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    owners = [frame.f_locals["self"] for frame in frames if isinstance(frame.f_locals.get("self"), nn.Module)]
    return f" in {type(owners[-1]).__name__}" if owners else ""
