"""TracIn: what a step on a training example did to a prediction, added up over checkpoints (Pruthi et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError
from attrfunc.core.loops.progress import Progress
from attrfunc.core.score.method import method
from attrfunc.core.score.views import Model
from attrfunc.influence.batches import batches_of
from attrfunc.influence.count_sketch import CountSketch, Sketcher, as_dense
from attrfunc.influence.directional import Slopes
from attrfunc.influence.network import Checkpoints, Network, checkpointed, open_network
from attrfunc.influence.per_example import PerExample, require_finite_scores
from attrfunc.influence.streams import reported, streaming
from attrfunc.influence.terms import flat, inner, norms, rows_in, settled
from attrfunc.influence.values import Loss, Values, losses, measured

__all__ = ["self_influence", "tracin"]


def _blocks(
    model: Model,
    x: Any,
    *,
    data: Iterable[Any],
    loss: Loss,
    measure: Any = None,
    checkpoints: Checkpoints | None = None,
    parameters: Any = None,
    cosine: bool = False,
    sketch: CountSketch | None = None,
    progress: Progress = False,
) -> Iterator[Tensor]:
    """The scores, a batch of training data at a time."""
    network = open_network(model, parameters)
    values, explained = losses(loss), measured(measure, loss)
    scorers = [
        (_scorer(at, x, values, explained, cosine, sketch), weight) for at, weight in checkpointed(network, checkpoints)
    ]
    for batch in reported(batches_of(data, ordered=True), data, progress):
        total = torch.stack([-weight * score(batch) for score, weight in scorers]).sum(0)
        yield require_finite_scores(total)


@streaming(_blocks)
@method
def tracin(
    model: Model,
    x: Any,
    *,
    data: Iterable[Any],
    loss: Loss,
    measure: Any = None,
    checkpoints: Checkpoints | None = None,
    parameters: Any = None,
    cosine: bool = False,
    sketch: CountSketch | None = None,
    progress: Progress = False,
) -> Tensor:
    """By how much steps on each training example have helped each query, to first order.

    `sum_c weight_c * grad measure(query) . (-grad loss(example))` over checkpoints `c`: a gradient step on the example
    changes the query's measure by that.

    Inner products are taken of factors (activations, and gradients of outputs, by operation), so that gradients are not
    written out where that costs more; one query takes a pass of forward mode for each batch. Results do not depend on
    how the data is batched.

    Args:
        model: A module, in evaluation mode, or what `bind` makes of one.
        x: The queries: a batch as the loss takes it, labels included.
        data: The training data: batches that can be passed over again, such as a `DataLoader` that does not shuffle.
        loss: `loss(model, batch) -> (B,)`: what was trained, without reduction. It calls the model that it is given.
        measure: `measure(model, batch) -> (Q,)`: what is explained of the queries, the higher the better: a logit, say.
            `None` takes minus the loss; a `batch_score` of a function of both explains one number of the whole batch.
        checkpoints: State dicts from training, each by itself or in a pair with a weight (the learning rate there);
            they are bound, never loaded. `None` takes the model as it is, with weight 1.
        parameters: Names of parameters or modules; `None` takes all that require a gradient.
        cosine: Whether to divide by the norms of both gradients, at each checkpoint: large losses then do not prevail.
        sketch: A projection of gradients, made by `count_sketch`, for queries that would not fit into memory.
        progress: Whether and how to report; see `attrfunc.core.loops.progress`.

    Returns:
        Scores `(Q, N)` in units of the measure: positive for examples that helped. *Linear* in the measure and in the
        weights of checkpoints.

    Raises:
        ArgumentError: If an argument cannot be right: a loss that is reduced, data that can be passed over once only,
            a checkpoint of another model.
        ModelError: If the model is in training mode, or examples depend on each other.

    Example:
        >>> model = torch.nn.Linear(3, 2)
        >>> data = [(torch.randn(8, 3), torch.randint(2, (8,))) for _ in range(4)]
        >>> def loss(model, batch):
        ...     return torch.nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")
        >>> af.influence.tracin(model, data[0], data=data, loss=loss).shape
        torch.Size([8, 32])

    Reference:
        Pruthi, Liu, Sundararajan, Kale: Estimating Training Data Influence by Tracing Gradient Descent, NeurIPS 2020,
        https://arxiv.org/abs/2002.08484
    """
    options = {
        "data": data, "loss": loss, "measure": measure, "checkpoints": checkpoints, "parameters": parameters,
        "cosine": cosine, "sketch": sketch, "progress": progress,
    }  # fmt: skip
    return torch.cat(list(_blocks(model, x, **options)), 1)


def _scorer(
    network: Network, x: Any, values: Values, explained: Values, cosine: bool, sketch: CountSketch | None
) -> Callable[[Any], Tensor]:
    """What gives the inner products of the queries' gradients with those of a batch, `(Q, B)`."""
    queries, dtype = PerExample(network, explained)(x), network.dtype
    if rows_in(queries) == 1 and not cosine and sketch is None:
        slopes = Slopes(network, values, network.split(flat(queries, dtype)[0]))
        return lambda batch: slopes(batch).unsqueeze(0)
    per_example = PerExample(network, values)
    sketcher = None if sketch is None else Sketcher(sketch, network)
    known = settled(queries, dtype) if sketcher is None else as_dense(sketcher(queries))
    own = norms(queries, dtype).sqrt() if cosine else None

    def score(batch: Any) -> Tensor:
        gradients = per_example(batch)
        products = inner(known, gradients if sketcher is None else as_dense(sketcher(gradients)), dtype)
        if own is None:
            return products
        # An example whose gradient is zero has no direction, and no influence.
        scale = own[:, None] * norms(gradients, dtype).sqrt()
        return torch.where(scale > 0, products / torch.where(scale > 0, scale, 1), 0)

    return score


