"""Nodes and weights on the interval [0, 1]; the weights of every rule sum to one."""

from __future__ import annotations

import functools
import operator

import numpy as np
import torch

from attrfunc.core.errors import ArgumentError, describe

__all__ = ["RULES", "positive", "quadrature"]

RULES = ("gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid")


def positive(name: str, value: int) -> int:
    """Check that a count is a whole number of at least one."""
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ArgumentError(name, describe(value), "a whole number of at least 1", f"Pass {name}=1 or more.")
    return number


# With hundreds of points, finding them takes longer than evaluating a small network there.
_gauss_legendre = functools.lru_cache(np.polynomial.legendre.leggauss)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # a compiler need not look into NumPy
def quadrature(method: str, n_steps: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Nodes and weights of a rule for the integral over [0, 1].

    Args:
        method: `"gausslegendre"` (exact for polynomials of degree 2 * n_steps - 1), `"riemann_left"`,
            `"riemann_right"`, `"riemann_middle"` or `"riemann_trapezoid"` (both ends are nodes, each with half a
            weight).
        n_steps: Number of nodes.

    Returns:
        Nodes and weights as plain floats, so that they do not tie the caller to a dtype or device.

    Raises:
        ArgumentError: If the rule is unknown, `n_steps` is below 1, or below 2 for the trapezoid.
    """
    n = positive("n_steps", n_steps)
    if method not in RULES:
        raise ArgumentError("method", repr(method), f"one of {', '.join(RULES)}", "Gauss-Legendre is the default.")
    if method == "riemann_trapezoid" and n == 1:
        raise ArgumentError(
            "n_steps", "1", "at least 2 for riemann_trapezoid, which evaluates both ends", "Raise n_steps."
        )
    if method == "gausslegendre":
        nodes, weights = _gauss_legendre(n)
        return tuple(((1 + nodes) / 2).tolist()), tuple((weights / 2).tolist())
    if method == "riemann_trapezoid":
        ends = 0.5 / (n - 1)
        return tuple(np.linspace(0, 1, n).tolist()), (ends, *[2 * ends] * (n - 2), ends)
    shift = {"riemann_left": 0.0, "riemann_middle": 0.5, "riemann_right": 1.0}[method]
    return tuple(((np.arange(n) + shift) / n).tolist()), (1 / n,) * n
