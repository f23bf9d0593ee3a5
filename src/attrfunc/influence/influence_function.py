"""Influence functions: what leaving an example out would do to a prediction, to first order (Koh, Liang 2017)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.loops.progress import Progress
from attrfunc.core.score.method import method
from attrfunc.core.score.views import Model
from attrfunc.influence.batches import batches_of
from attrfunc.influence.curvature import Curvature
from attrfunc.influence.directional import Slopes
from attrfunc.influence.network import open_network
from attrfunc.influence.per_example import PerExample, require_finite_scores
from attrfunc.influence.streams import reported, streaming
from attrfunc.influence.terms import flat, weighted
from attrfunc.influence.values import Loss, losses, measured

__all__ = ["influence_function"]


def _blocks(
    model: Model,
    x: Any,
    *,
    data: Iterable[Any],
    loss: Loss,
    measure: Any = None,
    curvature: Curvature,
    progress: Progress = False,
) -> Iterator[Tensor]:
    """The scores, a batch of training data at a time."""
    if not isinstance(curvature, Curvature):
        fix = "Pass curvature=attrfunc.influence.ekfac(model, data, loss=loss, damping=1e-3)."
        raise ArgumentError("curvature", describe(curvature), "what hessian, ggn, ekfac or their like give", fix)
    values, explained = losses(loss), measured(measure, loss)
    network = open_network(model, curvature.names)
    curvature.require(network)
    solved = curvature.solve(flat(PerExample(network, explained)(x), network.dtype))
    along = Slopes(network, values, network.split(solved[0])) if len(solved) == 1 else None
    gradients, directions = PerExample(network, values), network.split(solved)
    for batch in reported(batches_of(data, ordered=True), data, progress):
        if along is not None:
            products = along(batch).unsqueeze(0)
        else:
            products = weighted(directions, gradients(batch), network.dtype)
        yield require_finite_scores(-products / curvature.rows)


@streaming(_blocks)
@method
def influence_function(
    model: Model,
    x: Any,
    *,
    data: Iterable[Any],
    loss: Loss,
    measure: Any = None,
    curvature: Curvature,
    progress: Progress = False,
) -> Tensor:
    """By how much each training example has helped each query: what the query's measure would lose without it.

    `-grad measure(query) . (C + damping)^-1 grad loss(example) / N`, the derivative of the measure with respect to the
    example's weight in the sum of all losses, where `C` is the curvature of their mean. For least squares with a ridge,
    leaving an example out changes the measure by exactly this over `1 - leverage`, to first order in the measure.

    Args:
        model: A module, in evaluation mode, trained until its gradients are small.
        x: The queries: a batch as the loss takes it, labels included.
        data: The examples to score; the training data, or others.
        loss: `loss(model, batch) -> (B,)`.
        measure: As for `tracin`: `None` takes minus the loss.
        curvature: What `hessian`, `ggn`, `fisher`, `kfac`, `ekfac`, `lanczos`, `datainf`, `cg` or `lissa` gives; its
            parameters are those that influence is taken through.
        progress: Whether and how to report; see `attrfunc.core.loops.progress`.

    Returns:
        Scores `(Q, N)` in units of the measure: positive for examples that help. *Linear* in the measure.

    Raises:
        ArgumentError: If an argument cannot be right, or the curvature was made of other parameters.
        ModelError: If the model is in training mode, or examples depend on each other.

    Example:
        >>> model, batch = torch.nn.Linear(3, 1), (torch.randn(8, 3), torch.randn(8, 1))
        >>> loss = lambda model, batch: (model(batch[0]) - batch[1]).square().sum(1)
        >>> curvature = af.influence.ggn(model, [batch], loss=loss, damping=0.1)
        >>> af.influence.influence_function(model, batch, data=[batch], loss=loss, curvature=curvature).shape
        torch.Size([8, 8])

    Reference:
        Koh, Liang: Understanding Black-box Predictions via Influence Functions, ICML 2017,
        https://arxiv.org/abs/1703.04730
    """
    options = {"data": data, "loss": loss, "measure": measure, "curvature": curvature, "progress": progress}
    return torch.cat(list(_blocks(model, x, **options)), 1)
