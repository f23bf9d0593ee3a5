"""The linear models of `captum._utils.models`: what `Lime` and `LimeBase` fit.

`attrfunc.lime` takes functions in their place, `attrfunc.surrogates.ridge` say, which are differentiable and fit a
whole batch at once. What differs from Captum, on purpose: a model fitted by `SkLearnLinearModel.fit(...,
norm_input=True)` can be called.
"""

from attrfunc.captum.models import linear_model, train
from attrfunc.captum.models.linear_model import *
from attrfunc.captum.models.train import *

__all__ = linear_model.__all__ + train.__all__
