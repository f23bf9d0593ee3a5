"""Retraining: what scores of training data claim, tried; and exact derivatives through training itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, ModelError, describe, positive
from attrfunc.influence.streams import public

__all__ = ["Lds", "lds", "leave_one_out", "mislabel_auc", "retrain", "training_influence"]

Train = Callable[[Tensor], Any]
"""A pure function of the weights `(N,)` of training examples: it trains a model, and gives anything made of tensors."""


class Lds(NamedTuple):
    """How well scores tell what retraining on subsets does.

    Attributes:
        mean: The mean over queries of Spearman's rank correlation.
        interval: Where it lies with 95 % confidence, over queries and over subsets.
    """

    mean: float
    interval: tuple[float, float]


@public
def retrain(train: Train, masks: Tensor, *, chunk_size: int | None = None) -> Any:
    """Train once for each of several weightings of the training data, all in one program.

    `torch.vmap` over `train`: on small models a hundred trainings take little more than one, since each operation is
    done for all of them at once.

    Args:
        train: A pure function of the weights `(N,)` of the examples, by which it multiplies their losses: it draws
            nothing at random but from what it is given, and gives what is wanted of the trained model, a tensor or a
            structure of tensors: its parameters, or a measure of each query `(Q,)`.
        masks: The weightings, `(K, N)`: 1 for examples that are trained on, 0 for the others.
        chunk_size: How many trainings to do at once; `None` does all of them.

    Returns:
        What `train` gives, with K before all dimensions.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If `train` cannot be mapped.

    Example:
        >>> x, y = torch.randn(20, 3), torch.randn(20)
        >>> def train(weights):
        ...     gram = (x.T * weights) @ x + torch.eye(3)
        ...     return x[:4] @ torch.linalg.solve(gram, (x.T * weights) @ y)
        >>> af.influence.retrain(train, torch.rand(5, 20).round()).shape
        torch.Size([5, 4])
    """
    _require_train(train)
    masks = _floats("masks", masks, 2)
    if chunk_size is not None:
        positive("chunk_size", chunk_size)
    try:
        return torch.vmap(train, chunk_size=chunk_size)(masks)
    except RuntimeError as error:
        if not any(part in str(error) for part in ("vmap", "data-dependent", "functorch")):
            raise
        raise ModelError(
            f"`train` cannot be mapped over the masks: {str(error).splitlines()[0][:200]}. Let it be pure (no in-place "
            "writes into tensors that exist before, no .item(), draws from a generator made outside), by "
            "torch.func.functional_call and torch.func.grad; or loop over the masks."
        ) from error


@public
def leave_one_out(train: Train, *, weights: Tensor, chunk_size: int | None = None) -> Tensor:
    """What each query's measure loses if an example is left out of training: by retraining without each.

    Args:
        train: As for `retrain`, giving a measure of each query, `(Q,)`: the higher, the better.
        weights: The weights of all examples in full training, `(N,)`: `torch.ones(N)`.
        chunk_size: How many trainings to do at once.

    Returns:
        Scores `(Q, N)` in units of the measure: `measure with all - measure without the example`.

    Raises:
        ArgumentError: If `train` gives no measure, or an argument cannot be right.

    Example:
        >>> x, y = torch.randn(20, 3), torch.randn(20)
        >>> def train(weights):
        ...     gram = (x.T * weights) @ x + torch.eye(3)
        ...     return x[:4] @ torch.linalg.solve(gram, (x.T * weights) @ y)
        >>> af.influence.leave_one_out(train, weights=torch.ones(20)).shape
        torch.Size([4, 20])
    """
    weights = _floats("weights", weights, 1)
    masks = torch.cat([weights.unsqueeze(0), weights * (1 - torch.eye(len(weights)).to(weights))])
    found = retrain(train, masks, chunk_size=chunk_size)
    if not isinstance(found, Tensor) or found.dim() != 2:
        got = f"{describe(found)} for {len(masks)} trainings"
        raise ArgumentError(
            "train", got, "a measure of each query, (Q,), for each", "Return one number for each query."
        )
    return (found[:1] - found[1:]).T


@public
def training_influence(
    train: Train, *, weights: Tensor, measure: Callable[[Any], Tensor] | None = None, chunk_size: int | None = None
) -> Tensor:
    """The exact derivative of what training leads to with respect to the weight of each example.

    `d measure(train(weights)) / d weights`: no curvature is inverted and no optimum assumed; the order of batches, the
    steps of the optimiser and early stopping count as they were. It takes the memory of all steps at once.

    Args:
        train: A pure function of the weights `(N,)` of the examples, as for `retrain`, made of operations that torch
            differentiates twice.
        weights: Where to differentiate: `torch.ones(N)` for training as it was.
        measure: Makes of what `train` gives a number for each query, `(Q,)`, the higher the better; `None` where
            `train` gives that itself.
        chunk_size: How many queries to take back through training at once; `None` takes all.

    Returns:
        Scores `(Q, N)` in units of the measure: positive for examples that help.

    Raises:
        ArgumentError: If an argument cannot be right, or the measure does not depend on the weights.

    Example:
        >>> x, y = torch.randn(20, 3), torch.randn(20)
        >>> def train(weights):
        ...     gram = (x.T * weights) @ x + torch.eye(3)
        ...     return torch.linalg.solve(gram, (x.T * weights) @ y)
        >>> af.influence.training_influence(train, weights=torch.ones(20), measure=lambda w: x[:4] @ w).shape
        torch.Size([4, 20])

    Reference:
        Ilyas, Engstrom: MAGIC: Near-Optimal Data Attribution for Deep Learning, 2025, https://arxiv.org/abs/2504.16430
    """
    _require_train(train)
    weights = _floats("weights", weights, 1)
    if measure is not None and not callable(measure):
        raise ArgumentError("measure", describe(measure), "a function of what `train` gives, or None", "Pass one.")
    reached: list[bool] = []

    def measured(given: Tensor) -> Tensor:
        found = train(given)
        found = found if measure is None else measure(found)
        if not isinstance(found, Tensor) or found.dim() > 1 or not found.is_floating_point():
            name = "train" if measure is None else "measure"
            raise ArgumentError(
                name, describe(found), "a number for each query, (Q,)", "Return a tensor of that shape."
            )
        reached.append(found.requires_grad)
        return found.reshape(-1)

    with torch.inference_mode(False), torch.enable_grad():
        scores = torch.func.jacrev(measured, chunk_size=chunk_size)(weights.detach())
    if not any(reached):
        raise ArgumentError(
            "train",
            "a result that does not depend on the weights",
            "a function that multiplies the loss of each example by its weight",
            "Keep the graph: no detach, no torch.no_grad, and torch.func.grad or create_graph=True for the steps.",
        )
    if not torch.isfinite(scores).all():
        raise ModelError("a derivative through training is not finite: it has diverged. Take smaller steps.")
    return scores.detach()


def _require_train(train: Any) -> None:
    if isinstance(train, torch.nn.Module) or not callable(train):
        fix = "Pass a pure function that trains with these weights of the examples' losses."
        raise ArgumentError("train", describe(train), "a function of weights (N,)", fix)


def _floats(name: str, values: Any, dims: int) -> Tensor:
    if not isinstance(values, Tensor) or values.dim() != dims or not values.numel():
        shape = "(K, N)" if dims == 2 else "(N,)"
        raise ArgumentError(name, describe(values), f"a tensor of shape {shape}", "1 for examples that are trained on.")
    return values if values.is_floating_point() else values.to(torch.get_default_dtype())


@public
def lds(scores: Tensor, masks: Tensor, truth: Tensor) -> Lds:
    """The linear datamodelling score: how scores, added up over subsets of data, rank what training on these gives.

    Args:
        scores: Of each query and example, `(Q, N)`: positive for examples that help.
        masks: The subsets, `(K, N)`.
        truth: The measure of each query after training on each subset, `(K, Q)`, the higher the better.

    Returns:
        The mean of Spearman's rank correlation over queries, and its interval: the spread over queries and a jackknife
        over subsets are added. A query whose truth is the same in all subsets counts as 0.

    Raises:
        ArgumentError: If shapes do not fit, or there are fewer than three subsets.

    Example:
        >>> scores, masks = torch.randn(4, 30), torch.rand(50, 30).round()
        >>> af.influence.lds(scores, masks, masks @ scores.T).mean
        1.0

    Reference:
        Park, Georgiev, Ilyas, Leclerc, Madry: TRAK: Attributing Model Behavior at Scale, ICML 2023,
        https://arxiv.org/abs/2303.14186
    """
    masks, truth, scores = _floats("masks", masks, 2), _floats("truth", truth, 2), _floats("scores", scores, 2)
    queries, count = scores.shape
    subsets = len(masks)
    fix = "Pass scores (Q, N), masks (K, N) and truth (K, Q)."
    if masks.shape[1] != count:
        raise ArgumentError("masks", describe(masks), f"a mask of the {count} examples of the scores", fix)
    if truth.shape != (subsets, queries):
        raise ArgumentError("truth", describe(truth), f"a tensor of shape ({subsets}, {queries})", fix)
    if subsets < 3:
        raise ArgumentError("masks", f"{subsets} subset(s)", "at least 3, some hundred for a narrow interval", fix)
    for name, values in (("scores", scores), ("truth", truth)):
        if not torch.isfinite(values).all():
            raise ArgumentError(
                name, "numbers that are not finite", "finite ones", "Look for a training that diverged."
            )
    predicted, wanted = masks.double() @ scores.double().T, truth.double()
    each = _spearman(predicted, wanted)
    keep = ~torch.eye(subsets, dtype=torch.bool)
    left_out = torch.stack([_spearman(predicted[row], wanted[row]).mean() for row in keep.to(predicted.device)])
    over_subsets = (left_out - left_out.mean()).square().sum() * (subsets - 1) / subsets
    over_queries = each.var() / queries if queries > 1 else torch.zeros(())
    mean, half = float(each.mean()), 1.96 * math.sqrt(float(over_subsets) + float(over_queries))
    return Lds(mean, (max(mean - half, -1.0), min(mean + half, 1.0)))


def _spearman(one: Tensor, other: Tensor) -> Tensor:
    """Rank correlations of columns."""
    a, b = (ranks - ranks.mean(0) for ranks in (_ranks(one), _ranks(other)))
    scale = (a.square().sum(0) * b.square().sum(0)).sqrt()
    return torch.where(scale > 0, (a * b).sum(0) / torch.where(scale > 0, scale, 1), 0)


def _ranks(values: Tensor) -> Tensor:
    """Ranks in each column; what ties has the mean of its ranks."""
    ordered = values.sort(0).values.T.contiguous()
    columns = values.T.contiguous()
    low = torch.searchsorted(ordered, columns)
    high = torch.searchsorted(ordered, columns, right=True)
    return ((low + high).double() / 2).T


@public
def mislabel_auc(scores: Tensor, mislabelled: Tensor) -> float:
    """How well scores find wrong labels: the chance that a wrong one has a higher score than a right one.

    Args:
        scores: Of each training example, `(N,)`: `self_influence`, say.
        mislabelled: Which labels are wrong, `(N,)` booleans.

    Returns:
        The area under the receiver operating characteristic: 1 where all wrong ones come first, 0.5 by chance.

    Raises:
        ArgumentError: If shapes do not fit, or there are no wrong labels, or no right ones.

    Example:
        >>> af.influence.mislabel_auc(torch.tensor([3.0, 1.0, 2.0]), torch.tensor([True, False, False]))
        1.0

    Reference:
        Pruthi et al. 2020, https://arxiv.org/abs/2002.08484
    """
    scores = _floats("scores", scores, 1).double()
    if not isinstance(mislabelled, Tensor) or mislabelled.shape != scores.shape or mislabelled.dtype != torch.bool:
        fix = "Pass which labels are wrong: labels != right_labels."
        raise ArgumentError("mislabelled", describe(mislabelled), f"booleans of shape ({len(scores)},)", fix)
    if torch.isnan(scores).any():
        raise ArgumentError("scores", "scores that are not numbers", "numbers", "Look at how they were made.")
    wrong = int(mislabelled.sum())
    if wrong in (0, len(scores)):
        got = f"{wrong} wrong labels among {len(scores)}"
        raise ArgumentError("mislabelled", got, "some that are wrong and some that are right", "Plant some.")
    ranks = _ranks(scores.unsqueeze(1)).squeeze(1)[mislabelled.to(scores.device)] + 0.5
    return float((ranks.sum() - wrong * (wrong + 1) / 2) / (wrong * (len(scores) - wrong)))
