"""Estimators of scikit-learn as linear models; see `attrfunc.perturbation.linear_models`."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.perturbation.linear_models import LinearModel, one_by_one, require_no_gradient

__all__ = ["fit_estimator", "is_weighted", "lasso", "scikit_learn"]


def lasso(alpha: float = 0.01, **options: Any) -> LinearModel:
    """A linear model with a penalty on absolute coefficients, most of which become zero; by scikit-learn.

    Args:
        alpha: The penalty of `sklearn.linear_model.Lasso`, which minimises
            `sum_k w_k (y_k - a - z_k . c)^2 / (2 K) + alpha |c|_1`.
        options: Its other options.

    Returns:
        A linear model that has no gradient; see `attrfunc.perturbation.linear_models`.

    Raises:
        ArgumentError: If scikit-learn is missing.

    Example:
        >>> model, x = torch.nn.Linear(3, 2), torch.ones(5, 3)
        >>> af.lime(model, x, target=1, linear_model=af.surrogates.lasso(0.01)).shape
        torch.Size([5, 3])
    """
    try:
        from sklearn.linear_model import Lasso
    except ImportError:
        raise ArgumentError(
            "linear_model",
            "lasso without scikit-learn",
            "scikit-learn installed",
            "Install the extra attrfunc[sklearn].",
        ).within("lasso") from None
    return scikit_learn(Lasso(alpha=alpha, **options))


def scikit_learn(estimator: Any) -> LinearModel:
    """Any linear estimator of scikit-learn as a linear model.

    Args:
        estimator: An object with `fit(X, y, sample_weight=...)` and, after it, `coef_`; it is copied for each fit.
            The weights that it is given have a mean of 1.

    Returns:
        A linear model that has no gradient; see `attrfunc.perturbation.linear_models`.

    Raises:
        ArgumentError: If it cannot fit weighted samples, or is not linear.

    Example:
        >>> from sklearn.linear_model import HuberRegressor
        >>> model, x = torch.nn.Linear(3, 2), torch.ones(5, 3)
        >>> af.lime(model, x, target=1, linear_model=af.surrogates.scikit_learn(HuberRegressor())).shape
        torch.Size([5, 3])
    """
    _require_weighted(estimator)

    def fit(features: Tensor, scores: Tensor, weights: Tensor) -> Tensor:
        require_no_gradient(type(estimator).__name__, features, scores, weights)
        weights = weights.double()
        return _coefficients(fit_estimator(estimator, features.double(), scores.double(), weights / weights.mean()))

    return one_by_one(fit)


def fit_estimator(
    estimator: Any, features: Tensor, scores: Tensor, weights: Tensor | None = None, **options: Any
) -> Any:
    """A copy of an estimator of scikit-learn that is fitted to samples `(K, n)`, with weights `(K,)` or without."""
    x, y = (part.detach().cpu().numpy() for part in (features, scores))
    if weights is not None:
        options["sample_weight"] = weights.detach().cpu().numpy()
    return copy.deepcopy(estimator).fit(x, y, **options)


def is_weighted(estimator: Any) -> bool:
    """Whether an estimator is an object that fits samples of given weights."""
    fit = getattr(estimator, "fit", None)
    return not isinstance(estimator, type) and callable(fit) and "sample_weight" in inspect.signature(fit).parameters


def _require_weighted(estimator: Any) -> None:
    if not is_weighted(estimator):
        raise ArgumentError(
            "estimator",
            describe(estimator),
            "an estimator whose `fit` takes `sample_weight`",
            "Pass an object, not its class or name, of one that does: sklearn.linear_model.Ridge(), say.",
        ).within("scikit_learn")


def _coefficients(fitted: Any) -> Tensor:
    """Those `(n,)` of a fitted estimator."""
    if not hasattr(fitted, "coef_"):
        raise ArgumentError(
            "estimator",
            f"{type(fitted).__name__}, which has no `coef_` when it is fitted",
            "a linear estimator",
            "Pass for example sklearn.linear_model.Ridge().",
        ).within("scikit_learn")
    return torch.as_tensor(fitted.coef_).reshape(-1)
