"""Owen values: Shapley values of groups within groups (Owen 1977)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.loops.progress import Progress
from attrfunc.core.model.visible import at_trace_time
from attrfunc.core.score.baseline import Baseline
from attrfunc.core.score.method import each_layer, method
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model
from attrfunc.perturbation.background import open_games
from attrfunc.perturbation.feature_groups import FeatureMask
from attrfunc.perturbation.nesting import frozen, owen_steps

__all__ = ["owen_values"]


@method
@each_layer
def owen_values(
    model: Model,
    x: Any,
    *,
    nesting: Sequence[Any],
    baseline: Baseline = None,
    baselines: Any = None,
    target: Target = None,
    feature_mask: FeatureMask = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """Shapley values where groups of features belong together, in unions that enter one after the other.

    The mean of what a group adds over all orders in which the members of each union follow each other without a gap, at
    every level of the nesting. Few coalitions are possible then: with 6 unions of 6, 2,300 in place of 2^36.

    Args:
        model: A module, any callable, or a view of one; no gradient is taken.
        x: The input, a tensor `(B, *S)` or a structure of them.
        nesting: Nested lists of the groups' numbers, each once: `[[0, 1], [2, [3, 4]]]`. Groups are numbered from 0
            without gaps, in the order of their numbers in `feature_mask`; without one, in the order of elements.
        baseline: What replaces features; see `attrfunc.core.score.baseline`.
        baselines: A distribution of baselines instead; see `attrfunc.perturbation.background`.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        feature_mask: The groups; see `attrfunc.perturbation.feature_groups`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Attributions in units of the score, with the structure and shapes of `x` (or of the layer's activation; for a
        list of layers, a list). *Efficiency*, *dummy*, *linearity*, *symmetry* among the members of a union and among
        unions: those of a union sum to its Shapley value in the game of the unions.

    Raises:
        ArgumentError: If an argument cannot be right, or the nesting is so flat that too many coalitions are needed.
        ModelError: If a score is not finite, or examples are not scored apart.

    Example:
        >>> x = torch.ones(1, 3)
        >>> af.owen_values(lambda x: x.prod(1), x, nesting=[[0, 1], [2]])
        tensor([[0.2500, 0.2500, 0.5000]])

    Reference:
        Owen: Values of Games with a Priori Unions, Essays in Mathematical Economics and Game Theory, 1977.
        https://doi.org/10.1007/978-3-642-45494-3_7
    """
    options: dict[str, Any] = {"target": target, "feature_mask": feature_mask, "args": args, "kwargs": kwargs}
    game = open_games(model, x, baseline=baseline, baselines=baselines, chunk_size=chunk_size, **options)
    n = game.players
    steps = owen_steps(frozen(nesting, n), n)
    values = game.values(_members(steps.coalitions, n), chunk_size=chunk_size, progress=progress)
    before, after, players = (torch.tensor(part, device=values.device) for part in steps[1:4])
    weights = torch.tensor(steps.weights, dtype=values.dtype, device=values.device)[:, None]
    added = weights * (values[after] - values[before])
    return game.spread(torch.zeros_like(added[:n]).index_add(0, players, added).T)


def _members(coalitions: Sequence[int], players: int) -> Tensor:
    """Coalitions `(K, n)` from their bits, of which the first player has the first."""
    length = (players + 7) // 8
    data = torch.tensor(_bytes(coalitions, length), dtype=torch.uint8)
    bits = data[:, :, None] >> torch.arange(7, -1, -1, dtype=torch.uint8) & 1
    return bits.flatten(1)[:, 8 * length - players :].bool()


@at_trace_time  # a compiler knows no bytes
def _bytes(numbers: Sequence[int], length: int) -> list[list[int]]:
    """The bytes of numbers, the highest first."""
    return [list(one.to_bytes(length)) for one in numbers]
