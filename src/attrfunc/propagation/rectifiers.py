"""Guided rules: rectifiers pass back what is positive, and every other operation its own gradient.

A rectifier is an activation that lets positive values through and holds negative ones back: `relu`, `relu6`,
`leaky_relu`, `prelu`, `rrelu`, `elu`, `selu`, `celu`, `gelu`, `silu`, `mish`, `hardswish` and `softplus`, and where
they cut at zero `clamp`, `clamp_min`, `hardtanh`, `threshold`, and `maximum` with a constant. A value that is kept by
its own sign counts, too: `x * (x > 0)`, `torch.where(x > 0, x, 0)`, `x.masked_fill(x < 0, 0)`, `x[x < 0] = 0`. What
lets negative values through (`minimum` with zero, `clamp(max=0)`, `x * (x < 0)`) is `-relu(-x)`. The papers state their
rules for ReLU alone; for an activation `f` at `z`, with the gradient `g` at its value, these are

| rule | goes back | for ReLU |
|---|---|---|
| `guided` | `f'(z) max(g, 0)` | `[z > 0] max(g, 0)` |
| `deconvolved` | `max(g, 0)` | the same |

Functions that saturate on both sides (`sigmoid`, `tanh`, `softmax`), and an activation that a model writes out itself
in still other operations (`(x + x.abs()) / 2`, or GELU by `tanh`), keep their own gradient.
`rules={torch.tanh: af.rules.guided}` changes the former; `af.operation` makes the latter visible, for a rule of the
same kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attrfunc.propagation.names import words
from attrfunc.propagation.natural_rule import gradient_rule
from attrfunc.propagation.opened import OPENED
from attrfunc.propagation.operation import Operation
from attrfunc.propagation.rule_book import Nonlinear, Rule, RuleBook, natural
from attrfunc.propagation.signs import is_zero

__all__ = ["DECONVOLUTION", "GUIDED", "deconvolved", "guided"]

Ruled = tuple[Any, Callable[[Tensor], Any]]

RECTIFIERS = words("relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish hardswish softplus")

# What cuts off below or above: where its arguments say at which value, and that which torch fills in.
BELOW: dict[Any, tuple[int, str, Any]] = {
    "clamp": (1, "min", None),
    "clamp_min": (1, "min", None),
    "hardtanh": (1, "min_val", -1),
    "threshold": (1, "threshold", None),
}
ABOVE: dict[Any, tuple[int, str, Any]] = {
    "clamp": (2, "max", None),
    "clamp_max": (1, "max", None),
    "hardtanh": (2, "max_val", 1),
}

# Of two tensors, which are rectifiers if one of them is zero.
MAXIMA, MINIMA = words("maximum fmax"), words("minimum fmin")

# Which run rectifiers inside, or have no derivative: fused attention has none for masks that are learned.
OPAQUE = words("rnn_relu rnn_relu_cell scatter_with_add scaled_dot_product_attention multi_head_attention_forward")


def _guided(operation: Operation) -> Ruled:
    operation.require(1)
    value, pull = gradient_rule(operation)
    # Taken now: a compiler that meets the derivative in the backward pass gives it wrong values.
    (derivative,) = pull(torch.ones_like(value))
    return value, lambda gradient: [gradient.relu() * derivative]


def _guided_relu(operation: Operation) -> Ruled:
    """The same for ReLU, whose derivative torch has as a function of the value."""
    value = operation.value()
    return value, lambda gradient: [torch.ops.aten.threshold_backward(gradient.relu(), value, 0)]


def _deconvolved(operation: Operation) -> Ruled:
    operation.require(1)
    (x,) = operation.inputs
    return operation.value(), lambda gradient: [gradient.relu().sum_to_size(x.shape)]


def _where_it_rectifies(rule: Callable[[Operation], Ruled]) -> Callable[[Operation], Ruled]:
    """The rule where an operation cuts at zero, else its own gradient."""

    def choose(operation: Operation) -> Ruled:
        for cuts, chosen in ((BELOW, rule), (ABOVE, _mirrored(rule))):
            if operation.key in cuts and is_zero(operation.argument(*cuts[operation.key])):
                return chosen(operation)
        return gradient_rule(operation)

    return choose


def _where_one_is_zero(rule: Callable[[Operation], Ruled]) -> Callable[[Operation], Ruled]:
    """The rule where the other operand of a maximum is zero, else its own gradient."""

    def choose(operation: Operation) -> Ruled:
        zero = len(operation.places) == 1 and all(is_zero(other) for other in operation.others)
        return (rule if zero else gradient_rule)(operation)

    return choose


def _mirrored(rule: Callable[[Operation], Ruled]) -> Callable[[Operation], Ruled]:
    """The rule for what lets negative values through: `min(x, 0)` is `-relu(-x)`."""

    def mirrored(operation: Operation) -> Ruled:
        value, pull = rule(operation)
        return value, lambda gradient: [-share for share in pull(-gradient)]

    return mirrored


def _book(rule: Callable[[Operation], Ruled]) -> RuleBook:
    rules: dict[Any, Rule] = {
        **dict.fromkeys(RECTIFIERS, Nonlinear(rule)),
        **dict.fromkeys([*BELOW, *ABOVE], Nonlinear(_where_it_rectifies(rule))),
        **dict.fromkeys(MAXIMA, Nonlinear(_where_one_is_zero(rule))),
        **dict.fromkeys(MINIMA, Nonlinear(_where_one_is_zero(_mirrored(rule)))),
        **{name: OPENED[name] for name in OPAQUE},
    }
    return RuleBook(rules, default=natural, signs=True)


guided = Nonlinear(_guided)
"""The positive part of the gradient times the activation's derivative (Springenberg et al. 2015)."""

deconvolved = Nonlinear(_deconvolved)
"""The positive part of the gradient (Zeiler and Fergus 2014)."""

GUIDED = _book(_guided) | {"relu": Nonlinear(_guided_relu)}
"""Guided backpropagation."""

DECONVOLUTION = _book(_deconvolved)
"""Deconvolution."""
