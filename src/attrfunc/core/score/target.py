"""Targets: which number of the model's output is attributed.

This is where `target` is documented; every method refers here.

target: One of
    * `None`: the model returns one number per example.
    * an int: that index of a `(B, C)` output, for every example. Of an output that is not a tensor it selects from its
      `logits` (a transformers model's), or from its first entry, if that is a tensor and no other entry has its shape.
    * a tuple: indices behind the batch dimension of an output with more dimensions; a slice in it sums over its range.
      Last dimensions of size 1 need no index.
    * an integer tensor, of any integer type, of shape `()` or `(1,)` (one index for all examples), or `(B,)` (one
      for each). It is gathered,
      never indexed in Python, so `vmap` over it works and the forward pass then runs once for all targets. With many
      targets, give `vmap` a `chunk_size` of some 16: the backward passes of a chunk then stay in the cache.
    * a list with one int or one tuple for each example.
    * a callable `output -> (rows,)`, for segmentation, contrastive and log-probability objectives, and for outputs that
      are not tensors. It sees as many rows as are evaluated at once, not only the B examples. What it needs for each
      example (masks of a segmentation, labels) is given by `functools.partial(callable, mask=masks)`: tensors in it
      that have the examples first go along with these.
    * `batch_score(...)`, for methods that do not differentiate: one number for the whole batch, such as its accuracy.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._C import _functorch

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.model.engines import inside, numbers, wrapped

__all__ = [
    "BatchScore",
    "Following",
    "Index",
    "Target",
    "batch_score",
    "canonical",
    "computes",
    "output_tensor",
    "select",
]

Target = None | int | Tensor | Sequence[Any] | Callable[[Any], Tensor]
Index = Any

_FORMS = "None, an int, a tuple of ints, an integer tensor of shape () or (B,), a list per example, or a callable"


@dataclass(frozen=True)
class BatchScore:
    """A target that is one number for the whole batch; made by `batch_score`."""

    function: Callable[[Any], Any] | None

    def __call__(self, output: Any) -> Tensor:
        """The score, of shape `(1,)`."""
        score = output if self.function is None else self.function(output)
        score = torch.as_tensor(score, dtype=torch.float64) if isinstance(score, Real) else score
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


class Following(NamedTuple):  # which is nested as a tuple is, and so followed by its tensors
    """A callable target with arguments that follow the examples; made of a `functools.partial`."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self, output: Any) -> Any:
        """The scores."""
        return self.function(*self.args, output, **self.kwargs)


def canonical(target: Any, rows: int, name: str = "target") -> Index:
    """Reduce every form of a target to None, a callable, or a tuple of ints, slices and `()` or `(B,)` tensors.

    Args:
        target: The target as the user gave it.
        rows: Number of examples, B.
        name: The argument's name, for errors.

    Returns:
        The canonical form, whose tensors of length B follow the examples when these are repeated or split.
    """
    if isinstance(target, functools.partial):
        return Following(target.func, target.args, dict(target.keywords))
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
        columns = list(zip(*target, strict=True)) if target and isinstance(target[0], tuple) else [target]
        return tuple(torch.tensor([_integer(entry, target, name) for entry in column]) for column in columns)
    parts = target if isinstance(target, tuple) else (target,)
    return tuple(part if isinstance(part, slice) else _index(part, target, rows, name) for part in parts)


def _index(part: Any, target: Any, rows: int, name: str) -> int | Tensor:
    if isinstance(part, Tensor) and not (part.is_floating_point() or part.is_complex() or part.dtype == torch.bool):
        if part.dim() == 0:
            return part.long()
        if part.dim() == 1 and part.shape[0] in (1, rows):
            return part.long() if part.shape[0] == rows else part[0].long()
        raise ArgumentError(
            name, describe(part), f"a tensor of shape () or ({rows},)", "Give one index for each example."
        )
    return _integer(part, target, name)


