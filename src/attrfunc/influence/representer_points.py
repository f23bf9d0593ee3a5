"""Representer points: a prediction as a sum over training examples (Yeh et al. 2018)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from attrfunc.core.errors import ArgumentError, ModelError, describe
from attrfunc.core.model.parts import named_modules
from attrfunc.core.score.method import method
from attrfunc.core.score.views import Model, as_view
from attrfunc.influence.batches import batches_of
from attrfunc.influence.curvature import damped
from attrfunc.influence.network import open_network
from attrfunc.influence.per_example import PerExample, require_finite_scores
from attrfunc.influence.terms import Gradients, Outer
from attrfunc.influence.values import Loss, losses

__all__ = ["representer_points"]


@method
def representer_points(
    model: Model, x: Any, *, data: Iterable[Any], loss: Loss, layer: str, target: int | Tensor, decay: float
) -> Tensor:
    """The parts of a logit that training examples make, through the last linear layer.

    Where a layer is at a minimum of `mean(loss) + decay / 2 |W|^2`, its weight is
    `-sum_j (slope of the loss at its output)_j (its input)_j^T / (decay N)`, and so its output a sum over the examples.

    Args:
        model: A module, in evaluation mode.
        x: The queries: a batch as the loss takes it.
        data: The training data: batches that can be passed over again.
        loss: `loss(model, batch) -> (B,)`, without the decay.
        layer: The name of a linear layer that runs once, the last one.
        target: Which of its outputs is explained: one number, or one for each query, `(Q,)`.
        decay: The weight decay of the layer in training, above 0.

    Returns:
        Scores `(Q, N)` in units of the output: positive for examples that raise it. *Completeness*, at the minimum:
        they sum to the output less its bias.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If the layer is no linear layer that runs once.

    Example:
        >>> model, batch = torch.nn.Linear(3, 2), (torch.randn(8, 3), torch.randint(2, (8,)))
        >>> model = torch.nn.Sequential(model)
        >>> def loss(model, batch):
        ...     return torch.nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")
        >>> options = {"loss": loss, "layer": "0", "target": 1, "decay": 0.1}
        >>> af.influence.representer_points(model, batch, data=[batch], **options).shape
        torch.Size([8, 8])

    Reference:
        Yeh, Kim, Yen, Ravikumar: Representer Point Selection for Explaining Deep Neural Networks, NeurIPS 2018,
        https://arxiv.org/abs/1811.09720
    """
    try:
        decay = damped(decay, positive=True)
    except ArgumentError as error:
        raise ArgumentError("decay", error.got, error.expected, "Pass the weight decay of the training.") from None
    found = named_modules(as_view(model).model).get(layer) if isinstance(layer, str) else None
    if not isinstance(found, nn.Linear):
        raise ArgumentError("layer", describe(layer), "the name of an nn.Linear", "Pass the name of the last one.")
    name = f"{layer}.weight" if layer else "weight"
    network = open_network(model, [name])
    queries = _factors(PerExample(network, losses(loss, "x"))(x), layer)
    index = _index(target, len(queries.right), queries.count)
    gradients, parts, rows = PerExample(network, losses(loss)), [], 0
    for batch in batches_of(data, ordered=True):
        examples = _factors(gradients(batch), layer)
        alike = queries.right[:, 0].to(network.dtype) @ examples.right[:, 0].to(network.dtype).T
        parts.append(-alike * examples.left[:, 0].to(network.dtype).T[index])
        rows += len(examples.right)
    return require_finite_scores(torch.cat(parts, 1) / (decay * rows))


def _factors(gradients: Gradients, layer: str) -> Outer:
    """The input of the layer, and the slope of the loss at its output."""
    (terms,) = gradients.values()
    if len(terms) != 1 or not isinstance(terms[0], Outer) or terms[0].right.shape[1] != 1:
        raise ModelError(
            f"layer {layer!r} does not run once for each example on a vector, so that its output is no sum over "
            "examples. Choose the last linear layer, behind all pooling."
        )
    return terms[0]


def _index(target: Any, rows: int, count: int) -> Tensor:
    index = torch.as_tensor(target)
    if index.is_floating_point() or index.dtype == torch.bool or index.dim() > 1 or index.numel() not in (1, rows):
        fix = "Pass target=labels."
        raise ArgumentError("target", describe(target), f"a number, or one for each of {rows} queries", fix)
    index = index.reshape(-1).expand(rows)
    if index.min() < -count or index.max() >= count:
        raise ArgumentError("target", describe(target), f"numbers of the layer's {count} outputs", "Count from 0.")
    return index % count
