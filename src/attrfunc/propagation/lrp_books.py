"""Rule books of layer-wise relevance propagation: which operation gets which rule.

In all of them: elementwise functions let relevance through, maxima give it to the largest, sums and means share it out
by `epsilon`, a batch norm is folded into the layer with weights right before it, other normalisation holds the spread
constant, softmax is taken to first order, products of activations share evenly, and the gates of LSTMs, GRUs and GLUs
give all to the signal. The first layer is the first that runs on what depends on the input, whichever one it is.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from attrfunc.core.model.visible import scored
from attrfunc.propagation.affine import PRODUCTS, WEIGHTED, Folded
from attrfunc.propagation.contributions import Ruled, identity
from attrfunc.propagation.deep_lift_rules import ADDED, KINKED, ORDERS, SELECTIONS, SMOOTH, SPECTRA
from attrfunc.propagation.lrp_products import gate, last_takes_all, normalization, numerator, product, softmax, taylor
from attrfunc.propagation.lrp_rules import (
    RuleFunction,
    alpha_beta,
    epsilon,
    flat,
    gamma,
    z_box,
    z_plus,
)
from attrfunc.propagation.names import Key, named_key, words
from attrfunc.propagation.opened import OPENED
from attrfunc.propagation.operation import Operation
from attrfunc.propagation.recurrent import gated
from attrfunc.propagation.rule_book import Rule, RuleBook, natural

__all__ = [
    "DEFAULT",
    "SCORE",
    "SEED",
    "attn_lrp",
    "cp_lrp",
    "epsilon_alpha2_beta1",
    "epsilon_alpha2_beta1_flat",
    "epsilon_gamma_box",
    "epsilon_plus",
    "epsilon_plus_flat",
    "for_layers",
]

_SUMS = [
    *words(
        """
        add sub rsub sum nansum mean nanmean cumsum diff trace avg_pool1d avg_pool2d avg_pool3d
        adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d interpolate upsample upsample_bilinear
        upsample_nearest grid_sample fold batch_norm nll_loss
        """
    ),
    *ADDED,
    *SPECTRA,
]
_IDENTITIES = words(
    """
    neg conj conj_physical dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout native_dropout
    embedding
    """
)
_CONVOLUTIONS: frozenset[Key] = frozenset(key for key in WEIGHTED if str(key).startswith("conv"))


def seed(operation: Operation) -> Ruled:
    """The relevance of a score is its value."""
    value = operation.value()
    return value, lambda relevance: [relevance * value]


SCORE = named_key(scored)

SEED: dict[Any, Rule] = {SCORE: seed}
"""Where relevance starts."""


def for_layers(rule: Rule) -> dict[Any, Rule]:
    """One rule for all operations that are linear in their inputs, and for batch norms: layers, sums, pooling.

    Args:
        rule: The rule.

    Returns:
        A dictionary of rules, for a whole model, or under the name of a layer in another one.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> rules = {"0": af.rules.for_layers(af.rules.flat())}
        >>> af.lrp(model, torch.ones(5, 3), target=0, rules=rules).shape
        torch.Size([5, 3])
    """
    return dict.fromkeys([*_SUMS, *PRODUCTS], rule)


def attn_lrp(epsilon: float = 1e-6, *, bias: bool = True) -> RuleBook:
    """AttnLRP, the default: `epsilon` for everything that is linear in its inputs (Achtibat et al. 2024).

    Softmax to first order, so that relevance also reaches queries and keys; products of activations share evenly. On
    networks without attention and gates this is LRP-epsilon.

    Args:
        epsilon: See `attrfunc.propagation.lrp_rules`.
        bias: See there. The first order of softmax has a bias of its own, whose share is lost in any case.

    Returns:
        A rule book.

    Reference:
        Achtibat et al.: AttnLRP, ICML 2024.
        https://arxiv.org/abs/2402.05602
    """
    return _book(epsilon, epsilon, bias)


def cp_lrp(epsilon: float = 1e-6, *, bias: bool = True) -> RuleBook:
    """CP-LRP: as `attn_lrp`, but attention's weights are constants, and relevance goes to the values (Ali et al. 2022).

    Of several activations in one matrix product, the last takes all. With `bias=False` transformers conserve relevance.

    Args:
        epsilon: See `attrfunc.propagation.lrp_rules`.
        bias: See there.

    Returns:
        A rule book.

    Reference:
        Ali et al.: XAI for Transformers: Better Explanations through Conservative Propagation, ICML 2022.
        https://arxiv.org/abs/2202.07304
    """
    book = _book(epsilon, epsilon, bias)
    matrices = ("matmul", "mm", "bmm", "einsum")
    return book | {key: last_takes_all(book.rules[key]) for key in matrices}  # type: ignore[arg-type]


def epsilon_plus(epsilon: float = 1e-6, *, stabilizer: float = 1e-6, bias: bool = True) -> RuleBook:
    """`z_plus` for convolutions, `epsilon` for everything else.

    Args:
        epsilon: That of matrix products; see `attrfunc.propagation.lrp_rules`.
        stabilizer: That of all other rules.
        bias: See there.

    Returns:
        A rule book.
    """
    return _book(epsilon, stabilizer, bias, z_plus(epsilon=stabilizer, bias=bias))


def epsilon_alpha2_beta1(epsilon: float = 1e-6, *, stabilizer: float = 1e-6, bias: bool = True) -> RuleBook:
    """`alpha_beta(2, 1)` for convolutions, `epsilon` for everything else; arguments as for `epsilon_plus`."""
    return _book(epsilon, stabilizer, bias, alpha_beta(2.0, 1.0, epsilon=stabilizer, bias=bias))


def epsilon_gamma_box(
    low: Tensor | float | None = None,
    high: Tensor | float | None = None,
    *,
    epsilon: float = 1e-6,
    gamma: float = 0.25,
    stabilizer: float = 1e-6,
    bias: bool = True,
) -> RuleBook:
    """`z_box` for the first convolution that runs, `gamma` for the others, `epsilon` for everything else.

    Args:
        low: The least values of the input; see `attrfunc.rules.z_box`.
        high: The greatest.
        epsilon: As for `epsilon_plus`.
        gamma: How much more weight contributions of an output's sign have.
        stabilizer: As for `epsilon_plus`.
        bias: See there.

    Returns:
        A rule book.

    Raises:
        ArgumentError: If a bound is missing.
    """
    box, later = z_box(low, high, epsilon=stabilizer), _gamma(gamma, epsilon=stabilizer, bias=bias)
    return _book(epsilon, stabilizer, bias, _first(box, later, _CONVOLUTIONS))


def epsilon_plus_flat(epsilon: float = 1e-6, *, stabilizer: float = 1e-6, bias: bool = True) -> RuleBook:
    """`epsilon_plus`, with `flat` for the first layer with weights that runs; arguments as there."""
    return _flat_first(epsilon_plus(epsilon, stabilizer=stabilizer, bias=bias), stabilizer)


def epsilon_alpha2_beta1_flat(epsilon: float = 1e-6, *, stabilizer: float = 1e-6, bias: bool = True) -> RuleBook:
    """`epsilon_alpha2_beta1`, with `flat` for the first layer with weights; arguments as for `epsilon_plus`."""
    return _flat_first(epsilon_alpha2_beta1(epsilon, stabilizer=stabilizer, bias=bias), stabilizer)


_gamma = gamma


def _first(rule: RuleFunction, otherwise: RuleFunction, among: frozenset[Key]) -> RuleFunction:
    """One rule for the first of these operations that a model runs, another for the later ones."""

    def chosen(operation: Operation) -> Ruled:
        return (otherwise if operation.earlier & among else rule)(operation)

    return chosen


def _flat_first(book: RuleBook, stabilizer: float) -> RuleBook:
    spread = flat(epsilon=stabilizer)
    return book | {key: _first(spread, book.rules[key], WEIGHTED) for key in WEIGHTED}  # type: ignore[arg-type]


def _book(dense: float, stabilizer: float, bias: bool, convolution: RuleFunction | None = None) -> RuleBook:
    """The book with `epsilon` rules of two sizes, for matrix products and for the rest, and a rule for convolutions."""
    layer, rest = epsilon(dense, bias=bias), epsilon(stabilizer, bias=bias)
    rules: dict[Any, Rule] = {
        **OPENED,
        **dict.fromkeys([*SMOOTH, *KINKED, *_IDENTITIES], identity),
        **dict.fromkeys([*SELECTIONS, *ORDERS, "mode"], natural),
        **dict.fromkeys(_SUMS, rest),
        **dict.fromkeys(PRODUCTS, layer),
        **dict.fromkeys(_CONVOLUTIONS, convolution or layer),
        **dict.fromkeys(("layer_norm", "rms_norm", "group_norm", "instance_norm"), normalization(stabilizer, bias)),
        **dict.fromkeys(("log_softmax", "logsumexp"), taylor(stabilizer)),
        "batch_norm": Folded(rest),
        "mul": product(rest),
        named_key(gated): gate,
        "div": numerator,
        "softmax": softmax,
    }
    return RuleBook(rules | SEED)


DEFAULT = attn_lrp()
"""The book of `attrfunc.lrp`."""
