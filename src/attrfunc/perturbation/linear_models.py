"""Linear models of a game, fitted to the scores of some coalitions.

This is where `linear_model` is documented. It is a callable `(features, scores, weights) -> coefficients`:

features: `(K, n)`, or `(K, B, n)` where examples have features of their own: K samples of n numbers; booleans, too.
scores: `(K, B)`, what is to be predicted.
weights: `(K, B)`, or `(K, 1)` if they are alike for all examples: what each sample counts, at least 0.
coefficients: `(B, n)`, without the intercept.

`ridge` and `least_squares` are differentiable with respect to all three; what scikit-learn fits is not. Only ratios of
weights matter: they are scaled to a mean of 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, ModelError, describe
from attrfunc.core.model.engines import differentiated, known, wrapped
from attrfunc.perturbation.linear_systems import Samples, bare, conjugate_gradients, solved, too_large

__all__ = [
    "LinearModel",
    "least_squares",
    "linear_fit",
    "one_by_one",
    "ridge",
]

LinearModel = Callable[[Tensor, Tensor, Tensor], Tensor]

# What is left of a feature's square once the features before it are taken out, if it is to count as its own.
INDEPENDENT = 1e-10


def ridge(alpha: float = 1.0, *, intercept: bool = True) -> LinearModel:
    """A linear model with a penalty on squared coefficients.

    It minimises `sum_k w_k (y_k - a - z_k . c)^2 + alpha |c|^2`, with weights w of mean 1; a is not penalised.

    Args:
        alpha: The penalty. Few samples determine any number of coefficients with it.
        intercept: `False` leaves a out.

    Returns:
        A linear model; see `attrfunc.perturbation.linear_models`.

    Raises:
        ArgumentError: If `alpha` is not above 0.

    Example:
        >>> z = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        >>> y = z @ torch.tensor([[3.0], [-1.0]]) + 5
        >>> af.surrogates.ridge(1.0)(z, y, torch.ones(4, 1))  # the squares of z - mean(z) sum to 1
        tensor([[ 1.5000, -0.5000]])
    """
    if not isinstance(alpha, int | float) or not 0 < alpha < float("inf"):
        raise ArgumentError(
            "alpha", describe(alpha), "a finite number above 0", "For no penalty use af.surrogates.least_squares()."
        ).within("ridge")
    return lambda features, scores, weights: linear_fit(features, scores, weights, alpha=alpha, intercept=intercept)


def least_squares(*, intercept: bool = True) -> LinearModel:
    """A linear model without a penalty.

    It minimises `sum_k w_k (y_k - a - z_k . c)^2`. A score that is linear in the features is recovered exactly.

    Args:
        intercept: `False` leaves a out.

    Returns:
        A linear model, which raises `ArgumentError` if the samples do not determine it; see
        `attrfunc.perturbation.linear_models`.

    Example:
        >>> z = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        >>> y = z @ torch.tensor([[3.0], [-1.0]]) + 5
        >>> af.surrogates.least_squares()(z, y, torch.ones(4, 1))
        tensor([[ 3., -1.]])
    """
    return lambda features, scores, weights: linear_fit(features, scores, weights, alpha=0.0, intercept=intercept)


def one_by_one(fit: Callable[[Tensor, Tensor, Tensor], Tensor]) -> LinearModel:
    """A linear model that is fitted to each example by itself.

    Args:
        fit: `(features, scores, weights) -> coefficients` of one example: `(K, n)`, `(K,)` and `(K,)` give `(n,)`. The
            weights are as they come; only their ratios matter.

    Returns:
        A linear model; see `attrfunc.perturbation.linear_models`.

    Example:
        >>> def solved(features, scores, weights):  # any solver of one's own
        ...     return torch.linalg.lstsq(features.double(), scores.double()).solution
        >>> model, x = torch.nn.Linear(3, 2), torch.ones(5, 3)
        >>> af.lime(model, x, target=1, linear_model=af.surrogates.one_by_one(solved)).shape
        torch.Size([5, 3])
    """

    def of_each(features: Tensor, scores: Tensor, weights: Tensor) -> Tensor:
        found = []
        for row in range(scores.shape[1]):
            own = features if features.dim() == 2 else features[:, row]
            found.append(fit(own, scores[:, row], weights[:, row if weights.shape[1] > 1 else 0]))
        coefficients = torch.stack(found) if found else torch.zeros(0, features.shape[-1])
        return coefficients.to(scores.device, result_type(scores))

    return of_each


def require_no_gradient(name: str, *tensors: Tensor) -> None:
    """Raise if a transform or autograd works through what a solver outside torch is given."""
    if any(wrapped(part) or differentiated(part) for part in tensors):
        raise ModelError(
            f"{name} is fitted outside torch, so no transform of torch.func and no gradient goes through it. Call it "
            "under torch.no_grad() and without vmap, or use linear_model=af.surrogates.ridge()."
        )


def result_type(scores: Tensor) -> torch.dtype:
    """The dtype of coefficients: that of the scores, in single precision at least."""
    return torch.promote_types(scores.dtype, torch.float32)


def linear_fit(features: Tensor, scores: Tensor, weights: Tensor, *, alpha: float, intercept: bool) -> Tensor:
    """Weighted least squares with a penalty on squares, for all examples at once, in double precision.

    Args:
        features: Features, as in this module.
        scores: Scores `(K, B)`.
        weights: Weights `(K, B)` or `(K, 1)`.
        alpha: The penalty; 0 is none.
        intercept: Whether there is an intercept.

    Returns:
        Coefficients `(B, n)` in the dtype of the scores.

    Raises:
        ArgumentError: If the samples do not determine the coefficients.
    """
    count, n = features.shape[0], features.shape[-1]
    if alpha == 0 and count < n + intercept:
        raise too_few(f"{count} samples for {n} groups", f"at least {n + intercept}")
    if too_large(count, n):
        return _iterated(features, scores, weights, alpha=alpha, intercept=intercept)
    z = (features[None] if features.dim() == 2 else features.transpose(0, 1)).double()
    y, w = scores.T.double(), weights.T.double()
    w = w / w.mean(1, keepdim=True)
    if intercept:
        share = w / count
        z = z - share[:, None] @ z
        y = y - (share * y).sum(1, keepdim=True)
    if alpha > 0 and count < n:
        # As many equations as samples: c = z' (w z z' + alpha)^-1 w y.
        inner = w[:, :, None] * (z @ z.mT) + alpha * torch.eye(count, dtype=z.dtype, device=z.device)
        coefficients = z.mT @ torch.linalg.solve(inner, (w * y)[:, :, None])
    else:
        weighted = w[:, :, None] * z
        gram = weighted.mT @ z + alpha * torch.eye(n, dtype=z.dtype, device=z.device)
        factor, failed = torch.linalg.cholesky_ex(gram)
        left, whole = factor.diagonal(dim1=-2, dim2=-1).square(), gram.diagonal(dim1=-2, dim2=-1)
        if alpha == 0 and known((failed != 0).any() | ~(left > INDEPENDENT * whole).all()):
            raise too_few(f"{count} samples that do not tell the {n} groups apart", "samples that do")
        coefficients = torch.cholesky_solve(weighted.mT @ y[:, :, None], factor)
    return coefficients[:, :, 0].to(result_type(scores))


def _iterated(features: Tensor, scores: Tensor, weights: Tensor, *, alpha: float, intercept: bool) -> Tensor:
    """The same where there are many samples and features, whose products take too long."""
    if features.dim() != 2 or alpha == 0:
        raise ArgumentError(
            "linear_model",
            f"least squares of {describe(features)}",
            "a penalty, and features that the examples share, where there are so many of both",
            "Use af.surrogates.ridge() and af.lime, draw fewer samples, or make fewer groups with feature_mask.",
        )
    members, weighing = bare(features), bare(weights)
    if members is None or weighing is None:
        raise ModelError(
            "the weights of so many samples of so many groups have no gradient, and are not mapped by vmap. Use "
            "af.surrogates.exponential_kernel(space='coalition'), torch.no_grad(), or fewer groups."
        )
    y, w = scores.double(), weighing.double() / weighing.double().mean(0)
    rows = torch.zeros(len(w), 1, dtype=torch.float64, device=members.device)
    samples = Samples(members, rows, torch.zeros(members.shape[1], 1, dtype=torch.float64, device=members.device))
    if intercept:
        share = w / len(w)
        y = y - (share * y).sum(0)
        samples = replace(samples, columns=samples.back(share))
    return solved(samples, w, y, conjugate_gradients(samples, w, alpha)).T.to(result_type(scores))


def too_few(got: str, expected: str) -> ArgumentError:
    """The error of least squares without a unique solution."""
    fix = "Draw more of them, make fewer groups with feature_mask, or use linear_model=af.surrogates.ridge()."
    return ArgumentError("n_samples", got, expected, fix)
