"""The rules of layer-wise relevance propagation. This is where they, and their arguments, are documented.

What goes back through a model is relevance, in units of the score. A layer `z = sum x w + b` passes the relevance `R`
of its outputs on to its inputs in proportion to their contributions: `x w R / z`, or with changed `x`, `w` and `b`.
Every rule takes an operation that is linear in its inputs; those that change weights do at operations that have none
(sums, means, pooling, residual connections) what `epsilon` does.

epsilon: What is added to the size of each denominator. It takes a share of the relevance itself.
bias: Whether biases, and constants that are added, take the shares of relevance that are theirs; these are lost to the
    inputs, as in the papers. `False` leaves all relevance to the inputs, and so conserves it, except where no input
    contributes. Without biases a sum may be near zero where its terms are not: in deep networks (EfficientNet, say)
    `epsilon` then lets relevance grow out of bounds, which `z_plus` does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import torch
from torch import Tensor

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.core.model.engines import known
from attrfunc.core.score.method import named
from attrfunc.propagation.affine import WEIGHTED, Affine, affine, factors
from attrfunc.propagation.contributions import Ruled, shared, shared_by_terms, signed, stabilized
from attrfunc.propagation.natural_rule import pull_of
from attrfunc.propagation.operation import Operation

__all__ = [
    "alpha_beta",
    "epsilon",
    "flat",
    "gamma",
    "reweighted",
    "w_square",
    "z_box",
    "z_plus",
]

RuleFunction = Callable[[Operation], Ruled]
P = ParamSpec("P")


def _named(factory: Callable[P, RuleFunction]) -> Callable[P, RuleFunction]:
    """Let errors name the rule, and a book tell what makes rules from rules."""
    call = named(factory.__name__, factory)
    call._attrfunc_makes_rules = True  # type: ignore[attr-defined]
    return call


@_named
def epsilon(epsilon: float = 1e-6, *, bias: bool = True) -> RuleFunction:
    """LRP-epsilon: `x w R / (z + epsilon sign z)` (Bach et al. 2015).

    For a product of several values that depend on the point, each gets the same share of the relevance (Achtibat et
    al. 2024).

    Args:
        epsilon: See `attrfunc.propagation.lrp_rules`; 0 is LRP-0.
        bias: See there.

    Returns:
        A rule.

    Reference:
        Bach, Binder, Montavon, Klauschen, Mueller, Samek: On Pixel-Wise Explanations, PLoS ONE 2015.
        https://doi.org/10.1371/journal.pone.0130140
    """
    _require_size("epsilon", epsilon)
    _require_flag("bias", bias)

    def rule(operation: Operation) -> Ruled:
        value, pull = pull_of(operation, operation.inputs)
        counts = factors(operation)
        z = value if bias else _without_constant(value, operation)
        denominator = stabilized(z, epsilon)

        def back(relevance: Tensor) -> Sequence[Tensor]:
            inputs = operation.inputs if operation.key in WEIGHTED else [_unmasked(x) for x in operation.inputs]
            shares = shared(inputs, denominator, pull, relevance)
            return [share if count == 1 else share / count for share, count in zip(shares, counts, strict=True)]

        return value, back

    return rule


@_named
def gamma(gamma: float = 0.25, *, epsilon: float = 1e-6, bias: bool = True) -> RuleFunction:
    """LRP-gamma: contributions of an output's own sign weigh `1 + gamma` times as much (Montavon et al. 2019).

    With negative inputs too, as by Andéol et al. (2021): for `z > 0` the positive contributions count more, for `z < 0`
    the negative ones. For ReLU networks that is `x (w + gamma max(w, 0)) R / z'`.

    Args:
        gamma: How much more.
        epsilon: See `attrfunc.propagation.lrp_rules`.
        bias: See there.

    Returns:
        A rule.

    Reference:
        Montavon, Binder, Lapuschkin, Samek, Mueller: Layer-Wise Relevance Propagation: An Overview, 2019.
        https://doi.org/10.1007/978-3-030-28954-6_10
    """
    _require_size("gamma", gamma)

    def pulled(layer: Affine, relevance: Tensor) -> Tensor:
        sign = layer.value(layer.x, layer.weight, layer.bias)
        own = layer.bias if bias else None
        total: Any = 0
        for positive, there in ((True, sign > 0), (False, sign < 0)):
            part = relevance * there
            if known((part != 0).any()) is False:
                continue  # behind a ReLU nothing comes back where z < 0
            terms = signed(layer, own, positive)
            raised = [
                (x, layer.weight + gamma * w, None if own is None or b is None else own + gamma * b)
                for x, w, b in terms
            ]
            total = total + shared_by_terms(layer, raised, part, epsilon)
        return total if isinstance(total, Tensor) else torch.zeros_like(layer.x)

    return _weighted(pulled, epsilon, bias)


@_named
def alpha_beta(alpha: float = 2.0, beta: float = 1.0, *, epsilon: float = 1e-6, bias: bool = True) -> RuleFunction:
    """LRP-alpha-beta: positive and negative contributions apart, weighing `alpha` and `-beta` (Bach et al. 2015).

    `alpha (x w)+ R / z+  -  beta (x w)- R / z-`

    Args:
        alpha: The weight of positive contributions.
        beta: That of negative ones; `alpha - beta = 1`.
        epsilon: See `attrfunc.propagation.lrp_rules`.
        bias: See there.

    Returns:
        A rule.

    Raises:
        ArgumentError: If `alpha - beta` is not 1, or one of them is negative.

    Reference:
        Bach, Binder, Montavon, Klauschen, Mueller, Samek: On Pixel-Wise Explanations, PLoS ONE 2015.
        https://doi.org/10.1371/journal.pone.0130140
    """
    _require_size("alpha", alpha)
    _require_size("beta", beta)
    if abs(alpha - beta - 1) > 1e-6:
        raise ArgumentError(
            "alpha",
            f"alpha={alpha!r} and beta={beta!r}",
            "numbers with alpha - beta = 1",
            "Relevance is conserved only then: for example alpha=2, beta=1.",
        )

    def pulled(layer: Affine, relevance: Tensor) -> Tensor:
        own = layer.bias if bias else None
        found: Any = alpha * shared_by_terms(layer, signed(layer, own, True), relevance, epsilon)
        return found - beta * shared_by_terms(layer, signed(layer, own, False), relevance, epsilon) if beta else found

    return _weighted(pulled, epsilon, bias)


@_named
def z_plus(*, epsilon: float = 1e-6, bias: bool = True) -> RuleFunction:
    """The z-plus rule: `(x w)+ R / z+`, positive contributions alone (Montavon et al. 2017).

    Args:
        epsilon: See `attrfunc.propagation.lrp_rules`.
        bias: See there.

    Returns:
        A rule: `alpha_beta(1, 0)`.

    Reference:
        Montavon, Lapuschkin, Binder, Samek, Mueller: Deep Taylor Decomposition, Pattern Recognition 2017.
        https://arxiv.org/abs/1512.02479
    """
    return alpha_beta(1.0, 0.0, epsilon=epsilon, bias=bias)


@_named
def z_box(
    low: Tensor | float | None = None, high: Tensor | float | None = None, *, epsilon: float = 1e-6
) -> RuleFunction:
    """The z-box rule, for pixels: `(x w - low w+ - high w-) R / z'` (Montavon et al. 2017). Biases take no share.

    Args:
        low: The least values that an input can have, a number or a tensor that broadcasts.
        high: The greatest.
        epsilon: See `attrfunc.propagation.lrp_rules`.

    Returns:
        A rule.

    Raises:
        ArgumentError: If a bound is missing, or cannot be one.

    Reference:
        Montavon, Lapuschkin, Binder, Samek, Mueller: Deep Taylor Decomposition, Pattern Recognition 2017.
        https://arxiv.org/abs/1512.02479
    """
    for name, bound in (("low", low), ("high", high)):
        if bound is None:
            fix = "Images that are normalised have (0 - mean) / std and (1 - mean) / std, of shape (1, 3, 1, 1)."
            raise ArgumentError(name, "None", "the bounds of the input, a number or a tensor", fix)
        if isinstance(bound, bool) or not isinstance(bound, int | float | Tensor):
            raise ArgumentError(name, describe(bound), "a number or a tensor", "Pass torch.as_tensor of it.")
    least, greatest = torch.as_tensor(low), torch.as_tensor(high)
    if known((least.to(greatest.device) <= greatest).all()) is False:
        got = f"low={describe(low)} and high={describe(high)}"
        raise ArgumentError("low", got, "bounds of which low is nowhere above high", "Are they in the wrong order?")

    def pulled(layer: Affine, relevance: Tensor) -> Tensor:
        x = layer.x
        ends = [_bound(name, bound, x) for name, bound in (("low", least), ("high", greatest))]
        weights = [layer.weight.clamp(min=0), layer.weight.clamp(max=0)]
        terms = [(x, layer.weight, None), *((end, -weight, None) for end, weight in zip(ends, weights, strict=True))]
        return shared_by_terms(layer, terms, relevance, epsilon)

    return _weighted(pulled, epsilon, bias=True)


@_named
def w_square(*, epsilon: float = 1e-6, bias: bool = True) -> RuleFunction:
    """The w-square rule: `w^2 R / sum w^2`, whatever the inputs are (Montavon et al. 2017).

    Args:
        epsilon: See `attrfunc.propagation.lrp_rules`.
        bias: See there; a bias counts by its square.

    Returns:
        A rule.

    Reference:
        Montavon, Lapuschkin, Binder, Samek, Mueller: Deep Taylor Decomposition, Pattern Recognition 2017.
        https://arxiv.org/abs/1512.02479
    """

    def pulled(layer: Affine, relevance: Tensor) -> Tensor:
        own = layer.bias.square() if bias and layer.bias is not None else None
        return shared_by_terms(layer, [(torch.ones_like(layer.x), layer.weight.square(), own)], relevance, epsilon)

    return _weighted(pulled, epsilon, bias)


@_named
def flat(*, epsilon: float = 1e-6) -> RuleFunction:
    """The flat rule: relevance is spread evenly (Lapuschkin et al. 2019). Biases take no share.

    Args:
        epsilon: See `attrfunc.propagation.lrp_rules`.

    Returns:
        A rule.

    Reference:
        Lapuschkin et al.: Unmasking Clever Hans Predictors, Nature Communications 2019.
        https://arxiv.org/abs/1902.10178
    """

    def pulled(layer: Affine, relevance: Tensor) -> Tensor:
        return shared_by_terms(
            layer, [(torch.ones_like(layer.x), torch.ones_like(layer.weight), None)], relevance, epsilon
        )

    return _weighted(pulled, epsilon, bias=False)


@_named
def reweighted(
    weight: Callable[[Tensor], Tensor],
    bias: Callable[[Tensor], Tensor | None] = lambda bias: bias,
    *,
    epsilon: float = 1e-6,
) -> RuleFunction:
    """LRP with changed weights: `x rho(w) R / (z' + epsilon sign z')` (Montavon et al. 2019, equation 10).

    Args:
        weight: The function `rho` of a weight.
        bias: That of a bias; it may give None for no bias.
        epsilon: See `attrfunc.propagation.lrp_rules`.

    Returns:
        A rule.

    Reference:
        Montavon, Binder, Lapuschkin, Samek, Mueller: Layer-Wise Relevance Propagation: An Overview, 2019.
        https://doi.org/10.1007/978-3-030-28954-6_10
    """
    for name, function in (("weight", weight), ("bias", bias)):
        if not callable(function):
            fix = "For example weight=lambda w: w.clamp(min=0)."
            raise ArgumentError(name, describe(function), "a function of a tensor", fix)

    def pulled(layer: Affine, relevance: Tensor) -> Tensor:
        own = None if layer.bias is None else _reweighted("bias", bias, layer.bias)
        return shared_by_terms(layer, [(layer.x, _reweighted("weight", weight, layer.weight), own)], relevance, epsilon)

    return _weighted(pulled, epsilon, bias=True)


def _reweighted(name: str, function: Callable[[Tensor], Any], value: Tensor) -> Any:
    found = function(value)
    if (found is None and name == "bias") or (isinstance(found, Tensor) and found.shape == value.shape):
        return found
    got = f"a function that makes {describe(found)} of {describe(value)}"
    error = ArgumentError(name, got, "a tensor of the same shape", "Change numbers one by one.")
    raise error.within("reweighted", settled=True)


def _bound(name: str, bound: Tensor, x: Tensor) -> Tensor:
    try:
        return bound.to(x.device, x.dtype).expand_as(x)
    except RuntimeError:
        expected, fix = f"a shape that broadcasts to the input's {tuple(x.shape)}", "Images take (1, 3, 1, 1)."
        raise ArgumentError(name, describe(bound), expected, fix).within("z_box", settled=True) from None


def _weighted(pulled: Callable[[Affine, Tensor], Tensor], size: float, bias: bool) -> RuleFunction:
    """A rule for layers with weights, from what it makes of a layer and the relevance of its output."""
    otherwise = epsilon(size, bias=bias)

    def rule(operation: Operation) -> Ruled:
        if affine(operation) is None:
            return otherwise(operation)
        return operation.value(), lambda relevance: [pulled(_required(affine(operation)), relevance)]

    return rule


def _required(layer: Affine | None) -> Affine:
    assert layer is not None
    return layer


def _unmasked(x: Tensor) -> Tensor:
    """What is masked is infinite, and gets nothing."""
    return torch.where(x.isinf(), 0, x)


def _without_constant(value: Tensor, operation: Operation) -> Tensor:
    """What the inputs contribute; what is masked is infinite, and stays so."""
    return torch.where(value.isinf(), value, value - _constant(operation))


def _constant(operation: Operation) -> Any:
    """What an operation gives without its inputs: biases, and constants that are added."""
    layer = affine(operation)
    if layer is None:
        return operation.value([torch.zeros_like(x) for x in operation.inputs])
    return 0.0 if layer.bias is None else layer.spread(layer.bias)


def _require_flag(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        fix = "Pass False to leave all relevance to the inputs."
        raise ArgumentError(name, describe(value), "True or False", fix)


def _require_size(name: str, size: Any) -> None:
    if isinstance(size, bool) or not isinstance(size, int | float) or not 0 <= size < float("inf"):
        raise ArgumentError(name, describe(size), "a number of at least 0", f"For example {name}=0.25.")
