"""`attrfunc.surrogates`: the linear models that `attrfunc.lime` fits, and how near a coalition is to the input."""

from attrfunc.perturbation.linear_models import lasso, least_squares, ridge, scikit_learn
from attrfunc.perturbation.similarity import exponential_kernel, pairwise

__all__ = ["exponential_kernel", "lasso", "least_squares", "pairwise", "ridge", "scikit_learn"]
