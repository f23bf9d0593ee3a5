"""The linear models of `captum._utils.models`: what `Lime` and `LimeBase` fit.

`attrfunc.lime` takes functions in their place, `attrfunc.surrogates.ridge` say, which are differentiable and fit a
whole batch at once. What differs from Captum, on purpose: a model fitted by `SkLearnLinearModel.fit(...,
norm_input=True)` can be called.
"""

from attrfunc.captum.models.linear_model import (
    LinearModel,
    Model,
    SGDLasso,
    SGDLinearModel,
    SGDLinearRegression,
    SGDRidge,
    SkLearnLasso,
    SkLearnLinearModel,
    SkLearnLinearRegression,
    SkLearnLogisticRegression,
    SkLearnRidge,
    SkLearnSGDClassifier,
)
from attrfunc.captum.models.train import sgd_train_linear_model, sklearn_train_linear_model

__all__ = [
    "LinearModel",
    "Model",
    "SGDLasso",
    "SGDLinearModel",
    "SGDLinearRegression",
    "SGDRidge",
    "SkLearnLasso",
    "SkLearnLinearModel",
    "SkLearnLinearRegression",
    "SkLearnLogisticRegression",
    "SkLearnRidge",
    "SkLearnSGDClassifier",
    "sgd_train_linear_model",
    "sklearn_train_linear_model",
]
