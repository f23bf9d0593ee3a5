"""The examples with the highest scores, without the scores of all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe, positive
from attrfunc.core.score.method import named
from attrfunc.influence.streams import blocks_of

__all__ = ["Top", "best", "top"]


class Top(NamedTuple):
    """Examples with the highest or the lowest scores.

    Attributes:
        scores: `(Q, k)`, the first the farthest out.
        indices: Which examples these are, counted through the data.
    """

    scores: Tensor
    indices: Tensor


def top(method: Callable[..., Tensor], *, k: int, largest: bool = True) -> Callable[..., Top]:
    """Make of a method that scores training data one that gives the `k` examples with the highest scores.

    Methods of `attrfunc.influence` are taken a batch of data at a time, so that the scores of all are never held.

    Args:
        method: `tracin`, `influence_function`, `trak`, `activation_similarity`, or any function that gives `(Q, N)`.
        k: How many to keep.
        largest: Whether the highest scores (proponents) or the lowest (opponents).

    Returns:
        A function that is called as the method is, and gives a `Top`. Of equal scores the earlier example comes first,
        however the data is batched.

    Raises:
        ArgumentError: If the method is no function, or there are fewer than `k` examples.

    Example:
        >>> model, batch = torch.nn.Linear(3, 2), (torch.randn(8, 3), torch.randint(2, (8,)))
        >>> def loss(model, batch):
        ...     return torch.nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")
        >>> af.influence.top(af.influence.tracin, k=3)(model, batch, data=[batch] * 4, loss=loss).indices.shape
        torch.Size([8, 3])
    """
    name = f"top({getattr(method, '__name__', type(method).__name__)})"
    if not callable(method):
        error = ArgumentError("method", describe(method), "a method that scores training data", "Pass tracin, say.")
        raise error.within("top")
    try:
        kept = positive("k", k)
    except ArgumentError as error:
        raise error.within("top")  # noqa: B904  # the same error, now with its name

    def found(*args: Any, **kwargs: Any) -> Top:
        return best(blocks_of(method)(*args, **kwargs), kept, largest)

    return named(name, found)


def best(blocks: Iterable[Tensor], k: int, largest: bool = True, *, all_at_most: bool = False) -> Top:
    """The best of scores that come block by block, `(Q, B)` each.

    Args:
        blocks: The scores.
        k: How many to keep.
        largest: Whether the highest.
        all_at_most: Whether all are kept where there are fewer, which is an error otherwise.
    """
    scores, indices, seen = None, torch.empty(0, 0, dtype=torch.long), 0
    for block in blocks:
        if not isinstance(block, Tensor) or block.dim() != 2:
            raise ArgumentError("method", f"scores that are {describe(block)}", "scores (Q, N)", "Pass another method.")
        numbers = torch.arange(seen, seen + block.shape[1], device=block.device).expand(block.shape)
        seen += block.shape[1]
        joined = block if scores is None else torch.cat([scores, block], 1)
        where = numbers if scores is None else torch.cat([indices, numbers], 1)
        order = joined.argsort(dim=1, descending=largest, stable=True)[:, :k]
        scores, indices = joined.gather(1, order), where.gather(1, order)
    if scores is None or (scores.shape[1] < k and not all_at_most):
        raise ArgumentError("k", str(k), f"at most the {seen} examples that there are", "Pass a smaller k.")
    return Top(scores, indices)
