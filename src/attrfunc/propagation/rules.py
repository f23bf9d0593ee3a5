"""`attrfunc.rules`: the rules and rule books of `attrfunc.lrp`, and the rules of guided backpropagation.

The rules are documented in `attrfunc.propagation.lrp_rules` and `attrfunc.propagation.rectifiers`, the books in
`attrfunc.propagation.lrp_books`.
"""

from attrfunc.propagation.contributions import identity
from attrfunc.propagation.lrp_books import (
    attn_lrp,
    cp_lrp,
    epsilon_alpha2_beta1,
    epsilon_alpha2_beta1_flat,
    epsilon_gamma_box,
    epsilon_plus,
    epsilon_plus_flat,
    for_layers,
)
from attrfunc.propagation.lrp_rules import (
    alpha_beta,
    epsilon,
    flat,
    gamma,
    reweighted,
    w_square,
    z_box,
    z_plus,
)
from attrfunc.propagation.rectifiers import deconvolved, guided

__all__ = [
    "alpha_beta",
    "attn_lrp",
    "cp_lrp",
    "deconvolved",
    "epsilon",
    "epsilon_alpha2_beta1",
    "epsilon_alpha2_beta1_flat",
    "epsilon_gamma_box",
    "epsilon_plus",
    "epsilon_plus_flat",
    "flat",
    "for_layers",
    "gamma",
    "guided",
    "identity",
    "reweighted",
    "w_square",
    "z_box",
    "z_plus",
]
