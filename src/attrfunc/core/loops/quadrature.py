"""Nodes and weights on the interval [0, 1]; the weights of every rule sum to one.

This is where `method`, `tolerance` and `max_steps` are documented; every method refers here.

method: The rule: `"gausslegendre"` (exact for polynomials of degree 2 * n_steps - 1), `"riemann_left"`,
    `"riemann_right"`, `"riemann_middle"` or `"riemann_trapezoid"` (both ends are nodes, each with half a weight).
tolerance: Evaluate each example at 7, 15, 31, ... points (Fejer's second rule, whose points are nested, so that all are
    used again), until its completeness gap is at most this, in units of the score. Examples that are done are left
    alone. `n_steps` and `method` then have no part. The number of points depends on values, so `torch.compile` does not
    take it; under `vmap` an example is done when it is for every entry.
max_steps: Where to stop: at the largest of these numbers that does not exceed it, with a warning that names the
    examples that are not within the tolerance, and their gaps.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from attrfunc.core.errors import ArgumentError, positive
from attrfunc.core.model.visible import at_trace_time

__all__ = ["RULES", "increments", "nested", "nested_weights", "new_nodes", "quadrature"]

RULES = ("gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid")


@functools.lru_cache  # with hundreds of points, finding them takes longer than evaluating a small network there
def _gauss_legendre(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes on [-1, 1] and weights, by Newton's method on all nodes at once from Tricomi's estimate.

    `numpy.polynomial.legendre.leggauss` takes the eigenvalues of a matrix: seconds for a thousand nodes.
    """
    angles = np.pi * (4 * np.arange(n, 0, -1) - 1) / (4 * n + 2)
    x = np.cos(angles) * (1 - (n - 1) / (8.0 * n**3))
    for _ in range(6):  # each doubles the digits, of which the estimate has five or more
        before, value = np.ones_like(x), x.copy()
        for degree in range(2, n + 1):
            before, value = value, ((2 * degree - 1) * x * value - (degree - 1) * before) / degree
        slope = n * (before - x * value) / (1 - x * x)
        step = value / slope
        x = x - step
        if np.abs(step).max() < 1e-16:
            break
    weights = 2 / ((1 - x * x) * slope * slope)
    return x, weights * (2 / weights.sum())


@at_trace_time  # a compiler need not look into NumPy
def quadrature(
    method: str, n_steps: int, tolerance: float | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Nodes and weights of a rule for the integral over [0, 1].

    Args:
        method: The rule, one of `RULES`.
        n_steps: Number of nodes.
        tolerance: Whether a tolerance is given, which comes with a rule of its own.

    Returns:
        Nodes and weights as plain floats, so that they do not tie the caller to a dtype or device.

    Raises:
        ArgumentError: If the rule is unknown or goes with no tolerance, or `n_steps` is below 1 (2 for the trapezoid).
    """
    n = positive("n_steps", n_steps)
    if method not in RULES:
        raise ArgumentError("method", repr(method), f"one of {', '.join(RULES)}", "Gauss-Legendre is the default.")
    if tolerance is not None and method != "gausslegendre":
        raise ArgumentError(
            "method", f"{method!r} with a tolerance", "no method, since nested points are taken then", "Drop one."
        )
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


@functools.lru_cache
def nested(level: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Nodes and weights of Fejer's second rule: the nodes of each level are among those of the next.

    It integrates polynomials up to the degree of its number of nodes, and smooth functions nearly as well as
    Gauss-Legendre.

    Args:
        level: Counted from 0.

    Returns:
        `2 ** (level + 3) - 1` nodes and weights. Every other node, from the second on, is one of the level before.
    """
    n = 2 ** (level + 3) - 1
    angles = np.pi * np.arange(1, n + 1) / (n + 1)
    odd = np.arange(1, n + 1, 2)
    weights = 2 * np.sin(angles) / (n + 1) * (np.sin(np.outer(angles, odd)) / odd).sum(1)
    return tuple(((1 - np.cos(angles)) / 2).tolist()), tuple(weights.tolist())


def new_nodes(level: int) -> tuple[float, ...]:
    """The nodes of a level that the one before does not have."""
    return nested(level)[0][:: 2 if level else 1]


def nested_weights(level: int, later: int) -> tuple[float, ...]:
    """What the nodes that are new at a level weigh at a later one; nothing at one before."""
    if later < level:
        return (0.0,) * len(new_nodes(level))
    apart = 2 ** (later - level)
    return nested(later)[1][apart - 1 :: 2 * apart if level else apart]


@at_trace_time
def increments(nodes: Sequence[float], weights: Sequence[float], *, smooth: bool) -> tuple[tuple[float, ...], ...]:
    """The change of a function that belongs to each node of a rule, from its values at both ends and the nodes.

    They sum to the change from end to end, exactly: an integral `sum(g(node) * increment(node))` of `g dy` is that of
    `dy` where `g` is constant.

    Args:
        nodes: The nodes of a rule, in order.
        weights: Its weights.
        smooth: Differentiate the polynomial through all values: its degree grows with the number of nodes, which have
            to be those of a Gauss or Fejer rule. Otherwise the function is taken to be linear between values, and its
            change is that across the node's cell, as wide as the weight.

    Returns:
        One row for each node: what the values at 0, at the nodes and at 1 are multiplied by.
    """
    at, width = np.array([0.0, *nodes, 1.0]), np.array(weights)
    if smooth:
        return tuple(map(tuple, (width[:, None] * _derivative(at)[1:-1]).tolist()))
    edges = np.concatenate([[0.0], np.cumsum(width)])
    edges[-1] = 1.0
    values = np.stack([np.interp(edges, at, unit) for unit in np.eye(len(at))], axis=1)
    return tuple(map(tuple, np.diff(values, axis=0).tolist()))


def _derivative(at: np.ndarray) -> np.ndarray:
    """Maps values at these points to the derivative there of the polynomial through them (barycentric formula)."""
    apart = at[:, None] - at[None, :] + np.eye(len(at))
    sizes, signs = np.log(np.abs(apart)).sum(1), np.sign(apart).prod(1)
    ratios = np.exp(sizes[:, None] - sizes[None, :]) * signs[:, None] * signs[None, :]
    matrix: np.ndarray = ratios / apart - np.eye(len(at))
    return matrix - np.diag(matrix.sum(1))
