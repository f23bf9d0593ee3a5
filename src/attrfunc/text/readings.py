"""What is read of a language model's logits at each step of an answer, and how the steps make one score.

A reading maps logits `(rows, T, V)` and the tokens `(T,)` of the answer to one number for each step, `(rows, T)`.
A target maps these to one number for each row: `sequence`, `token(t)`, `span(a, b)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe

__all__ = [
    "Contrast",
    "Reading",
    "contrast",
    "entropy",
    "log_probabilities",
    "logits",
    "odds",
    "sequence",
    "span",
    "token",
]


@dataclass(frozen=True)
class Reading:
    """A function of logits and tokens, with its unit."""

    function: Callable[[Tensor, Tensor], Tensor]
    name: str
    unit: str

    def __call__(self, logits: Tensor, ids: Tensor) -> Tensor:
        """The numbers `(rows, T)`, in single precision at least."""
        wide = logits if logits.dtype == torch.float64 else logits.float()
        return self.function(wide, ids.to(logits.device))


def _chosen(logits: Tensor, ids: Tensor) -> Tensor:
    return logits.gather(-1, ids.expand(len(logits), -1)[..., None])[..., 0]


def _log_probabilities(logits: Tensor, ids: Tensor) -> Tensor:
    return _chosen(logits, ids) - logits.logsumexp(-1)


def _odds(logits: Tensor, ids: Tensor) -> Tensor:
    # Of all others together: 1 - p loses its digits where p is near one.
    taken = torch.nn.functional.one_hot(ids, logits.shape[-1]).bool()
    return _chosen(logits, ids) - logits.masked_fill(taken, -torch.inf).logsumexp(-1)


def _entropy(logits: Tensor, ids: Tensor) -> Tensor:
    logs = logits.log_softmax(-1)
    return -(logs.exp() * logs).sum(-1)


log_probabilities = Reading(_log_probabilities, "log_probabilities", "nats")
"""The log-probability of each token of the answer, given the prompt and the tokens before it."""

logits = Reading(_chosen, "logits", "logits")
"""The logit of each token: what layer-wise relevance propagation starts from, since it is linear in the last layer."""

odds = Reading(_odds, "odds", "nats")
"""The log-odds `log p - log(1 - p)` of each token."""

entropy = Reading(_entropy, "entropy", "nats")
"""How undecided the model is at each step, whatever it then said."""


@dataclass(frozen=True)
class Contrast:
    """Why this answer, and not another one; made by `contrast`."""

    foil: Any


def contrast(foil: Any) -> Contrast:
    """Why this answer and not `foil`: the difference of their log-probabilities.

    Args:
        foil: The other answer, a text or tokens. One of as many tokens is compared token by token, each answer after
            its own beginning; of another one the sums are compared.

    Returns:
        What `score` takes.
    """
    return Contrast(foil)


def sequence(numbers: Tensor) -> Tensor:
    """The sum over all tokens of the answer: the log-probability of the whole."""
    return numbers.sum(1)


def token(place: int) -> Callable[[Tensor], Tensor]:
    """The number of one token of the answer.

    Args:
        place: Which; negative ones count from the end.
    """

    def picked(numbers: Tensor) -> Tensor:
        if not -numbers.shape[1] <= place < numbers.shape[1]:
            raise ArgumentError(
                "place", describe(place), f"a token of the {numbers.shape[1]} of the answer", "Count from 0."
            )
        return numbers[:, place]

    return picked


def span(start: int, stop: int) -> Callable[[Tensor], Tensor]:
    """The sum over some tokens of the answer.

    Args:
        start: The first.
        stop: Behind the last.
    """

    def summed(numbers: Tensor) -> Tensor:
        if not 0 <= start < stop <= numbers.shape[1]:
            raise ArgumentError(
                "stop",
                f"the span ({start}, {stop})",
                f"0 <= start < stop <= {numbers.shape[1]}, the number of tokens of the answer",
                "Count tokens of the answer, not characters.",
            )
        return numbers[:, start:stop].sum(1)

    return summed
