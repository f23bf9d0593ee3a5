"""The rule book of DeepLIFT's Rescale rule: an operation's multipliers from the baseline to the input."""

from __future__ import annotations

from typing import Any

from attrfunc.propagation.names import words
from attrfunc.propagation.natural_rule import gradient_rule
from attrfunc.propagation.opened import OPENED
from attrfunc.propagation.order_statistics import order_statistic
from attrfunc.propagation.rescale import multilinear, quotient, rescale, rescale_kinked, selection
from attrfunc.propagation.rule_book import Linear, Rule, RuleBook, natural
from attrfunc.propagation.softmax import log_softmax_rule, logsumexp_rule, softmax_rule

__all__ = ["ADDED", "KINKED", "LINEAR", "ORDERS", "PRODUCTS", "RESCALE", "SELECTIONS", "SMOOTH", "SPECTRA"]

SMOOTH = words(
    """
    elu selu celu gelu silu mish sigmoid hardsigmoid hardswish logsigmoid log_sigmoid softplus softsign tanh
    tanhshrink exp exp2 expm1 log log2 log10 log1p sqrt rsqrt square reciprocal pow rpow float_power rdiv
    sin cos tan asin acos atan arcsin arccos arctan sinh cosh asinh acosh atanh arcsinh arccosh arctanh sinc
    erf erfc erfinv digamma lgamma gammaln i0 i0e i1 i1e logit polygamma nan_to_num
    """
)

KINKED = words(
    """
    relu relu6 hardtanh leaky_relu rrelu prelu threshold softshrink hardshrink abs fabs clamp clamp_min clamp_max
    sign sgn round floor ceil trunc fix frac fmod remainder floor_divide heaviside
    """
)

SELECTIONS = words(
    """
    where masked_fill masked_scatter maximum minimum fmax fmin max min amax amin cummax cummin scatter_amax
    scatter_amin index_amax index_amin max_pool1d max_pool2d max_pool3d max_pool1d_with_indices
    max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool1d adaptive_max_pool2d
    adaptive_max_pool3d adaptive_max_pool1d_with_indices adaptive_max_pool2d_with_indices
    adaptive_max_pool3d_with_indices fractional_max_pool2d fractional_max_pool3d
    """
)

ORDERS = words("median nanmedian kthvalue sort topk msort")

SPECTRA = words(
    """
    fft_fft fft_ifft fft_rfft fft_irfft fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2 fft_fftn fft_ifftn fft_rfftn fft_irfftn
    fft_hfft fft_ihfft stft istft
    """
)

ADDED = words(
    "scatter_add scatter_sum scatter_mean index_add index_mean index_put_add put_add"  # to what is there
)

LINEAR = words(
    """
    add sub rsub neg sum nansum mean nanmean cumsum diff trace avg_pool1d avg_pool2d avg_pool3d
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d interpolate upsample upsample_bilinear
    upsample_nearest batch_norm dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout
    native_dropout fold embedding embedding_bag nll_loss conj conj_physical
    """
)

PRODUCTS = words(
    """
    mul matmul mm bmm mv dot vdot inner outer ger tensordot einsum kron cross linear conv1d conv2d
    conv3d conv_transpose1d conv_transpose2d conv_transpose3d
    """
)

_RULES: dict[Any, Rule] = {
    **OPENED,
    **dict.fromkeys(SMOOTH, rescale),
    **dict.fromkeys(KINKED, rescale_kinked),
    **dict.fromkeys(SELECTIONS, selection),
    **dict.fromkeys(ORDERS, order_statistic),
    **dict.fromkeys([*LINEAR, *ADDED, *SPECTRA], natural),
    **dict.fromkeys(PRODUCTS, Linear(multilinear)),
    "grid_sample": Linear(gradient_rule),
    "div": Linear(quotient),
    "softmax": softmax_rule,
    "log_softmax": log_softmax_rule,
    "logsumexp": logsumexp_rule,
}

RESCALE = RuleBook(_RULES)
"""Rescale for elementwise operations, and what is complete for all others."""
