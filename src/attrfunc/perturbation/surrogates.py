"""`attrfunc.surrogates`: the linear models that `attrfunc.lime` fits, and how near a coalition is to the input."""

from attrfunc.perturbation.estimators import lasso, scikit_learn
from attrfunc.perturbation.linear_models import least_squares, one_by_one, ridge
from attrfunc.perturbation.similarity import exponential_kernel, pairwise

__all__ = ["exponential_kernel", "lasso", "least_squares", "one_by_one", "pairwise", "ridge", "scikit_learn"]
