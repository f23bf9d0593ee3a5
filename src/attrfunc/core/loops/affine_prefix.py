"""The affine prefix: along a straight path, what a leading linear layer computes is a straight line too.

So the path can run at that layer's output: the layer is run at the two ends only, and the gradient goes back through
its transpose once, for the sum over all points. On an MLP most of the work is in that layer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from attrfunc.core.model.engines import wrapped
from attrfunc.core.model.guard import Below, address
from attrfunc.core.model.sites import Site
from attrfunc.core.score.problem import Problem

__all__ = ["leading_linear_layer"]


def leading_linear_layer(problem: Problem, sites: Sequence[Site] = ()) -> Site | None:
    """The output of the linear layer that alone reads the input, if there is one and it holds much of the weights.

    Args:
        problem: The problem, at the input.
        sites: Layers that have to lie behind it.

    Returns:
        The place, or None.
    """
    x = problem.inputs.x
    if torch.compiler.is_compiling() or problem.view.sites or not isinstance(x, Tensor) or wrapped(x):
        return None
    weights = [(weight, module) for module, twin in problem.twin.modules.items() for weight in _weights(twin)]
    size = sum(weight.numel() for weight, _ in weights)
    layers = {
        address(weight): module
        for weight, module in weights
        if isinstance(module, nn.Linear) and _is_plain(module) and weight.dim() == 2 and not wrapped(weight)
    }
    if not any(4 * module.weight.numel() > size for module in layers.values()):
        return None
    seen = x.detach()[:1].clone().expand(x.shape)  # the first example in place of all, as where nothing reads it
    before: list[int] = []

    def noted(value: Any) -> Any:
        before.append(readers.count)
        return value

    with _Readers(seen) as readers:
        try:
            replace(problem, inputs=replace(problem.inputs, x=seen)).scored(tuple((site, noted) for site in sites))
        except Exception:
            return None  # it looks at how the input lies in memory, or what is wrong is told later
    found = [storage for storage in readers.storages if storage in layers]
    # A weight that is read again is tied: it may be another layer's, or the layer may run elsewhere.
    if readers.count != 1 or len(found) != 1 or readers.reads[found[0]] != 1 or 0 in before:
        return None
    return Site(layers[found[0]], "the first linear layer")


def _weights(module: nn.Module) -> list[Tensor]:
    return [weight for weight in module._parameters.values() if weight is not None]


def _is_plain(module: nn.Linear) -> bool:
    """Whether what comes out of a linear layer is its product, and nothing has been done to that."""
    changed = "forward" in module.__dict__ or module._forward_hooks or module._forward_pre_hooks
    return type(module) is nn.Linear and not changed


class _Readers(Below):
    """Watches, below all wrappers, which operations read the input's values.

    A view of the input, and a copy, are linear and read nothing. If one product with a layer's weight is all that reads
    it, then nothing but that layer's output can depend on it: not a mask, not a bypass, not the score itself.

    Attributes:
        count: How many operations read it.
        storages: Where the other operands of these lie.
        reads: How many operations read what lies at a place.
    """

    def __init__(self, x: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._inputs = [x]  # kept, so that no other tensor takes their place in memory
        self.count = 0
        self.storages: list[int] = []
        self.reads: Counter[int] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Note what reads the input, and call it."""
        storages = [address(leaf) for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if _is_view(func):
            return func(*args, **(kwargs or {}))
        result = func(*args, **(kwargs or {}))
        own = {address(x) for x in self._inputs}
        if func is torch.ops.aten.clone.default and storages[0] in own:
            self._inputs.append(result)
            return result
        self.reads.update(set(storages))
        if own & set(storages):
            self.count += 1
            product = func in (torch.ops.aten.addmm.default, torch.ops.aten.mm.default)
            self.storages += storages if product else []
        return result


def _is_view(func: Any) -> bool:
    aliases = [returned.alias_info for returned in func._schema.returns]
    return bool(aliases) and all(alias is not None and not alias.is_write for alias in aliases)
