"""How a concept's direction is found from activations with and without it.

This is where `fit` is documented: a callable `(features, labels) -> (weight, bias)`, which gets activations `(N, F)` in
double precision and booleans `(N,)` that say which show the concept, and gives a direction `(F,)`, along which the
concept grows, and a number: `features @ weight + bias` is above 0 where the concept is taken to be present.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe

__all__ = ["Fit", "mean_difference", "pattern", "ridge", "scikit_learn"]

Fit = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def mean_difference() -> Fit:
    """The mean activation with the concept, less that without it; the boundary lies midway.

    It is also what regressing activations on labels gives (the pattern of a concept, `cov(x, t) / var(t)`), and does
    not turn away from what disturbs the classes, as the weights of classifiers do.

    Returns:
        What `fit` takes.

    Example:
        >>> features = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 0.0]]).double()
        >>> af.concepts.mean_difference()(features, torch.tensor([True, True, False]))[0]
        tensor([2., 0.], dtype=torch.float64)

    Reference:
        Kim et al.: Interpretability Beyond Feature Attribution, ICML 2018, https://arxiv.org/abs/1711.11279; Pahde et
        al.: Navigating Neural Space: Revisiting Concept Activation Vectors to Overcome Directional Divergence, 2022,
        https://arxiv.org/abs/2202.03482.
    """

    def fit(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        one, other = features[labels].mean(0), features[~labels].mean(0)
        return one - other, -((one - other) @ (one + other)) / 2

    return fit


def ridge(strength: float = 1.0) -> Fit:
    """The weights of a ridge regression of the labels, -1 and 1, with both classes weighing the same.

    Args:
        strength: The penalty on the squared weights, as a share of the mean variance of the features: it does not
            depend on their scale.

    Returns:
        What `fit` takes.

    Raises:
        ArgumentError: If the strength is not above 0.

    Example:
        >>> features = torch.tensor([[2.0, 0.0], [3.0, 0.0], [0.0, 0.0]]).double()
        >>> weight, bias = af.concepts.ridge()(features, torch.tensor([True, True, False]))
        >>> (features @ weight + bias > 0).tolist()
        [True, True, False]

    Reference:
        Hoerl, Kennard: Ridge Regression, Technometrics 1970, https://doi.org/10.1080/00401706.1970.10488634.
    """
    if not isinstance(strength, Real) or isinstance(strength, bool) or not 0 < float(strength) < math.inf:
        error = ArgumentError("strength", describe(strength), "a finite number above 0", "Pass strength=1.0, say.")
        raise error.within("ridge")

    def fit(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        signs = labels.to(features.dtype) * 2 - 1
        shares = torch.where(labels, 0.5 / labels.sum(), 0.5 / (~labels).sum()).to(features.dtype)
        middle = shares @ features
        centred = (features - middle) * shares.sqrt()[:, None]
        penalty = strength * centred.square().sum(0).mean().clamp(min=1e-300)
        # The smaller of the two systems: one unknown for each example, or for each feature.
        right = shares.sqrt() * signs
        if centred.shape[0] <= centred.shape[1]:
            gram = centred @ centred.T + penalty * torch.eye(len(centred), dtype=features.dtype)
            weight = centred.T @ torch.linalg.solve(gram, right)
        else:
            gram = centred.T @ centred + penalty * torch.eye(centred.shape[1], dtype=features.dtype)
            weight = torch.linalg.solve(gram, centred.T @ right)
        return weight, -(middle @ weight)

    return fit


def scikit_learn(estimator: Any) -> Fit:
    """The weights of a linear classifier of scikit-learn's (needs scikit-learn).

    Args:
        estimator: One with two classes, `coef_` and `intercept_`, `LogisticRegression()` or `SGDClassifier()` say; a
            copy of it is fitted.

    Returns:
        What `fit` takes.

    Raises:
        ArgumentError: If it has no weights when it has been fitted.

    Example:
        >>> from sklearn.linear_model import LogisticRegression
        >>> features = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 0.0]]).double()
        >>> fit = af.concepts.scikit_learn(LogisticRegression())
        >>> fit(features, torch.tensor([True, True, False]))[0][0] > 0
        tensor(True)
    """

    def fit(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        from sklearn.base import clone

        fitted = clone(estimator).fit(features.numpy(), labels.numpy())
        weight = np.asarray(getattr(fitted, "coef_", np.zeros(0)))
        if weight.size != features.shape[1]:
            fix = "Pass LogisticRegression(), LinearSVC() or SGDClassifier()."
            raise ArgumentError("fit", describe(estimator), "a linear classifier with one weight a feature", fix)
        bias = np.asarray(fitted.intercept_, dtype=np.float64).reshape(-1)[0]
        return torch.as_tensor(weight, dtype=features.dtype).reshape(-1), torch.tensor(bias, dtype=features.dtype)

    return fit


def pattern(fit: Fit) -> Fit:
    """What activations do along with a classifier's output: `cov(x) w / var(w x)`, in place of its weights w.

    Weights also cancel what disturbs the classes; the pattern tells how the concept itself shows.

    Args:
        fit: Another fit.

    Returns:
        What `fit` takes; its boundary lies midway between the classes.

    Example:
        >>> features = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 0.0]]).double()
        >>> af.concepts.pattern(af.concepts.ridge())(features, torch.tensor([True, True, False]))[0].shape
        torch.Size([2])

    Reference:
        Haufe et al.: On the interpretation of weight vectors of linear models in multivariate neuroimaging, NeuroImage
        2014, https://doi.org/10.1016/j.neuroimage.2013.10.067.
    """

    def fitted(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        weight, _ = fit(features, labels)
        centred = features - features.mean(0)
        outputs = centred @ weight
        direction = centred.T @ outputs / outputs.square().sum().clamp(min=1e-300)
        middle = (features[labels].mean(0) + features[~labels].mean(0)) / 2
        return direction, -(middle @ direction)

    return fitted
