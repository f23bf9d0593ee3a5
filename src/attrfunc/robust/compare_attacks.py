"""Attacks beside each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.score.method import named
from attrfunc.core.score.views import Model
from attrfunc.robust.ball import norms
from attrfunc.robust.victim import open_victim

__all__ = ["Attacked", "compare_attacks"]


@dataclass(frozen=True)
class Attacked:
    """The table that `compare_attacks` gives; printed, it is a table in Markdown.

    Attributes:
        attacks: Their names, A: `"none"` first, and last `"any"`, the worst of all for each example.
        fooled: Which examples are misclassified, booleans `(A, E)`.
        distances: How far perturbed inputs are in L2, `(A, E)`; infinity where they do not fool the model.
        accuracy: What is left of it, `(A,)`.
        low: The lower ends of its intervals of 95 % (Wilson's), `(A,)`.
        high: The upper ends.
    """

    attacks: tuple[str, ...]
    fooled: Tensor
    distances: Tensor
    accuracy: Tensor
    low: Tensor
    high: Tensor

    def __str__(self) -> str:
        lines = ["| attack | accuracy | median L2 distance |", "| --- | --- | --- |"]
        for number, name in enumerate(self.attacks):
            found = self.distances[number][self.fooled[number]]
            median = f"{float(found.median()):.3g}" if len(found) else "-"
            ends = f"{self.low[number]:.3f} to {self.high[number]:.3f}"
            lines.append(f"| {name} | {self.accuracy[number]:.3f} ({ends}) | {median} |")
        return "\n".join(lines)


def compare_attacks(
    attacks: Mapping[str, Callable[..., Tensor]],
    model: Model,
    data: Iterable[tuple[Tensor, Any]],
    **options: Any,
) -> Attacked:
    """The accuracy that attacks leave, each by itself and all together.

    Args:
        attacks: Functions `(model, x, *, label, **options)` by name; `functools.partial` holds options of their own.
        model: A module, or any callable, with logits `(B, C)`.
        data: Pairs `(x, label)` of a batch, as a data loader gives them.
        options: What all attacks are called with: `radius`, `norm`, `bounds`, say.

    Returns:
        An `Attacked`; `str` gives the table.

    Raises:
        ArgumentError: If an argument cannot be right.

    Example:
        >>> model, x = torch.nn.Linear(4, 3), torch.randn(20, 4)
        >>> attacks = {"FGSM": af.robust.fgsm, "PGD": af.robust.pgd}
        >>> table = af.robust.compare_attacks(attacks, model, [(x, model(x).argmax(1))], radius=0.1)
        >>> table.attacks
        ('none', 'FGSM', 'PGD', 'any')

    Reference:
        Wilson: Probable Inference, the Law of Succession, and Statistical Inference, 1927,
        https://doi.org/10.1080/01621459.1927.10502953.
    """
    return named("compare_attacks", _compared)(attacks, model, data, options)


def _compared(
    attacks: Mapping[str, Callable[..., Tensor]], model: Model, data: Iterable[tuple[Tensor, Any]], options: Any
) -> Attacked:
    if not isinstance(attacks, Mapping) or not attacks or not all(map(callable, attacks.values())):
        fix = "Pass {'PGD': af.robust.pgd}, say."
        raise ArgumentError("attacks", describe(attacks), "a dict of functions by name", fix)
    shared = {key: options[key] for key in ("args", "kwargs", "targeted", "chunk_size") if key in options}
    blocks = []
    for batch in data:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            fix = "Pass [(x, label)], a list of one batch, or a data loader."
            raise ArgumentError("data", f"a batch that is {describe(batch)}", "pairs (x, label)", fix)
        x, label = batch
        with torch.no_grad():
            victim = open_victim(model, x, label, **shared)
        hits, ways = [], []
        for one in (None, *attacks.values()):
            found = victim.x if one is None else one(model, x, label=label, **options).detach()
            with torch.no_grad():
                hit = victim.fooled(victim.logits(found))
            hits.append(hit)
            ways.append(torch.where(hit, norms(found - victim.x, "l2").double(), torch.inf))
        blocks.append((torch.stack(hits).cpu(), torch.stack(ways).cpu()))
    if not blocks or not sum(block[0].shape[1] for block in blocks):
        raise ArgumentError("data", "no example", "pairs (x, label)", "A generator can be read only once.")
    fooled, distances = (torch.cat([block[place] for block in blocks], dim=1) for place in (0, 1))
    fooled = torch.cat([fooled, fooled.any(0, keepdim=True)])
    distances = torch.cat([distances, distances.amin(0, keepdim=True)])
    count = fooled.shape[1]
    accuracy = 1 - fooled.double().mean(1)
    square = 1.959963984540054**2 / count
    middle = (accuracy + square / 2) / (1 + square)
    half = (square * accuracy * (1 - accuracy) + square**2 / 4).sqrt() / (1 + square)
    names = ("none", *attacks, "any")
    return Attacked(names, fooled, distances, accuracy, middle - half, middle + half)
