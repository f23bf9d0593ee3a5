"""How a score changes along concepts (Kim et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attrfunc.concepts.vectors import Concepts, at_one_layer
from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.loops.examples import by_examples
from attrfunc.core.loops.progress import Progress
from attrfunc.core.score.method import method, open_problem
from attrfunc.core.score.problem import Problem
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model
from attrfunc.perturbation.precision import wide

__all__ = ["Tcav", "concept_sensitivity", "shares", "tcav"]


class Tcav(NamedTuple):
    """What `tcav` gives.

    Attributes:
        sign: `(C,)`, the share of examples whose score grows along the concept.
        magnitude: `(C,)`, the share of these in the sum of the absolute sensitivities; NaN where all are 0.
    """

    sign: Tensor
    magnitude: Tensor


@method
def concept_sensitivity(
    view: Model,
    x: Any,
    *,
    vectors: Concepts | Tensor,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Tensor:
    """The derivative of the score along concepts, at a layer.

    `sum(gradient of the score at the activation * vector)`.

    Args:
        view: A view of a model at a layer.
        x: The input, a tensor `(B, *S)` or a structure of them.
        vectors: What `concept_vectors` gave, or a tensor `(C, *point)`.
        target: Which output is explained; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Derivatives `(B, C)`, in units of the score per unit of the vectors. For a linear head with weights w, they are
        `w @ v` for each example.

    Raises:
        ArgumentError: If an argument cannot be right.
        ModelError: If the score is not finite, or there is no way for its gradient.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
        >>> vector = torch.eye(4)[:1]
        >>> found = af.concepts.concept_sensitivity(af.layer(model, "0"), torch.ones(5, 3), vectors=vector, target=1)
        >>> torch.equal(found, model[1].weight[1, :1].detach().expand(5, 1))
        True

    Reference:
        Kim et al.: Interpretability Beyond Feature Attribution: Quantitative Testing with Concept Activation Vectors,
        ICML 2018, https://arxiv.org/abs/1711.11279.
    """
    at = at_one_layer(view)
    given = vectors.vectors if isinstance(vectors, Concepts) else vectors

    def sensitivity(part: Problem, rows: slice) -> Tensor:
        point, _, gradients = part.gradient()
        slope = gradients[0]
        right = isinstance(given, Tensor) and given.is_floating_point() and given.shape[1:] == slope.shape[1:]
        if len(point.leaves) != 1 or not right or given.dim() != slope.dim():
            fix = "Make them with concept_vectors and the same view; a single one is vector[None]."
            raise ArgumentError("vectors", describe(given), f"vectors (C, *point), of {tuple(slope.shape[1:])}", fix)
        if not bool(given.isfinite().all()):
            fix = "Find out where they were divided by 0."
            raise ArgumentError("vectors", "vectors that are NaN or infinite", "finite vectors", fix)
        return wide(slope).flatten(1) @ wide(given.to(slope)).flatten(1).T

    found: Tensor = by_examples(open_problem(at, x, target, args, kwargs), sensitivity, chunk_size, progress)
    return found


@method
def tcav(
    view: Model,
    x: Any,
    *,
    vectors: Concepts | Tensor,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Tcav:
    """How often, and how much, the score of a class grows along concepts: TCAV.

    Args:
        view: A view of a model at a layer.
        x: Examples of the class, a tensor `(B, *S)` or a structure of them.
        vectors: What `concept_vectors` gave, or a tensor `(C, *point)`.
        target: Which output is explained; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        `Tcav(sign, magnitude)`, shares from 0 to 1 for each concept. A share alone says little: random vectors have
        shares, too. `tcav_test` compares with them.

    Raises:
        ArgumentError: If an argument cannot be right, or there is no example.
        ModelError: If the score is not finite, or there is no way for its gradient.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
        >>> vectors = torch.stack([model[1].weight[1], -model[1].weight[1]]).detach()
        >>> af.concepts.tcav(af.layer(model, "0"), torch.ones(5, 3), vectors=vectors, target=1).sign
        tensor([1., 0.])

    Reference:
        Kim et al.: Interpretability Beyond Feature Attribution: Quantitative Testing with Concept Activation Vectors,
        ICML 2018, https://arxiv.org/abs/1711.11279.
    """
    options: dict[str, Any] = {"args": args, "kwargs": kwargs, "chunk_size": chunk_size, "progress": progress}
    return shares(concept_sensitivity(view, x, vectors=vectors, target=target, **options))


def shares(sensitivities: Tensor) -> Tcav:
    """What sensitivities `(B, C)` come to."""
    if not len(sensitivities):
        raise ArgumentError("x", "no example", "at least one", "Pass examples of the class.")
    positive, sizes = sensitivities.clamp(min=0).sum(0), sensitivities.abs().sum(0)
    sign = (sensitivities > 0).to(sensitivities.dtype).mean(0)
    return Tcav(sign, positive / torch.where(sizes > 0, sizes, torch.nan))
