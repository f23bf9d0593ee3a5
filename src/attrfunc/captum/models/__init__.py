"""The linear models of `captum._utils.models`: what `Lime` and `LimeBase` fit.

`attrfunc.lime` takes functions in their place, `attrfunc.ridge` say, which are differentiable and fit a whole batch at
once. What differs from Captum, on purpose: the inputs of `SkLearnLinearModel.fit(..., norm_input=True)` are not
overwritten, and the fitted model can then be called; a window of losses has the length that is asked for.
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
