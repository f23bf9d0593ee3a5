"""Guided rules: rectifiers pass back what is positive, and every other operation its own gradient.

A rectifier is an activation that lets positive values through and holds negative ones back: `relu`, `relu6`,
`leaky_relu`, `prelu`, `rrelu`, `elu`, `selu`, `celu`, `gelu`, `silu`, `mish`, `hardswish` and `softplus`, and where
they cut at zero `clamp`, `clamp_min`, `hardtanh` and `threshold`. The papers state their rules for ReLU alone; for an
activation `f` at `z`, with the gradient `g` at its value, these are

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

OPAQUE = words("rnn_relu rnn_relu_cell")  # which run rectifiers inside


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
        args, kwargs = operation.args, operation.kwargs
        lowest = args[place] if len(args) > place else kwargs.get(name, default)
        return (rule if isinstance(lowest, int | float) and lowest == 0 else gradient_rule)(operation)

    return choose


def _book(rule: Callable[[Operation], Ruled]) -> RuleBook:
    rules: dict[Any, Rule] = {
        **dict.fromkeys(RECTIFIERS, Nonlinear(rule)),
        **dict.fromkeys(CUTS, Nonlinear(_where_it_rectifies(rule))),
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
