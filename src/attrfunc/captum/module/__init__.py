"""The modules of `captum.module`: the same names and signatures, on `attrfunc.gates`.

What differs from Captum: a mask need not use the last gate, and what cannot be right raises `attrfunc.ArgumentError`.
"""

from attrfunc.captum.module.gates import (
    BinaryConcreteStochasticGates,
    GaussianStochasticGates,
    StochasticGatesBase,
)

__all__ = ["BinaryConcreteStochasticGates", "GaussianStochasticGates", "StochasticGatesBase"]