def _integer(part: Any, target: Any, name: str) -> int:
    try:
        if isinstance(part, bool):
            raise TypeError
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
    output = output_tensor(output, index, name)
    if index is None:
        if output.numel() != rows or (output.dim() > 0 and output.shape[0] != rows):
            many = output.dim() > 1 and output.shape[0] == rows
            expected = (
                "an index, since the model returns more than one number per example"
                if many
                else (f"a model that returns one number per example of the batch of {rows} (dimension 0 of the input)")
            )
            fix = (
                f"Pass {name}={_example(output)} for the first, one index per example, or a callable."
                if many
                else ("If the input is a single example, give it a batch dimension: x[None].")
            )
            raise ArgumentError(name, f"None for an output of shape {tuple(output.shape)}", expected, fix)
        return _scores(output.reshape(rows), rows, name)
    if output.dim() > len(index) + 1 and output.shape[len(index) + 1 :].numel() == 1:
        output = output.flatten(len(index))
    if output.dim() != len(index) + 1 or output.shape[0] != rows:
        fix = f"Pass {name}={_example(output)}, or a callable that returns one number per row."
        if output.dim() == 0 or output.shape[0] != rows:
            fix = "If the input is a single example, give it a batch dimension: x[None]."
        elif output.dim() == 1:
            fix = f"The model returns one number per example: pass {name}=None."
        raise ArgumentError(
            name,
            f"{len(index)} index(es) for an output of shape {tuple(output.shape)} over {rows} rows",
            f"one index for each of the {max(output.dim() - 1, 0)} dimensions behind the batch",
            fix,
        )
    for part, size in zip(index, output.shape[1:], strict=True):
        _check_range(part, size, output, name)
    if not any(isinstance(part, Tensor) for part in index):
        picked = output[(slice(None), *index)]
        return _scores(picked.flatten(1).sum(1) if picked.dim() > 1 else picked, rows, name)
    if any(isinstance(part, slice) for part in index):
        raise ArgumentError(name, "slices beside index tensors", "one or the other", "Pass a callable instead.")
    return _scores(_gathered(output, index, rows), rows, name)


def computes(index: Index) -> bool:
    """Whether selecting a score does more than to pick one number of each row."""
    if not isinstance(index, tuple) or callable(index):
        return index is not None
    hidden = (isinstance(part, Tensor) and _bounds(part) is None for part in index)
    return any(isinstance(part, slice) for part in index) or (not torch.compiler.is_compiling() and any(hidden))


def _gathered(output: Tensor, index: Any, rows: int) -> Tensor:
    """One number of each row; not a number where the index does not exist and a transform hides which it is."""
    flat: Any = 0
    exists: Any = True
    for part, size in zip(index, output.shape[1:], strict=True):
        part = part.to(output.device) if isinstance(part, Tensor) else part
        if isinstance(part, Tensor) and _bounds(part) is None:
            exists = (part >= -size) & (part < size) & exists
        flat = flat * size + part % size  # negative indices count from the end
    picked = output.flatten(1).gather(1, flat.expand(rows).unsqueeze(1)).squeeze(1)
    # A product, so that its gradient is not a number either.
    return picked if exists is True else picked * torch.where(exists, 1.0, math.nan)


def _bounds(part: int | Tensor) -> tuple[int, int] | None:
    """The least and the largest index; None where a transform hides them."""
    if not isinstance(part, Tensor):
        return part, part
    if torch.compiler.is_compiling():
        return None
    while wrapped(part):
        if _functorch.is_batchedtensor(part):
            return None
        part = inside(part)
    low, high = part.aminmax()
    return int(low), int(high)


def output_tensor(output: Any, index: Index, name: str) -> Tensor:
    """The tensor of an output that an index selects from.

    Args:
        output: What the model returned.
        index: A canonical target, which is told of in the error.
        name: The argument's name.

    Raises:
        ArgumentError: If the output is not a tensor, has no logits, and is no tuple with one tensor of its shape first.
    """
    if isinstance(output, Tensor):
        return output
    logits = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(logits, Tensor):
        return logits
    if isinstance(output, tuple | list) and output and isinstance(output[0], Tensor):
        others = [entry.shape for entry in output[1:] if isinstance(entry, Tensor)]
        if output[0].shape not in others:
            return output[0]
    raise ArgumentError(
        name,
        f"{describe(index)} for an output of type {type(output).__name__}",
        "a callable, since the output is not a tensor and has no logits",
        f"Pass {name}= a callable that takes the output and returns one number per row.",
    )


def _example(output: Tensor) -> str:
    """An index that exists, as one would write it."""
    behind = output.dim() - 1
    return "0" if behind == 1 else repr((0,) * behind)


def _check_range(part: int | slice | Tensor, size: int, output: Tensor, name: str) -> None:
    bounds = None if isinstance(part, slice) else _bounds(part)
    if bounds is not None and not -size <= bounds[0] <= bounds[1] < size:
        got = numbers(part) if isinstance(part, Tensor) and part.dim() else part
        raise ArgumentError(
            name,
            f"{got} for an output of shape {tuple(output.shape)}",
            f"indices from 0 to {size - 1}",
            f"Pass {name}={size - 1} at most; the first index is that of the dimension behind the batch.",
        )


def _scores(scores: Any, rows: int, name: str) -> Tensor:
    if isinstance(scores, Tensor) and scores.shape == (rows, 1):
        return scores.squeeze(1)
    if not isinstance(scores, Tensor) or scores.shape != (rows,):
        raise ArgumentError(
            name,
            f"scores that are {describe(scores)} for {rows} rows",
            f"one number per row, shape ({rows},)",
            "Return one number for each row of the output, and index by position only behind the batch dimension.",
        )
    return scores
