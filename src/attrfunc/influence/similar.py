"""Training examples that a layer sees as it sees a query; and what nearest neighbours are worth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe, positive
from attrfunc.core.loops.progress import Progress
from attrfunc.core.score.activation import activation
from attrfunc.core.score.method import method
from attrfunc.core.score.views import Model, as_view
from attrfunc.core.trees import leaves_of
from attrfunc.influence.batches import batches_of
from attrfunc.influence.streams import public, reported, streaming

__all__ = ["activation_similarity", "knn_shapley"]

Metric = str | Callable[[Tensor, Tensor], Tensor]


def _cosine(queries: Tensor, others: Tensor) -> Tensor:
    scale = queries.norm(dim=1)[:, None] * others.norm(dim=1)
    return torch.where(scale > 0, queries @ others.T / torch.where(scale > 0, scale, 1), 0)


_METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cosine": _cosine,
    "dot": lambda queries, others: queries @ others.T,
    "euclidean": lambda queries, others: -torch.cdist(queries, others, compute_mode="donot_use_mm_for_euclid_dist"),
}


def _blocks(
    view: Model,
    x: Any,
    *,
    data: Iterable[Any],
    metric: Metric = "cosine",
    inputs: Callable[[Any], Any] | None = None,
    progress: Progress = False,
) -> Iterator[Tensor]:
    """The similarities, a batch of training data at a time."""
    if not as_view(view).sites:
        fix = 'Pass attrfunc.layer(model, "features").'
        raise ArgumentError("view", "a model without a layer", "a view at a layer", fix)
    compare = _METRICS.get(metric) if isinstance(metric, str) else metric
    if not callable(compare):
        expected = f"one of {', '.join(_METRICS)}, or a function (queries, others) -> (Q, B)"
        raise ArgumentError("metric", describe(metric), expected, "Cosine is the default.")
    queries = _flat(view, x)
    for batch in reported(batches_of(data, ordered=True), data, progress):
        others = _flat(view, batch if inputs is None else inputs(batch))
        if others.shape[1] != queries.shape[1]:
            fix = "Give queries and data one shape, or choose a layer that pools."
            got = f"activations of {others.shape[1]} numbers beside queries' {queries.shape[1]}"
            raise ArgumentError("data", got, "activations of one size", fix)
        found = compare(queries, others)
        if not isinstance(found, Tensor) or found.shape != (len(queries), len(others)):
            expected = f"a tensor of shape ({len(queries)}, {len(others)})"
            raise ArgumentError("metric", f"a metric that gives {describe(found)}", expected, "Compare all pairs.")
        yield found


def _flat(view: Model, x: Any) -> Tensor:
    with torch.no_grad():
        leaves = leaves_of(activation(view, x))
    return torch.cat([leaf.flatten(1).to(torch.promote_types(leaf.dtype, torch.float32)) for leaf in leaves], 1)


@streaming(_blocks)
@method
def activation_similarity(
    view: Model,
    x: Any,
    *,
    data: Iterable[Any],
    metric: Metric = "cosine",
    inputs: Callable[[Any], Any] | None = None,
    progress: Progress = False,
) -> Tensor:
    """How similar the activations of training examples at a layer are to those of queries.

    Args:
        view: A view at a layer, made by `layer`.
        x: The queries, as the model takes them: a tensor, or a tuple for several arguments.
        data: Batches of training data.
        metric: `"cosine"`, `"dot"`, `"euclidean"` (minus the distance), or a function `(Q, D), (B, D) -> (Q, B)`: the
            higher, the more alike.
        inputs: Takes the model's input out of a batch that has labels, too: `lambda batch: batch[0]`. `None` takes the
            batch as it is.
        progress: Whether and how to report; see `attrfunc.core.loops.progress`.

    Returns:
        Similarities `(Q, N)`. An activation of zeros has a cosine of zero with all.

    Raises:
        ArgumentError: If there is no layer, or an argument cannot be right.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> view = af.layer(model, "1")
        >>> af.influence.activation_similarity(view, torch.randn(2, 3), data=[torch.randn(8, 3)] * 3).shape
        torch.Size([2, 24])

    Reference:
        Hanawa, Yokoi, Hara, Inui: Evaluation of Similarity-based Explanations, ICLR 2021,
        https://arxiv.org/abs/2006.04528
    """
    options: dict[str, Any] = {"data": data, "metric": metric, "inputs": inputs, "progress": progress}
    return torch.cat(list(_blocks(view, x, **options)), 1)


@public
def knn_shapley(x: Any, *, data: Iterable[Any], k: int, features: Callable[[Any], Tensor] | None = None) -> Tensor:
    """Exact Shapley values of training examples in the accuracy of nearest neighbours.

    The game of a query is the share of its label among the `k` nearest of a coalition (counted as `k`, where there are
    fewer). Its Shapley values follow from the order of distances in closed form.

    Args:
        x: The queries: `(inputs, labels)`.
        data: Batches of the same kind.
        k: How many neighbours vote.
        features: Makes of inputs the features `(B, D)` that distances are taken of: an embedding; `None` takes the
            inputs themselves.

    Returns:
        Values `(Q, N)`: parts of the query's score. *Efficiency*: they sum to the score with all of the data.

    Raises:
        ArgumentError: If an argument cannot be right.

    Example:
        >>> batch = (torch.randn(20, 3), torch.randint(2, (20,)))
        >>> af.influence.knn_shapley(batch, data=[batch], k=5).shape
        torch.Size([20, 20])

    Reference:
        Jia et al.: Efficient Task-Specific Data Valuation for Nearest Neighbor Algorithms, VLDB 2019,
        https://arxiv.org/abs/1908.08619
    """
    k = positive("k", k)
    queries, wanted = _pair(x, features, "x")
    pairs = [_pair(batch, features, "data") for batch in batches_of(data, ordered=True)]
    others, labels = torch.cat([pair[0] for pair in pairs]), torch.cat([pair[1] for pair in pairs])
    if others.shape[1] != queries.shape[1]:
        raise ArgumentError("data", describe(others), f"features of {queries.shape[1]} numbers", "Embed both alike.")
    order = torch.cdist(queries, others, compute_mode="donot_use_mm_for_euclid_dist").argsort(dim=1, stable=True)
    hits = (labels[order] == wanted[:, None]).double()
    count = len(others)
    place = torch.arange(1, count, device=order.device, dtype=torch.float64)
    steps = (hits[:, :-1] - hits[:, 1:]) / k * place.clamp(max=k) / place
    last = hits[:, -1:] * min(k, count) / (k * count)
    values = torch.cat([steps, last], 1).flip(1).cumsum(1).flip(1)
    return torch.empty_like(values).scatter_(1, order, values).to(torch.promote_types(queries.dtype, torch.float32))


def _pair(batch: Any, features: Callable[[Any], Tensor] | None, name: str) -> tuple[Tensor, Tensor]:
    fix = "Pass inputs and labels, and features= for inputs of another shape than (B, D)."
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise ArgumentError(name, describe(batch), "a pair of inputs and labels", fix)
    with torch.no_grad():
        found = batch[0] if features is None else features(batch[0])
    if not isinstance(found, Tensor) or found.dim() != 2 or not found.is_floating_point():
        raise ArgumentError(name, f"features that are {describe(found)}", "a floating-point tensor (B, D)", fix)
    if not isinstance(batch[1], Tensor) or batch[1].shape != found.shape[:1]:
        raise ArgumentError(name, f"labels that are {describe(batch[1])}", f"a tensor of {len(found)} labels", fix)
    if not torch.isfinite(found).all():
        raise ArgumentError(name, "features that are not finite", "finite ones", "They have no distance.")
    return found.detach(), batch[1]
