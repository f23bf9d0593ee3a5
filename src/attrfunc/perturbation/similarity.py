"""How much a coalition counts when a linear model is fitted around an input: similarity kernels.

This is where `similarity` is documented. It is a callable `(coalitions, game) -> weights`:

coalitions: Which groups are present, booleans `(K, n)`.
game: The opened `Game`: `game.end` and `game.start` are the tensors with all groups present and all replaced,
    `game.points(coalitions)` those of coalitions.
weights: `(K,)`, alike for all examples, or `(K, B)`; at least 0. Only their ratios matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.model.engines import known
from attrfunc.perturbation.game import Game

__all__ = ["Similarity", "checked", "exponential_kernel", "exponential_weight", "pairwise", "weigh"]

Similarity = Callable[[Tensor, Game], Tensor]

# Numbers of a table of coalitions that are converted at once.
BLOCK = 2**22
# Norms below this count as this: the cosine to the zero vector is 0.
SMALLEST_NORM = 1e-8
# Weights that sum to less than this part of the largest do not count.
NEGLIGIBLE = 1e-9


def exponential_kernel(
    distance: Literal["cosine", "euclidean"] = "cosine",
    *,
    width: float = 0.25,
    space: Literal["coalition", "input"] = "coalition",
) -> Similarity:
    """The similarity kernel of LIME, `exp(-d^2 / (2 width^2))`.

    Args:
        distance: d is 1 less the cosine, or the Euclidean distance.
        width: Width of the kernel.
        space: What is compared. `"coalition"`: the coalition, as a vector of zeros and ones, and that of all groups;
            then weights are alike for all examples, and do not depend on the input's units. `"input"`: the perturbed
            input (or activation) and the input itself, floating-point.

    Returns:
        A similarity kernel; see `attrfunc.perturbation.similarity`.

    Raises:
        ArgumentError: If an argument cannot be right.

    Example:
        >>> model, x = torch.nn.Linear(3, 2), torch.ones(5, 3)
        >>> kernel = af.surrogates.exponential_kernel("euclidean", width=2.0, space="input")
        >>> af.lime(model, x, target=1, similarity=kernel).shape
        torch.Size([5, 3])
    """
    _check("distance", distance, distance in ("cosine", "euclidean"), "'cosine' or 'euclidean'")
    _check("space", space, space in ("coalition", "input"), "'coalition' or 'input'")
    right = isinstance(width, int | float) and 0 < width < math.inf
    _check("width", width, right, "a finite number above 0")

    def kernel(coalitions: Tensor, game: Game) -> Tensor:
        if space == "input" and not all(leaf.is_floating_point() for leaf in game.end):
            got = "a kernel in the space of inputs that are integers"
            fix = "Use af.surrogates.exponential_kernel(space='coalition')."
            raise ArgumentError("similarity", got, "floating-point inputs, which have distances", fix)
        ends = _products(game, distance) if space == "input" else _units(game, distance)
        # In blocks, since a table in double precision takes eight times the room.
        parts = (part.double() for part in coalitions.split(max(1, BLOCK // max(game.players, 1))))
        squares = [
            _one_less_cosine(part, *ends).square() if distance == "cosine" else (1 - part) @ ends[0].T for part in parts
        ]
        return torch.exp(-torch.cat(squares) / (2 * width**2))

    return kernel


def pairwise(similarity: Callable[[Any, Any, Tensor], Any]) -> Similarity:
    """A similarity kernel made of a function that compares the input with one perturbed input.

    Args:
        similarity: `(x, x_k, z_k) -> weights`, as `attrfunc.local_surrogate` takes it: the input or activation, the
            same with some groups replaced, and which of them are present, booleans `(n,)`. It gives a number, or one
            for each example, `(B,)`.

    Returns:
        A similarity kernel; see `attrfunc.perturbation.similarity`.

    Example:
        >>> model, x = torch.nn.Linear(3, 2), torch.ones(5, 3)
        >>> kernel = af.surrogates.pairwise(lambda x, x_k, present: torch.exp(-(x - x_k).abs().sum(1)))
        >>> af.lime(model, x, target=1, similarity=kernel).shape
        torch.Size([5, 3])
    """

    def kernel(coalitions: Tensor, game: Game) -> Tensor:
        x = game.point.restored(list(game.end))
        points = (game.point.restored([leaf[0] for leaf in game.points(one[None])]) for one in coalitions)
        weights = [similarity(x, point, one) for point, one in zip(points, coalitions, strict=True)]
        return torch.stack([torch.as_tensor(weight, dtype=torch.float64) for weight in weights]).to(coalitions.device)

    return kernel


def exponential_weight(x: Any, perturbed: Any, distance: str, width: float) -> float:
    """The weight that `exponential_kernel` gives one perturbed input of any kind, in double precision."""
    one, other = (torch.cat([leaf.flatten().double() for leaf in pytree.tree_leaves(end)]) for end in (x, perturbed))
    length = 1 - torch.cosine_similarity(one, other, dim=0) if distance == "cosine" else (one - other).norm()
    return float(torch.exp(-length.square() / (2 * width**2)))


def _check(name: str, given: object, right: bool, expected: str) -> None:
    if not right:
        raise ArgumentError(name, describe(given), expected, "See its documentation.").within("exponential_kernel")


def _products(game: Game, distance: str) -> tuple[Tensor, ...]:
    """For each group `(B, n)`: `x . x`, `x . b` and `b . b`; or `(x - b) . (x - b)`.

    Groups do not overlap, so that products over all elements are sums of these.
    """
    ends = [(end.double(), start.double()) for end, start in zip(game.end, game.start, strict=True)]
    if distance == "euclidean":
        return (game.group_sums([(end - start).square() for end, start in ends]),)
    return tuple(
        game.group_sums(products)
        for products in zip(*[(end.square(), end * start, start.square()) for end, start in ends], strict=True)
    )


def _units(game: Game, distance: str) -> tuple[Tensor, ...]:
    """The same `(1, n)` where each group is one number, 1 if it is present and else 0."""
    ones = torch.ones(1, game.players, dtype=torch.float64, device=game.end[0].device)
    return (ones,) if distance == "euclidean" else (ones, 0 * ones, 0 * ones)


def _one_less_cosine(present: Tensor, ends: Tensor, mixed: Tensor, starts: Tensor) -> Tensor:
    """`(K, B)`, from who is present and the products of each group."""
    product = present @ ends.T + (1 - present) @ mixed.T
    square = present @ ends.T + (1 - present) @ starts.T
    norms = square.clamp(min=SMALLEST_NORM**2).sqrt() * ends.sum(1).clamp(min=SMALLEST_NORM**2).sqrt()
    return 1 - product / norms


def weigh(similarity: Similarity, coalitions: Tensor, game: Game) -> Tensor:
    """The weights `(K, B)` or `(K, 1)` of coalitions.

    Raises:
        ArgumentError: If they cannot be right, or leave no more than one coalition.
    """
    given, count = similarity(coalitions, game), len(coalitions)
    weights = given[:, None] if isinstance(given, Tensor) and given.dim() == 1 else given
    if not isinstance(weights, Tensor) or weights.shape not in ((count, 1), (count, game.rows)):
        raise ArgumentError(
            "similarity",
            f"a callable that gives {describe(given)}",
            f"weights of shape ({count},) or ({count}, {game.rows})",
            "Give one weight for each coalition, or one for each of these and each example.",
        )
    return checked(weights)


def checked(weights: Tensor) -> Tensor:
    """The weights `(K, B)` in double precision.

    Raises:
        ArgumentError: If they are negative or not finite, or leave no more than one sample.
    """
    if known((~torch.isfinite(weights) | (weights < 0)).any()):
        raise ArgumentError("similarity", "weights that are negative or not finite", "weights of at least 0", "Clamp.")
    weights = weights.double()
    if len(weights) > 1 and known((weights.amax(0) >= (1 - NEGLIGIBLE) * weights.sum(0)).any()):
        raise ArgumentError(
            "similarity",
            f"weights of which all but one make less than {NEGLIGIBLE} of the sum",
            "several samples that count",
            "Widen the kernel, similarity=af.surrogates.exponential_kernel(width=...), or measure between coalitions.",
        )
    return weights
