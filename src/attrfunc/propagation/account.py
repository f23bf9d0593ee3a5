"""The account of relevance: what each kind of operation took of it, and what a value took that has no gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from attrfunc.core.model.engines import wrapped
from attrfunc.propagation.complex_terms import real_parts
from attrfunc.propagation.names import Key
from attrfunc.propagation.node import tracked

__all__ = ["Account", "RelevanceInfo"]

Pull = Callable[[Tensor], Sequence[Tensor]]

CUT = "cut"


class RelevanceInfo(NamedTuple):
    """What `attrfunc.lrp` knows beside the relevance.

    Attributes:
        gap: What the relevance of each example sums to, less its score, `(B,)`.
        taken: The relevance that operations of each kind kept from their inputs, by name, summed over the batch: the
            shares of biases, of constants that are added and of `epsilon` (`"linear"`, `"add"`, `"layer_norm"`), and
            what the first order of `"softmax"` leaves out. `"cut"` is the share of values that depend on the input
            without a gradient, and `"constants"` that of constants beside which a value was put (a class token, say).
    """

    gap: Tensor
    taken: dict[str, Tensor]


class Account:
    """Watches the relevance that goes through the rules of one run.

    Args:
        rows: The number of examples.
        whole: Whether to write down what every rule takes; else only what values without a gradient do.
    """

    def __init__(self, rows: int, *, whole: bool) -> None:
        self._rows, self._whole = rows, whole
        self._taken: list[tuple[str, Tensor]] = []
        self._scores: Tensor | None = None
        self._cut = WeakTensorKeyDictionary()

    def seen(self, leaves: Sequence[Any], result: Any) -> None:
        """An operation gave this; where the gradient ends there, what it gave is marked, indices too."""
        if not isinstance(result, Tensor) or result.requires_grad:
            return
        if any(isinstance(leaf, Tensor) and (tracked(leaf) or leaf in self._cut) for leaf in leaves):
            self._cut[result] = True

    def reads_cut(self, leaves: Sequence[Any]) -> bool:
        """Whether a value that depends on the input without a gradient is among these."""
        if not self._cut:
            return False
        return any(isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf in self._cut for leaf in leaves)

    def watched(self, key: Key, pull: Pull, cut: bool) -> Pull:
        """A rule's `pull`, which writes down what it takes; `cut`: whether `reads_cut` of its arguments."""
        if not cut and not self._whole:
            return pull
        name = CUT if cut else key if isinstance(key, str) else getattr(key, "__name__", str(key))

        def counted(relevance: Tensor) -> Sequence[Tensor]:
            shares = pull(relevance)
            if not wrapped(relevance):
                self._taken.append((name, _difference([self._sum(relevance)], [self._sum(part) for part in shares])))
            return shares

        return counted

    def started(self, pull: Pull) -> Pull:
        """The rule of the scores, which relevance begins with."""

        def begun(relevance: Tensor) -> Sequence[Tensor]:
            shares = pull(relevance)
            self._scores = shares[0]
            return shares

        return begun

    def info(self, relevance: Sequence[Tensor]) -> RelevanceInfo | None:
        """What was taken on the way to this relevance of the input; None where a transform hides it."""
        if self._scores is None or any(wrapped(leaf) for leaf in (*relevance, self._scores)):
            return None
        scores = self._scores.flatten()
        sums = torch.stack([part.flatten(1).sum(1) if part.dim() > 1 else part for part in relevance])
        taken: dict[str, Tensor] = {}
        for name, amount in self._taken:
            taken[name] = taken.get(name, torch.zeros((), dtype=amount.dtype, device=amount.device)) + amount.sum()
        gap = sums.sum(0) - scores
        taken["constants"] = -gap.sum() - sum(taken.values())
        return RelevanceInfo(gap, taken)

    def scale(self) -> Tensor:
        """The size of the largest score."""
        assert self._scores is not None
        return self._scores.abs().max()

    def cut(self) -> Tensor | None:
        """What values took that depend on the input without a gradient: `(B,)`, or a scalar where examples mix."""
        parts = [amount for name, amount in self._taken if name == CUT]
        return _difference(parts, []) if parts else None

    def _sum(self, tensor: Tensor) -> Tensor:
        """By example where they stand in front and nowhere else, in single precision at least."""
        tensor = real_parts(tensor) if tensor.is_complex() else tensor
        dtype = torch.promote_types(tensor.dtype, torch.float32)
        if tensor.dim() > 0 and tensor.shape[0] == self._rows and self._rows not in tensor.shape[1:]:
            return tensor.flatten(1).sum(1, dtype=dtype) if tensor.dim() > 1 else tensor.to(dtype)
        return tensor.sum(dtype=dtype)


def _difference(plus: Sequence[Tensor], minus: Sequence[Tensor]) -> Tensor:
    """Sums by example, or over the batch where one of them is."""
    whole = any(part.dim() == 0 for part in (*plus, *minus))
    total: Any = sum(part.sum() if whole else part for part in plus)
    for part in minus:
        total = total - (part.sum() if whole else part)
    return total
