"""Targets: which number of the model's output is attributed.

This is where `target` is documented; every method refers here.

target: One of
    * `None`: the model returns one number per example.
    * an int: that index of a `(B, C)` output, for every example.
    * a tuple: indices behind the batch dimension of an output with more dimensions; a slice in it sums over its range.
    * an integer tensor of shape `()` or `(1,)` (one index for all examples), or `(B,)` (one for each). It is gathered,
      never indexed in Python, so `vmap` over it works and the forward pass then runs once for all targets. With many
      targets, give `vmap` a `chunk_size` of some 16: the backward passes of a chunk then stay in the cache.
    * a list with one int or one tuple for each example.
    * a callable `output -> (rows,)`, for segmentation, contrastive and log-probability objectives, and for outputs that
      are not tensors. It sees as many rows as are evaluated at once, not only the B examples.
    * `batch_score(...)`, for methods that do not differentiate: one number for the whole batch, such as its accuracy.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.transforms import known

__all__ = ["BatchScore", "Index", "Target", "batch_score", "canonical", "select"]

Target = None | int | Tensor | Sequence[Any] | Callable[[Any], Tensor]
Index = None | tuple[int | slice | Tensor, ...] | Callable[[Any], Tensor]

_FORMS = "None, an int, a tuple of ints, an integer tensor of shape () or (B,), a list per example, or a callable"


@dataclass(frozen=True)
class BatchScore:
    """A target that is one number for the whole batch; made by `batch_score`."""

    function: Callable[[Any], Any] | None

    def __call__(self, output: Any) -> Tensor:
        """The score, of shape `(1,)`."""
        score = output if self.function is None else self.function(output)
        score = torch.as_tensor(score) if isinstance(score, Number) else score
        if not isinstance(score, Tensor) or score.numel() != 1:
            raise ArgumentError(
                "target",
                f"a batch_score that is {describe(score)}",
                "one number for the whole batch",
                "Return a number or a tensor of one element; drop batch_score for a score of each example.",
            )
        return score.reshape(1)


def batch_score(function: Callable[[Any], Any] | None = None) -> BatchScore:
    """A target that is one number for the whole batch: a loss, an accuracy.

    Methods that do not differentiate take it. Their attributions then have 1 in place of the batch size, and the batch
    is evaluated whole, once for each perturbation.

    Args:
        function: Maps the model's output to one number; `None` for a model that returns one itself.

    Returns:
        What `target` takes.

    Example:
        >>> model, x, labels = torch.nn.Linear(3, 2), torch.randn(8, 3), torch.tensor([0, 1] * 4)
        >>> loss = af.batch_score(lambda output: torch.nn.functional.cross_entropy(output, labels))
        >>> af.feature_ablation(model, x, target=loss).shape
        torch.Size([1, 3])
    """
    return BatchScore(function)


def canonical(target: Any, rows: int, name: str = "target") -> Index:
    """Reduce every form of a target to None, a callable, or a tuple of ints, slices and `()` or `(B,)` tensors.

    Args:
        target: The target as the user gave it.
        rows: Number of examples, B.
        name: The argument's name, for errors.

    Returns:
        The canonical form, whose tensors of length B follow the examples when these are repeated or split.
    """
    if target is None or callable(target):
        return target
    if isinstance(target, list):
        if len(target) != rows:
            raise ArgumentError(
                name,
                f"a list of {len(target)}",
                f"one entry for each of the {rows} examples",
                "Use an int or a tuple for all.",
            )
        if target and isinstance(target[0], tuple):
            return tuple(torch.tensor(column) for column in zip(*target, strict=True))
        return (torch.tensor(target),)
    parts = target if isinstance(target, tuple) else (target,)
    return tuple(part if isinstance(part, slice) else _index(part, target, rows, name) for part in parts)


def _index(part: Any, target: Any, rows: int, name: str) -> int | Tensor:
    if isinstance(part, Tensor) and not (part.is_floating_point() or part.is_complex() or part.dtype == torch.bool):
        if part.dim() == 0:
            return part
        if part.dim() == 1 and part.shape[0] in (1, rows):
            return part if part.shape[0] == rows else part[0]
        raise ArgumentError(
            name, describe(part), f"a tensor of shape () or ({rows},)", "Give one index for each example."
        )
    try:
        return operator.index(part)
    except TypeError:
        raise ArgumentError(name, describe(target), _FORMS, "A float or bool is not an index.") from None


def select(output: Any, index: Index, rows: int, name: str = "target") -> Tensor:
    """The number of each example that is attributed.

    Args:
        output: What the model (or a neuron's layer) returned for `rows` examples.
        index: A canonical target.
        rows: Number of rows that were evaluated.
        name: The argument's name, for errors.

    Returns:
        Scores of shape `(rows,)`.

    Raises:
        ArgumentError: If the target does not fit the output.
    """
    if isinstance(index, BatchScore):
        return index(output)
    if callable(index):
        return _scores(index(output), rows, name)
    if not isinstance(output, Tensor):
        raise ArgumentError(
            name,
            f"{describe(index)} for an output of type {type(output).__name__}",
            "a callable, since the output is not a tensor",
            f"Pass for example {name}=lambda output: output.logits[:, 3].",
        )
    if index is None:
        if output.numel() != rows:
            raise ArgumentError(
                name,
                f"None for an output of shape {tuple(output.shape)}",
                "an index, since the model returns more than one number per example",
                f"Pass {name}=3, one index per example, or a callable.",
            )
        return _scores(output.reshape(rows), rows, name)
    if output.dim() != len(index) + 1 or output.shape[0] != rows:
        raise ArgumentError(
            name,
            f"{len(index)} index(es) for an output of shape {tuple(output.shape)} over {rows} rows",
            f"one index for each of the {output.dim() - 1} dimensions behind the batch",
            "Pass a tuple of indices, or a callable that returns one number per row.",
        )
    for part, size in zip(index, output.shape[1:], strict=True):
        _check_range(part, size, output, name)
    if not any(isinstance(part, Tensor) for part in index):
        picked = output[(slice(None), *index)]
        return _scores(picked.flatten(1).sum(1) if picked.dim() > 1 else picked, rows, name)
    if any(isinstance(part, slice) for part in index):
        raise ArgumentError(name, "slices beside index tensors", "one or the other", "Pass a callable instead.")
    flat: Any = 0
    for part, size in zip(index, output.shape[1:], strict=True):
        wrapped = part % size  # type: ignore[operator]  # negative indices count from the end
        flat = flat * size + (wrapped.to(output.device) if isinstance(wrapped, Tensor) else wrapped)
    return _scores(output.flatten(1).gather(1, flat.expand(rows).unsqueeze(1)).squeeze(1), rows, name)


def _check_range(part: int | slice | Tensor, size: int, output: Tensor, name: str) -> None:
    if isinstance(part, slice):
        return
    if known(((part < -size) | (part >= size)).any()) if isinstance(part, Tensor) else not -size <= part < size:
        got = part.tolist() if isinstance(part, Tensor) else part
        raise ArgumentError(
            name,
            f"{got} for an output of shape {tuple(output.shape)}",
            f"indices from 0 to {size - 1}",
            "The first index is that of the dimension behind the batch.",
        )


def _scores(scores: Any, rows: int, name: str) -> Tensor:
    if not isinstance(scores, Tensor) or scores.shape != (rows,):
        raise ArgumentError(
            name,
            f"scores that are {describe(scores)} for {rows} rows",
            f"one number per row, shape ({rows},)",
            "Several path points may be evaluated as one larger batch: the model and a callable target must keep one "
            "row for each row of their input, and index by position only behind the batch dimension.",
        )
    return scores
