"""Feature permutation (Breiman 2001; Fisher, Rudin and Dominici 2019)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, ModelError, describe, positive
from attrfunc.core.loops.chunks import Work
from attrfunc.core.loops.progress import Progress
from attrfunc.core.loops.samples import Draws, sampled
from attrfunc.core.model.engines import require_finite
from attrfunc.core.score.method import each_layer, method
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model
from attrfunc.perturbation.feature_groups import FeatureMask
from attrfunc.perturbation.game import Game, open_game
from attrfunc.perturbation.precision import wide

__all__ = ["PermFunc", "feature_permutation", "moving"]

# That of 1e16: n! draws hold the permutation that moves none once.
SURELY = 37.0

PermFunc = Callable[[Tensor, Tensor], Tensor]


@method
@each_layer
def feature_permutation(
    model: Model,
    x: Any,
    *,
    target: Target = None,
    feature_mask: FeatureMask = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    n_samples: int = 1,
    generator: torch.Generator | None = None,
    perm_func: PermFunc | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """What the score loses when one group of features is shuffled among the examples.

    `score(x) - score(x with the group taken from other examples)`, given to every element of the group. With
    `target=af.batch_score(...)` of a loss or an accuracy it is permutation importance.

    Args:
        model: A module, any callable, or a view of one; no gradient is taken.
        x: The input, a tensor `(B, *S)` of at least two examples (or of one, with `perm_func`), or a structure of them;
            integers, too.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        feature_mask: The groups, alike in all examples; see `attrfunc.perturbation.feature_groups`. What a group has in
            several tensors is shuffled together.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        n_samples: How many permutations of each group are averaged; none leaves all examples where they are.
        generator: Where randomness comes from; see `attrfunc.core.loops.samples`.
        perm_func: `(x, mask)` gives `x` with the elements under the mask `(1, *S)` permuted, tensor by tensor, in place
            of a random permutation.
        chunk_size: Rows evaluated at once, whole batches; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Attributions in units of the score, with the structure and shapes of `x` (or of the layer's activation; for a
        list of layers, a list). *Sensitivity*: a group that the score does not depend on gets zero.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If a score is not finite, or examples are not scored apart.

    Example:
        >>> model, x, labels = torch.nn.Linear(3, 2), torch.randn(8, 3), torch.tensor([0, 1] * 4)
        >>> accuracy = af.batch_score(lambda output: (output.argmax(1) == labels).float().mean())
        >>> generator = torch.Generator().manual_seed(0)
        >>> af.feature_permutation(model, x, target=accuracy, generator=generator).shape
        torch.Size([1, 3])

    Reference:
        Fisher, Rudin, Dominici: All Models are Wrong, but Many are Useful, JMLR 2019.
        https://arxiv.org/abs/1801.01489
    """
    unmoved: Any = {"baseline": lambda x: x, "args": args, "kwargs": kwargs}
    game = open_game(model, x, target=target, feature_mask=feature_mask, alike=True, **unmoved, chunk_size=chunk_size)
    _require_examples(game, perm_func)
    times = positive("n_samples", n_samples)
    shuffled = _Shuffled(game, Draws(x, 0.0, generator), perm_func)
    scores: list[Tensor] = []

    def evaluate(count: int) -> list[Tensor]:
        points = shuffled.next(count)
        found = game.problem.scores(game.point.like(points))
        require_finite(found)
        return [found]

    count, work = 1 + times * game.players, Work.of(game.problem)
    sampled(evaluate, count, work, lambda found: scores.extend(found), chunk_size=chunk_size, progress=progress)
    values = torch.cat(scores)
    values = wide(values)
    losses = values[0] - values[1:].unflatten(0, (times, game.players)).mean(0)
    return game.spread(losses.T)


def moving(rows: int, draw: Callable[[], Tensor], device: torch.device) -> Tensor:
    """A permutation of so many rows, any that moves some with the same probability.

    Args:
        rows: How many.
        draw: Gives one uniform number for each.
        device: Where the permutation is to be.
    """
    # The one that moves none is drawn again. All draws leave it with a probability below 1e-16.
    order = torch.arange(rows, device=device).roll(1)
    for _ in range(math.ceil(SURELY / math.lgamma(rows + 1)) if rows > 2 else 0):
        drawn = draw().argsort()
        same = (drawn == torch.arange(rows, device=drawn.device)).all()
        order = torch.where(same, order, drawn)
    return order


def _require_examples(game: Game, perm_func: PermFunc | None) -> None:
    if game.problem.plan.fixed and not game.problem.plan.apart:
        raise ModelError(
            "examples are shuffled, whose scores depend on each other: there is no change of each one's. Pass a score "
            "of the whole batch: target=af.batch_score(lambda output: ...)."
        )
    if not game.examples_first:
        raise ModelError(
            "examples are shuffled, which the layer's activation has not in dimension 0. Choose another layer."
        )
    if game.problem.inputs.rows < 2 and perm_func is None:
        raise ArgumentError(
            "x",
            f"{game.problem.inputs.rows} example(s)",
            "a batch of examples, among which features are shuffled",
            "Pass at least two.",
        )


class _Shuffled:
    """The points, one after the other: first the input as it is, then each group shuffled, group after group.

    Args:
        game: The game.
        draws: The source of permutations.
        perm_func: The user's way to permute, if any.
    """

    def __init__(self, game: Game, draws: Draws, perm_func: PermFunc | None) -> None:
        self._game, self._draws, self._perm_func, self._done = game, draws, perm_func, 0

    def next(self, count: int) -> list[Tensor]:
        """The next K points, tensors `(K, B, *S)`."""
        numbers = range(self._done, self._done + count)
        self._done += count
        points = [self._point(number) for number in numbers]
        return [torch.stack(leaves) for leaves in zip(*points, strict=True)]

    def _point(self, number: int) -> list[Tensor]:
        game = self._game
        if number == 0:
            return game.end
        masks = [ids == (number - 1) % game.players for ids in game.ids]
        pairs = list(zip(masks, game.end, strict=True))
        if self._perm_func is not None:
            return [self._permuted(mask, leaf) if mask.any() else leaf for mask, leaf in pairs]
        order = moving(game.problem.inputs.rows, self._draws.uniform, game.end[0].device)
        return [torch.where(mask, leaf[order.to(leaf.device)], leaf) for mask, leaf in pairs]

    def _permuted(self, mask: Tensor, leaf: Tensor) -> Tensor:
        assert self._perm_func is not None
        permuted = self._perm_func(leaf.clone(), mask)
        if not isinstance(permuted, Tensor) or permuted.shape != leaf.shape:
            raise ArgumentError(
                "perm_func",
                f"a result that is {describe(permuted)}",
                f"the shape of what was given, {tuple(leaf.shape)}",
                "Permute the examples; do not drop or add any.",
            )
        return permuted
