"""A worker's GPU."""

from __future__ import annotations

from dataclasses import replace

import torch

from attrfunc.core.errors import ArgumentError
from attrfunc.core.model.parts import model_root
from attrfunc.core.score.views import Model, View, as_view

__all__ = ["on_gpu"]


def on_gpu(model: Model) -> tuple[View, torch.device]:
    """A model on this worker's GPU, and which that is. It is the worker's own copy, which is moved.

    Args:
        model: A module, or a view of one.

    Raises:
        ArgumentError: If there is no GPU, or the model is no module.
    """
    view = as_view(model)
    root = model_root(view.model)
    if root is None or not torch.cuda.is_available():
        got = "GPUs for a model that is no module" if root is None else "GPUs, where torch finds none"
        fix = "Leave gpus_per_worker=0."
        raise ArgumentError("gpus_per_worker", got, "a module, and a build of torch for the workers' GPUs", fix)
    device = torch.device("cuda", torch.cuda.current_device())
    root.to(device)
    bound = {name: value.to(device) for name, value in (view.tensors or {}).items()}
    return replace(view, tensors=bound or None), device
