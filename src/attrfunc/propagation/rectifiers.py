"""Guided rules: rectifiers pass back what is positive, and every other operation its own gradient.

A rectifier is an activation that lets positive values through and holds negative ones back: `relu`, `relu6`,
`leaky_relu`, `prelu`, `rrelu`, `elu`, `selu`, `celu`, `gelu`, `silu`, `mish`, `hardswish` and `softplus`, and where
they cut at zero `clamp`, `clamp_min`, `hardtanh`, `threshold`, and `maximum` with a constant. The papers state their
rules for ReLU alone; for an activation `f` at `z`, with the gradient `g` at its value, these are

| rule | goes back | for ReLU |
|---|---|---|
| `guided` | `f'(z) max(g, 0)` | `[z > 0] max(g, 0)` |
| `deconvolved` | `max(g, 0)` | the same |

Functions that saturate on both sides (`sigmoid`, `tanh`, `softmax`), and an activation that a model writes out itself
in other operations, keep their own gradient. `rules={torch.tanh: af.rules.guided}` changes the former; `af.operation`
makes the latter visible, for a rule of the same kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attrfunc.core.model.engines import known
from attrfunc.propagation.names import words
from attrfunc.propagation.natural_rule import gradient_rule
from attrfunc.propagation.opened import OPENED
from attrfunc.propagation.operation import Operation
from attrfunc.propagation.rule_book import Nonlinear, Rule, RuleBook, natural

__all__ = ["DECONVOLUTION", "GUIDED", "deconvolved", "guided"]

Ruled = tuple[Any, Callable[[Tensor], Any]]

RECTIFIERS = words("relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish hardswish softplus")

# What cuts off below: where its arguments say at which value, and that which torch fills in.
CUTS: dict[str, tuple[int, str, Any]] = {
    "clamp": (1, "min", None),
    "clamp_min": (1, "min", None),
    "hardtanh": (1, "min_val", -1),
    "threshold": (1, "threshold", None),
}

MAXIMA = words("maximum fmax")  # of two tensors, which are rectifiers if one of them is zero

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
        place, name, default = CUTS[str(operation.key)]
        return (rule if _is_zero(operation.argument(place, name, default)) else gradient_rule)(operation)

    return choose


def _where_one_is_zero(rule: Callable[[Operation], Ruled]) -> Callable[[Operation], Ruled]:
    """The rule where the other operand of a maximum is zero, else its own gradient."""

    def choose(operation: Operation) -> Ruled:
        zero = len(operation.places) == 1 and all(_is_zero(other) for other in operation.others)
        return (rule if zero else gradient_rule)(operation)

    return choose


def _is_zero(value: Any) -> bool:
    if isinstance(value, Tensor):
        return known((value == 0).all()) is True
    return isinstance(value, int | float) and value == 0


def _book(rule: Callable[[Operation], Ruled]) -> RuleBook:
    rules: dict[Any, Rule] = {
        **dict.fromkeys(RECTIFIERS, Nonlinear(rule)),
        **dict.fromkeys(CUTS, Nonlinear(_where_it_rectifies(rule))),
        **dict.fromkeys(MAXIMA, Nonlinear(_where_one_is_zero(rule))),
        **{name: OPENED[name] for name in OPAQUE},
    }
    return RuleBook(rules, default=natural)


guided = Nonlinear(_guided)
"""The positive part of the gradient times the activation's derivative (Springenberg et al. 2015)."""

deconvolved = Nonlinear(_deconvolved)
"""The positive part of the gradient (Zeiler and Fergus 2014)."""

GUIDED = _book(_guided) | {"relu": Nonlinear(_guided_relu)}
"""Guided backpropagation."""

DECONVOLUTION = _book(_deconvolved)
"""Deconvolution."""
