"""`attrfunc.rules`: rules, books of them, and what a rule of one's own is made of.

A rule is a function `Operation -> (value, pull)`, and a `RuleBook` says which operation has which rule; see
`attrfunc.propagation.rule_book`. The rules of LRP are documented in `attrfunc.propagation.lrp_rules`, those of guided
backpropagation in `attrfunc.propagation.rectifiers`, LRP's books in `attrfunc.propagation.lrp_books`.
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
from attrfunc.propagation.operation import Operation
from attrfunc.propagation.rectifiers import deconvolved, guided
from attrfunc.propagation.rule_book import Nonlinear, Opened, RuleBook, natural

__all__ = [
    "Nonlinear",
    "Opened",
    "Operation",
    "RuleBook",
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
    "natural",
    "reweighted",
    "w_square",
    "z_box",
    "z_plus",
]
