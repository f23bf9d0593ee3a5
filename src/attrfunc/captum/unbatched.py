"""Inputs without a batch dimension, which Captum's first examples have: they become a batch of one."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from attrfunc.core.score.target import canonical, select
from attrfunc.perturbation.outputs import output_of

__all__ = ["OfRows", "as_batch_of_one", "lifted", "named", "with_forward"]


def as_batch_of_one(attribute: Callable[..., Any], arguments: dict[str, Any], args: tuple[Any, ...]) -> Any:
    """What `attribute` gives for inputs that are one example without a batch dimension; `None` if there is one.

    Attributions have the shapes of the inputs; deltas have the shape `(1,)`.

    Args:
        attribute: The method of a class.
        arguments: All its arguments by name, `self` too.
        args: The model's further arguments.
    """
    explainer, inputs = arguments["self"], arguments.get("inputs")
    leaves = pytree.tree_leaves(inputs)
    if not leaves or not all(isinstance(leaf, Tensor) for leaf in leaves):
        return None
    forward, target = explainer.forward_func, arguments.get("target")
    output = output_of(forward, inputs, args)
    if not _is_of_one(output, target, leaves):
        return None

    def run(model: Callable[..., Any], *rows: Any) -> Tensor:
        count = pytree.tree_leaves(rows)[0].shape[0]
        examples = [pytree.tree_map(lambda leaf, row=row: leaf[row], rows) for row in range(count)]
        return torch.stack([_score(model(*example, *args), target) for example in examples])

    model = OfRows(forward, run) if isinstance(forward, nn.Module) else functools.partial(run, forward)
    given = dict(
        arguments, self=with_forward(explainer, model), inputs=pytree.tree_map(lambda leaf: leaf[None], inputs)
    )
    for name in ("target", "additional_forward_args"):
        given.pop(name, None)
    for name in ("baselines", "feature_mask"):
        if name in given:
            given[name] = lifted(given[name], leaves)
    found = attribute(**given)
    if not arguments.get("return_convergence_delta"):
        return pytree.tree_map(lambda leaf: leaf[0], found)
    return pytree.tree_map(lambda leaf: leaf[0], found[0]), found[1]


def with_forward(explainer: Any, forward: Callable[..., Any]) -> Any:
    """A copy of an object of a class, or of the one in a noise tunnel, that explains another model."""
    other = copy.copy(explainer)
    for name in ("forward_func", "model"):
        if hasattr(explainer, name):
            setattr(other, name, forward)
    if hasattr(explainer, "attribution_method"):
        other.attribution_method = with_forward(explainer.attribution_method, forward)
    return other


def named(attribute: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call by name."""
    bound = inspect.signature(attribute).bind(*args, **kwargs).arguments
    further = bound.pop("kwargs", {})
    return {**bound, **further}


class OfRows(nn.Module):
    """A module that takes no batch, or another one, as one that does."""

    def __init__(self, module: nn.Module, run: Callable[..., Tensor]) -> None:
        super().__init__()
        self.module, self.run = module, run
        self.training = module.training

    def forward(self, *rows: Any) -> Tensor:
        """What `run` makes of the module and the rows."""
        return self.run(self.module, *rows)


def _is_of_one(output: Any, target: Any, leaves: list[Tensor]) -> bool:
    """Whether an output is that of one example without a batch dimension."""
    if isinstance(output, int | float):
        return target is None
    if not isinstance(output, Tensor) or callable(target):
        return False
    flat = all(leaf.dim() <= 1 for leaf in leaves)
    rows = leaves[0].shape[0] if leaves[0].dim() else None
    if target is None:
        return output.numel() == 1 and rows != 1
    indices = len(target) if isinstance(target, tuple) else 1
    return output.dim() == indices and (flat or output.shape[0] != rows)


def _score(output: Any, target: Any) -> Tensor:
    if not isinstance(output, Tensor):
        return torch.tensor(float(output))
    return select(output[None], canonical(target, 1), 1)[0]


def lifted(given: Any, leaves: list[Tensor]) -> Any:
    """Baselines or masks of one example, with a batch dimension where they lack it."""
    parts = list(given) if isinstance(given, tuple) else [given]
    if len(parts) != len(leaves):
        return given
    pairs = zip(parts, leaves, strict=True)
    lifted = [part[None] if isinstance(part, Tensor) and part.dim() == leaf.dim() else part for part, leaf in pairs]
    return tuple(lifted) if isinstance(given, tuple) else lifted[0]
