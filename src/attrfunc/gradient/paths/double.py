"""The double path of integrated Hessians, folded onto a single one.

Integrals over two paths depend on the product of their places alone: the mean of `g(s * t)` over s and t in [0, 1] is
that of `g` under the density `-log` on [0, 1]. Gauss's rule for this density needs n points where two rules need n^2.
"""

from __future__ import annotations

import functools

import numpy as np

from attrfunc.core.errors import positive
from attrfunc.core.model.visible import at_trace_time

__all__ = ["double_quadrature"]


@at_trace_time  # a compiler need not look into NumPy
def double_quadrature(n_steps: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Nodes and weights of Gauss's rule for the density `-log` on [0, 1].

    Args:
        n_steps: Number of nodes.

    Returns:
        Nodes and weights, which sum to one: exact for polynomials of degree `2 * n_steps - 1`.

    Raises:
        ArgumentError: If `n_steps` is below 1.
    """
    return _gauss_log(positive("n_steps", n_steps))


@functools.lru_cache
def _gauss_log(n: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """By the modified Chebyshev algorithm: the moments of Legendre polynomials are known, and lose no digits.

    It is done on [0, 4], where monic polynomials neither grow nor vanish with their degree.
    """
    k = np.arange(1, 2 * n)
    middle, legendre = 2.0, 16 * k**2 / (4.0 * (4.0 * k**2 - 1))  # the recurrence of monic Legendre polynomials
    sizes = np.cumprod(2 * k / (2 * k - 1.0))  # 4^k / binomial(2k, k)
    moments = np.concatenate([[1.0], (-1.0) ** k / (k * (k + 1.0)) * sizes])
    diagonal, beside = np.zeros(n), np.zeros(n)
    before, mixed = np.zeros(2 * n), moments
    diagonal[0] = middle + (mixed[1] / mixed[0])
    for row in range(1, n):
        inner = np.arange(row, 2 * n - row)
        following = np.zeros(2 * n)
        following[inner] = (
            mixed[inner + 1]
            + (middle - diagonal[row - 1]) * mixed[inner]
            + legendre[inner - 1] * mixed[inner - 1]
            - beside[row - 1] * before[inner]
        )
        diagonal[row] = middle + following[row + 1] / following[row] - mixed[row] / mixed[row - 1]
        beside[row] = following[row] / mixed[row - 1]
        before, mixed = mixed, following
    off = np.sqrt(beside[1:])
    nodes, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1))
    weights = vectors[0] ** 2
    return tuple((nodes / 4).tolist()), tuple((weights / weights.sum()).tolist())
