"""The names of Captum's types, for annotations."""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor, nn

__all__ = [
    "BaselineTupleType", "BaselineType", "ModuleOrModuleList", "TargetType", "TensorOrTupleOfTensorsGeneric",
    "TupleOrTensorOrBoolGeneric",
]  # fmt: skip

TensorOrTupleOfTensorsGeneric = TypeVar("TensorOrTupleOfTensorsGeneric", Tensor, tuple[Tensor, ...])
TupleOrTensorOrBoolGeneric = TypeVar("TupleOrTensorOrBoolGeneric", tuple[Tensor, ...], Tensor, bool)
ModuleOrModuleList = TypeVar("ModuleOrModuleList", nn.Module, list[nn.Module])
TargetType = None | int | tuple[int, ...] | Tensor | list[tuple[int, ...]] | list[int]
BaselineTupleType = None | tuple[Tensor | int | float, ...]
BaselineType = None | Tensor | int | float | BaselineTupleType