@method
def self_influence(
    model: Model,
    data: Iterable[Any],
    *,
    loss: Loss,
    checkpoints: Checkpoints | None = None,
    parameters: Any = None,
    curvature: Any = None,
    progress: Progress = False,
) -> Tensor:
    """The influence of each training example on itself: high for what is mislabelled, rare, or learned by heart.

    `sum_c weight_c |grad loss|^2` over checkpoints, or `grad loss . C^-1 grad loss / N` with a curvature.

    Args:
        model: A module, in evaluation mode, or what `bind` makes of one.
        data: Batches of training data.
        loss: `loss(model, batch) -> (B,)`.
        checkpoints: As for `tracin`.
        parameters: As for `tracin`.
        curvature: What `hessian`, `ekfac` and their like give, instead of checkpoints and parameters.
        progress: Whether and how to report; see `attrfunc.core.loops.progress`.

    Returns:
        Scores `(N,)`, which are not negative, in units of the loss.

    Raises:
        ArgumentError: If an argument cannot be right.

    Example:
        >>> model = torch.nn.Linear(3, 2)
        >>> data = [(torch.randn(8, 3), torch.randint(2, (8,)))]
        >>> loss = lambda model, batch: torch.nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")
        >>> af.influence.self_influence(model, data, loss=loss).shape
        torch.Size([8])

    Reference:
        Pruthi et al. 2020, https://arxiv.org/abs/2002.08484; Koh, Liang: Understanding Black-box Predictions via
        Influence Functions, ICML 2017, https://arxiv.org/abs/1703.04730
    """
    values = losses(loss)
    if curvature is not None and not (checkpoints is None and parameters is None):
        fix = "Leave checkpoints and parameters out: a curvature has its own."
        raise ArgumentError("curvature", "a curvature beside checkpoints or parameters", "one of them", fix)
    network = open_network(model, parameters if curvature is None else curvature.names)
    stages = [(PerExample(at, values), weight) for at, weight in checkpointed(network, checkpoints)]
    found = []
    for batch in reported(batches_of(data, ordered=True), data, progress):
        if curvature is None:
            parts = [weight * norms(gradients(batch), network.dtype) for gradients, weight in stages]
            found.append(torch.stack(parts).sum(0))
        else:
            found.append(curvature.own(network, stages[0][0](batch)))
    return require_finite_scores(torch.cat(found))
