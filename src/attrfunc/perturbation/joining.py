"""Joins neighbouring pieces of an image into patches; what for says `attrfunc.perturbation.feature_masks`."""

from __future__ import annotations

import heapq

import numpy as np

__all__ = ["join_neighbours"]


def join_neighbours(pieces: np.ndarray, features: np.ndarray, count: int) -> np.ndarray:
    """Join connected pieces, two at a time, until `count` are left (Ward's criterion among neighbours).

    Args:
        pieces: The number of each pixel's piece `(H, W)`, from 0 on.
        features: What pixels are compared by `(H, W, F)`.
        count: How many are left, or all pieces where they are fewer.

    Returns:
        The number of each pixel's patch `(H, W)`, from 0 on, in the order in which they are met row by row.
    """
    found = int(pieces.max()) + 1
    sizes, means = _moments(pieces, features, found)
    neighbours = _neighbours(pieces, found)
    queue = [(_cost(sizes, means, a, [b])[0], a, b) for a in range(found) for b in neighbours[a] if a < b]
    heapq.heapify(queue)
    joined_to = np.arange(2 * found)  # a union gets the next number, and what it is made of points to it
    new = found
    while found > count:
        _, a, b = heapq.heappop(queue)
        if joined_to[a] != a or joined_to[b] != b:
            continue
        joined_to[a] = joined_to[b] = new
        sizes[new] = sizes[a] + sizes[b]
        means[new] = (sizes[a] * means[a] + sizes[b] * means[b]) / sizes[new]
        around = sorted((neighbours.pop(a) | neighbours.pop(b)) - {a, b})
        for other in around:
            neighbours[other] -= {a, b}
            neighbours[other].add(new)
        neighbours[new] = set(around)
        for other, cost in zip(around, _cost(sizes, means, new, around), strict=True):
            heapq.heappush(queue, (cost, other, new))
        found, new = found - 1, new + 1
    for number in reversed(range(new)):  # what a union belongs to is known before its parts ask
        joined_to[number] = joined_to[joined_to[number]]
    return _in_reading_order(joined_to[pieces])


def _moments(pieces: np.ndarray, features: np.ndarray, found: int) -> tuple[np.ndarray, np.ndarray]:
    """Size and mean of each piece, with room for as many unions."""
    sizes, means = np.zeros(2 * found), np.zeros((2 * found, features.shape[-1]))
    flat = pieces.ravel()
    sizes[:found] = np.bincount(flat, minlength=found)
    for number, values in enumerate(np.moveaxis(features, -1, 0)):
        means[:found, number] = np.bincount(flat, values.ravel(), found) / sizes[:found]
    return sizes, means


def _neighbours(pieces: np.ndarray, found: int) -> dict[int, set[int]]:
    """The pieces that share an edge with each."""
    beside = [(pieces[:, :-1], pieces[:, 1:]), (pieces[:-1], pieces[1:])]
    pairs = np.concatenate([np.stack([one.ravel(), other.ravel()], 1) for one, other in beside])
    around: dict[int, set[int]] = {number: set() for number in range(found)}
    for a, b in np.unique(np.sort(pairs, 1), axis=0).tolist():
        if a != b:
            around[a].add(b)
            around[b].add(a)
    return around


def _cost(sizes: np.ndarray, means: np.ndarray, one: int, others: list[int]) -> list[float]:
    """By how much a union with each of `others` adds to the squared distances from the mean."""
    apart: np.ndarray = ((means[others] - means[one]) ** 2).sum(-1)
    cost: list[float] = (sizes[one] * sizes[others] / (sizes[one] + sizes[others]) * apart).tolist()
    return cost


def _in_reading_order(numbers: np.ndarray) -> np.ndarray:
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    order = np.empty_like(first)
    order[np.argsort(first)] = np.arange(len(first))
    result: np.ndarray = order[inverse].reshape(numbers.shape)
    return result
