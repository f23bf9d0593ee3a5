"""Rules of layer-wise relevance propagation for products of activations: attention, gates, normalisers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from attrfunc.propagation import opened
from attrfunc.propagation.affine import PRODUCTS
from attrfunc.propagation.contributions import Ruled, identity, shared, stabilized
from attrfunc.propagation.lrp_rules import RuleFunction
from attrfunc.propagation.natural_rule import pull_of
from attrfunc.propagation.operation import Operation
from attrfunc.propagation.precision import in_single_precision
from attrfunc.propagation.softmax import implicit_dim

__all__ = ["gate", "last_takes_all", "normalization", "numerator", "product", "softmax", "taylor"]


def product(mixed: RuleFunction) -> RuleFunction:
    """An elementwise product: each factor that depends on the point gets the same share (Achtibat et al. 2024).

    A reciprocal square root is a normaliser: the other factor takes all.

    Args:
        mixed: The rule for complex numbers, whose product mixes their parts: a rotation of positions, say.

    Returns:
        A rule.

    Reference:
        Achtibat et al.: AttnLRP, ICML 2024.
        https://arxiv.org/abs/2402.05602
    """

    def rule(operation: Operation) -> Ruled:
        if operation.is_complex:
            return mixed(operation)
        if len(operation.places) == 2:
            for place, made in enumerate(operation.made):
                if made is not None and _normalises(made.operation):
                    return _one_takes_all(operation, 1 - place)
        return identity(operation)

    return rule


def _normalises(operation: Operation) -> bool:
    """Whether an operation is a reciprocal square root, in one form or the other."""
    return operation.key == "rsqrt" or (operation.key == "pow" and operation.argument(1, "exponent") == -0.5)


def gate(operation: Operation) -> Ruled:
    """A gate and the signal that it lets through: the signal takes all (Arras et al. 2017).

    Reference:
        Arras, Montavon, Mueller, Samek: Explaining Recurrent Neural Network Predictions, 2017.
        https://arxiv.org/abs/1706.07206
    """
    return _one_takes_all(operation, 1) if len(operation.places) == 2 else identity(operation)


def numerator(operation: Operation) -> Ruled:
    """A division: the numerator takes all."""
    return _one_takes_all(operation, 0) if len(operation.places) == 2 else identity(operation)


def _one_takes_all(operation: Operation, number: int) -> Ruled:
    shapes = [x.shape for x in operation.inputs]

    def back(relevance: Tensor) -> list[Tensor]:
        return [
            relevance.sum_to_size(shape) if i == number else relevance.new_zeros(shape)
            for i, shape in enumerate(shapes)
        ]

    return operation.value(), back


def last_takes_all(rule: RuleFunction) -> RuleFunction:
    """The last of several activations that are multiplied takes all, as the values of attention do (Ali et al. 2022).

    Args:
        rule: The rule where one operand alone depends on the point.

    Returns:
        A rule.

    Reference:
        Ali et al.: XAI for Transformers: Better Explanations through Conservative Propagation, ICML 2022.
        https://arxiv.org/abs/2202.07304
    """

    def chosen(operation: Operation) -> Ruled:
        if operation.key not in PRODUCTS or len(operation.places) == 1:
            return rule(operation)
        value, back = rule(replace(operation, places=operation.places[-1:]))
        others = [torch.zeros_like(x) for x in operation.inputs[:-1]]
        return value, lambda relevance: [*others, *back(relevance)]

    return chosen


def softmax(operation: Operation) -> Ruled:
    """Softmax to first order, `x (R - p sum R)`; the rest is a bias's share (Achtibat et al. 2024, proposition 3.1).

    Reference:
        Achtibat et al.: AttnLRP, ICML 2024.
        https://arxiv.org/abs/2402.05602
    """
    dim = operation.argument(1, "dim")
    dim = implicit_dim(operation.inputs[0]) if dim is None else dim

    def back(relevance: Tensor) -> list[Tensor]:
        (x,) = operation.inputs
        rest = relevance - operation.value() * relevance.sum(dim, keepdim=True)
        return [torch.where(x.isfinite(), x, 0) * rest.to(x.dtype)]  # but for what is masked

    return operation.value(), back


def taylor(size: float) -> RuleFunction:
    """A function to first order: `x J R / y`, where what `x J` lacks of `y` is a bias's share.

    Args:
        size: What is added to the size of `y`.

    Returns:
        A rule.
    """

    def rule(operation: Operation) -> Ruled:
        value, pull = pull_of(operation, operation.inputs)
        y = stabilized(value, size)
        return value, lambda relevance: shared(operation.inputs, y, pull, relevance)

    return rule


def normalization(size: float, bias: bool) -> RuleFunction:
    """Layer, group, instance and RMS norm: linear with the spread held constant (Ali et al. 2022).

    Args:
        size: What is added to the size of each denominator.
        bias: Whether the bias takes its share.

    Returns:
        A rule.

    Reference:
        Ali et al.: XAI for Transformers: Better Explanations through Conservative Propagation, ICML 2022.
        https://arxiv.org/abs/2202.07304
    """

    def rule(operation: Operation) -> Ruled:
        operation.require(1)
        x = operation.inputs[0]
        function = _NORMS[operation.key]
        args = operation.args[1:]
        kwargs = {name: value for name, value in operation.kwargs.items() if name != "input"}

        def linear(at: Tensor) -> Tensor:
            result: Tensor = in_single_precision(function, (at, *args), {**kwargs, "spread_of": x})
            return result

        z, pull = torch.func.vjp(linear, x)  # type: ignore[misc]
        z = stabilized(z if bias else z - linear(torch.zeros_like(x)), size)
        return operation.value(), lambda relevance: shared(operation.inputs, z, pull, relevance)

    return rule


_NORMS: dict[Any, Callable[..., Tensor]] = {
    "layer_norm": opened.layer_norm,
    "rms_norm": opened.rms_norm,
    "group_norm": opened.group_norm,
    "instance_norm": opened.instance_norm,
}
