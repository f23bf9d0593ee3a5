"""TRAK: a linear model in the sketched gradients of a margin (Park et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.loops.progress import Progress
from attrfunc.core.score.method import method
from attrfunc.core.score.target import BatchScore
from attrfunc.core.score.views import Model
from attrfunc.influence.batches import batches_of
from attrfunc.influence.count_sketch import CountSketch, Sketcher
from attrfunc.influence.curvature import cholesky, damped, most_numbers
from attrfunc.influence.network import Checkpoints, Network, checkpointed, open_network
from attrfunc.influence.per_example import PerExample, require_finite_scores
from attrfunc.influence.streams import reported, streaming
from attrfunc.influence.terms import Gradients, flat
from attrfunc.influence.values import Loss, losses, measured

__all__ = ["trak"]


def _blocks(
    model: Model,
    x: Any,
    *,
    data: Iterable[Any],
    loss: Loss,
    measure: Any,
    sketch: CountSketch | None = None,
    ridge: float = 0.0,
    checkpoints: Checkpoints | None = None,
    parameters: Any = None,
    progress: Progress = False,
) -> Iterator[Tensor]:
    """The scores, a batch of training data at a time."""
    if isinstance(measure, BatchScore) or not callable(measure):
        fix = "Pass the margin: log p - log (1 - p) of the label, say."
        raise ArgumentError("measure", describe(measure), "a function (model, batch) -> (B,)", fix)
    network, ridge = open_network(model, parameters), _ridge(ridge)
    stages = checkpointed(network, checkpoints)
    share = sum(weight for _, weight in stages)
    scorers = [(_scorer(at, x, data, loss, measure, sketch, ridge), weight / share) for at, weight in stages]
    for batch in reported(batches_of(data, ordered=True), data, progress):
        yield require_finite_scores(torch.stack([-weight * score(batch) for score, weight in scorers]).sum(0))


def _ridge(ridge: Any) -> float:
    try:
        return damped(ridge)
    except ArgumentError as error:
        raise ArgumentError("ridge", error.got, error.expected, "Pass ridge=0.0, or more.") from None


@streaming(_blocks)
@method
def trak(
    model: Model,
    x: Any,
    *,
    data: Iterable[Any],
    loss: Loss,
    measure: Any,
    sketch: CountSketch | None = None,
    ridge: float = 0.0,
    checkpoints: Checkpoints | None = None,
    parameters: Any = None,
    progress: Progress = False,
) -> Tensor:
    """By how much training examples raise a query's margin, as if the margin were linear in its gradients' sketches.

    `phi(query) . (sum_j phi(j) phi(j)^T + ridge)^-1 (-s(j))`, where `phi` is the sketch of the measure's gradient and
    `s` that of the loss's: a step of Newton's method. For a loss that is a function of the measure, `-s(j)` is `phi(j)`
    times what TRAK calls Q. Scores of several checkpoints, best of models that were trained independently, are
    averaged.

    Args:
        model: A module, in evaluation mode.
        x: The queries: a batch as the loss takes it, labels included.
        data: The training data: batches that can be passed over again.
        loss: `loss(model, batch) -> (B,)`.
        measure: `measure(model, batch) -> (B,)`, the higher the better, of queries and of training data: the margin
            `log p - log (1 - p)` of the label, say.
        sketch: A projection of gradients, made by `count_sketch`; `None` takes the gradients as they are.
        ridge: What is added to the matrix of the sketches.
        checkpoints: As for `tracin`; weights count relative to their sum.
        parameters: As for `tracin`.
        progress: Whether and how to report; see `attrfunc.core.loops.progress`.

    Returns:
        Scores `(Q, N)` in units of the measure: positive for examples that help.

    Raises:
        ArgumentError: If an argument cannot be right, or the matrix is singular: there are fewer examples than numbers
            in a sketch, and no ridge.

    Example:
        >>> model, batch = torch.nn.Linear(3, 2), (torch.randn(30, 3), torch.randint(2, (30,)))
        >>> def loss(model, batch):
        ...     return torch.nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")
        >>> def margin(model, batch):
        ...     logits = model(batch[0])
        ...     return (logits[:, 1] - logits[:, 0]) * (2 * batch[1] - 1)
        >>> af.influence.trak(model, batch, data=[batch], loss=loss, measure=margin, ridge=0.1).shape
        torch.Size([30, 30])

    Reference:
        Park, Georgiev, Ilyas, Leclerc, Madry: TRAK: Attributing Model Behavior at Scale, ICML 2023,
        https://arxiv.org/abs/2303.14186
    """
    options = {
        "data": data, "loss": loss, "measure": measure, "sketch": sketch, "ridge": ridge, "checkpoints": checkpoints,
        "parameters": parameters, "progress": progress,
    }  # fmt: skip
    return torch.cat(list(_blocks(model, x, **options)), 1)


def _scorer(
    network: Network, x: Any, data: Iterable[Any], loss: Loss, measure: Any, sketch: CountSketch | None, ridge: float
) -> Callable[[Any], Tensor]:
    project: Callable[[Gradients], Tensor]
    if sketch is None:
        most_numbers(network)
        project = lambda gradients: flat(gradients, network.dtype)  # noqa: E731
    else:
        project = Sketcher(sketch, network)
    explained, slopes = PerExample(network, measured(measure, loss)), PerExample(network, losses(loss))
    of_data = PerExample(network, measured(measure, loss, "data"))
    queries, matrix = project(explained(x)), None
    for batch in batches_of(data):
        features = project(of_data(batch)).double()
        product = features.T @ features
        matrix = product if matrix is None else matrix + product
    assert matrix is not None
    try:
        factor = cholesky(matrix, ridge)
    except ArgumentError as error:
        fix = "Pass a larger ridge, a smaller sketch or more data."
        raise ArgumentError("ridge", error.got, "a ridge that makes all eigenvalues positive", fix) from None
    solved = torch.cholesky_solve(queries.double().T, factor).T.to(network.dtype)
    return lambda batch: solved @ project(slopes(batch)).T
