"""LIME with any perturbation and any interpretable features (Ribeiro et al. 2016)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.loops.chunks import Work
from attrfunc.core.loops.plan import planned
from attrfunc.core.loops.progress import Progress
from attrfunc.core.loops.samples import Draws, sampled
from attrfunc.core.model.engines import require_finite
from attrfunc.core.score.method import method, open_problem
from attrfunc.core.score.target import Target
from attrfunc.core.score.views import Model, as_view
from attrfunc.core.trees import join_rows
from attrfunc.perturbation.linear_models import LinearModel, ridge
from attrfunc.perturbation.similarity import checked

__all__ = ["local_surrogate"]


@method
def local_surrogate(
    model: Model,
    x: Any,
    *,
    perturb: Callable[[Any, torch.Generator | None], tuple[Any, Tensor]],
    similarity: Callable[[Any, Any, Tensor], Tensor | float],
    n_samples: int = 1000,
    linear_model: LinearModel | None = None,
    generator: torch.Generator | None = None,
    target: Target = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    chunk_size: int | None = None,
    progress: Progress = False,
) -> Any:
    """The coefficients of a linear model of the score, fitted to perturbed inputs that are described by other features.

    With `ridge`: `argmin_c sum_k similarity(x, x_k) (score(x_k) - a - z_k . c)^2 + alpha |c|^2`. `lime` is the case
    whose features say which groups of the input are present.

    Args:
        model: A module, any callable, a neuron, or a bound model; no gradient is taken.
        x: The input, a tensor `(B, *S)` or a structure of them.
        perturb: `(x, generator) -> (x_k, z_k)`: a perturbed batch with the structure and shapes of x, and its features,
            `(n,)` alike for all examples or `(B, n)`. To sample features, draw z_k and make x_k of it; to sample
            inputs, draw x_k and describe it.
        similarity: `(x, x_k, z_k) -> weights`, a number or `(B,)`; at least 0.
        n_samples: Number of perturbed batches.
        linear_model: What is fitted; see `attrfunc.perturbation.linear_models`. `None` is `ridge(1.0)`.
        generator: Handed to `perturb`, sample by sample; see `attrfunc.core.loops.samples`. A `perturb` that draws is
            for `torch.vmap(..., randomness="same")`.
        target: Which output is attributed; see `attrfunc.core.score.target`.
        args: Further positional arguments of the model; see `attrfunc.core.score.inputs`.
        kwargs: Keyword arguments of the model.
        chunk_size: Rows evaluated at once; see `attrfunc.core.loops.chunks`.
        progress: Whether and how to report; see `attrfunc.core.loops.chunks`.

    Returns:
        Coefficients `(B, n)` in units of the score per unit of the feature. *Linearity*: those of a sum of scores are
        the sum, with `ridge` and `least_squares`; the latter is exact where the score is linear in the features.

    Raises:
        ArgumentError: If an argument cannot be right, or least squares has no unique solution.
        ModelError: If a score is not finite.

    Example:
        >>> model, x = torch.nn.Linear(6, 2), torch.ones(5, 6)
        >>> def perturb(x, generator):  # three features: how much of each pair of numbers is left
        ...     z = torch.rand(3, generator=generator)
        ...     return x * z.repeat_interleave(2), z
        >>> af.local_surrogate(model, x, perturb=perturb, similarity=lambda x, x_k, z: 1.0, target=0).shape
        torch.Size([5, 3])

    Reference:
        Ribeiro, Singh, Guestrin: "Why Should I Trust You?" Explaining the Predictions of Any Classifier, KDD 2016.
        https://arxiv.org/abs/1602.04938
    """
    if as_view(model).sites:
        fix = "Perturb the layer's activation with af.lime."
        raise ArgumentError("model", "a view of a layer", "a model or neuron, whose input is perturbed", fix)
    Draws(x, 0.0, generator)  # refuses what is no generator
    problem = planned(open_problem(model, x, target, args, kwargs, differentiate=False), chunk_size)
    rows = 1 if problem.whole else problem.inputs.rows

    def evaluate(count: int) -> list[Tensor]:
        drawn = [_draw(perturb, x, generator, rows) for _ in range(count)]
        part = problem.varied(join_rows([point for point, _ in drawn]))
        scores = part.scored().view(count, rows)
        require_finite(scores)
        weights = torch.stack([_weights(similarity(x, *one), scores) for one in drawn])
        return [scores, torch.stack([features for _, features in drawn]), weights]

    found: list[list[Tensor]] = []
    sampled(evaluate, n_samples, Work.of(problem), found.append, chunk_size=chunk_size, progress=progress)
    scores, features, weights = (torch.cat(parts) for parts in zip(*found, strict=True))
    return (linear_model or ridge())(features, scores, checked(weights))


def _draw(perturb: Callable[..., Any], x: Any, generator: torch.Generator | None, rows: int) -> tuple[Any, Tensor]:
    """A perturbed batch and its features `(n,)` or `(rows, n)`."""
    drawn = perturb(x, generator)
    leaves, spec = pytree.tree_flatten(x)
    if isinstance(drawn, tuple) and len(drawn) == 2:
        point, features = drawn
        given, nesting = pytree.tree_flatten(point)
        tensors = nesting == spec and all(isinstance(leaf, Tensor) for leaf in (*given, features))
        alike = tensors and all(leaf.shape == like.shape for leaf, like in zip(given, leaves, strict=True))
        if alike and (features.dim() == 1 or features.shape[:-1] == (rows,)):
            return point, features
    raise ArgumentError(
        "perturb",
        f"a callable that gives {describe(drawn)}",
        f"a pair: inputs like x, and features of shape (n,) or ({rows}, n)",
        "Return both.",
    )


def _weights(given: Tensor | float, scores: Tensor) -> Tensor:
    """The weights `(rows,)` of a sample."""
    weights = torch.as_tensor(given, dtype=torch.float64, device=scores.device)
    if weights.dim() > 1 or (weights.dim() == 1 and len(weights) != scores.shape[1]):
        raise ArgumentError(
            "similarity",
            f"a callable that gives {describe(given)}",
            f"a number, or weights of shape ({scores.shape[1]},)",
            "Give one weight for each example.",
        )
    return weights.expand(scores.shape[1])
