"""Operations of complex numbers in real terms: rules see a last dimension of real and imaginary parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from attrfunc.propagation.operation import Operation

__all__ = ["in_real_terms", "real_parts"]

_SPECTRA = ("fft_", "stft", "istft", "polar")


def in_real_terms(operation: Operation) -> tuple[Operation, Callable[[Any], Any]]:
    """An operation of real numbers that does the same, and what turns its rule's outcome back."""
    complex_ones = any(isinstance(leaf, Tensor) and leaf.is_complex() for leaf in operation.leaves)
    if not complex_ones and not str(operation.key).startswith(_SPECTRA):
        return operation, lambda found: found
    turned = [i for i in operation.places if operation.leaves[i].is_complex()]

    def func(*args: Any, **kwargs: Any) -> Any:
        leaves = [*args, *kwargs.values()]
        real = [torch.view_as_complex(leaf) if i in turned else leaf for i, leaf in enumerate(leaves)]
        own, named = operation.layout.fill(real)
        result = operation.func(*own, **named)
        return real_parts(result) if isinstance(result, Tensor) and result.is_complex() else result

    def seen(leaves: Sequence[Any] | None) -> list[Any] | None:
        if leaves is None:
            return None
        return [real_parts(leaf) if i in turned else leaf for i, leaf in enumerate(leaves)]

    flat_layout = replace(operation.layout, count=len(operation.leaves), names=(), nested=None)
    leaves: Any = seen(operation.leaves)
    real = replace(
        operation,
        func=func,
        leaves=leaves,
        layout=flat_layout,
        at_baseline=seen(operation.at_baseline),
        is_complex=True,
    )
    places = [i for i, place in enumerate(operation.places) if place in turned]
    return real, lambda found: _back(found, places, operation)


def real_parts(leaf: Tensor) -> Tensor:
    """Real and imaginary parts, in a last dimension."""
    return torch.view_as_real(leaf.resolve_conj())


def _back(found: Any, places: Sequence[int], operation: Operation) -> Any:
    value, pull, *apart = found
    result = operation.value()
    if not (isinstance(result, Tensor) and result.is_complex()):
        result = value

    def back(gradient: Tensor) -> list[Tensor]:
        shares = pull(real_parts(gradient) if gradient.is_complex() else gradient)
        return [torch.view_as_complex(share.contiguous()) if i in places else share for i, share in enumerate(shares)]

    return result, back, *apart
