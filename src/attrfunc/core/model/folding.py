"""Batch norms folded into the convolutions before them, where one run shows that nothing else reads what is between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from attrfunc.core.model.guard import Below, address

__all__ = ["Folding", "Pair", "folded", "may_fold"]

Pair = tuple[nn.Module, nn.Module]
"""A convolution, and the batch norm that alone reads its output."""

_NORMS = {torch.ops.aten.native_batch_norm.default, torch.ops.aten.cudnn_batch_norm.default}


def may_fold(modules: Iterable[nn.Module]) -> bool:
    """Whether there may be something to fold."""
    kinds = list(modules)
    return any(map(_is_convolution, kinds)) and any(map(_is_norm, kinds))


class Folding(Below):
    """Looks at one run: which batch norm is all that reads a convolution's output.

    Args:
        modules: The twin of each module.
    """

    def __init__(self, modules: Mapping[nn.Module, nn.Module]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        pairs = modules.items()
        self._convolutions = {address(cast(Tensor, twin.weight)): own for own, twin in pairs if _is_convolution(own)}
        self._norms = {address(cast(Tensor, twin.running_mean)): own for own, twin in pairs if _is_norm(own)}
        self._twins, self._reads = modules, Counter[int]()
        self._made: dict[int, nn.Module] = {}  # which convolution has written where
        self._read_by: dict[nn.Module, nn.Module] = {}
        self._kept: list[Tensor] = []  # so that nothing else comes to lie there

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation, and note what it reads."""
        read = {address(leaf) for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        if func is not torch.ops.aten.detach.default:  # what reads a twin's tensor is counted, not what makes it
            self._reads.update(read)
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default and address(args[1]) in self._convolutions:
            self._made[address(result)] = self._convolutions[address(args[1])]
            self._reads[address(result)] = 0  # of what lay there before
            self._kept.append(result)
        elif func in _NORMS and address(args[0]) in self._made and address(args[3]) in self._norms:
            self._read_by[self._made[address(args[0])]] = self._norms[address(args[3])]
        return result

    def pairs(self) -> tuple[Pair, ...]:
        """What can be folded."""
        outputs = {module: place for place, module in self._made.items()}
        return tuple(
            (convolution, norm)
            for convolution, norm in self._read_by.items()
            if self._reads[outputs[convolution]] == 1 and all(self._is_read_once(part) for part in (convolution, norm))
        )

    def _is_read_once(self, part: nn.Module) -> bool:
        twin = self._twins[part]
        held = (*twin._parameters.values(), *twin._buffers.values())
        return all(self._reads[address(t)] == 1 for t in held if t is not None and t.dim() > 0)


def folded(pair: Pair) -> dict[nn.Module, dict[str, Any]]:
    """What the two modules of a pair then hold."""
    convolution, norm = cast(nn.Conv2d, pair[0]), cast(nn.BatchNorm2d, pair[1])
    weight, bias, mean, variance = convolution.weight, convolution.bias, norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    with torch.no_grad():
        scale = torch.rsqrt(variance.double() + norm.eps)
        scale = scale if norm.weight is None else scale * norm.weight
        shift = (0 if bias is None else bias) - mean.double()
        shift = shift * scale if norm.bias is None else shift * scale + norm.bias
        values = {"weight": weight * scale.view(-1, *[1] * (weight.dim() - 1)), "bias": shift}
    parameters = {name: nn.Parameter(value.to(weight.dtype), requires_grad=False) for name, value in values.items()}
    return {convolution: {"_parameters": parameters}, norm: {"forward": lambda x: x}}


def _is_convolution(module: Any) -> bool:
    own = module.__dict__.get("_parameters", {})
    plain = isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) and own.keys() == {"weight", "bias"}
    return plain and own["weight"].dtype in (torch.float32, torch.float64)


def _is_norm(module: Any) -> bool:
    if not isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) or module.training:
        return False
    plain = type(module).__module__.startswith("torch.nn.") and "forward" not in module.__dict__
    return plain and module.running_mean is not None
