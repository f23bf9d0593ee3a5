"""Exact values of games beside shapiq and shap: all coalitions, evaluated once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations, permutations
from math import comb
from typing import Any

import numpy as np
import shap
import shapiq
import torch
from torch import Tensor, nn

import attrfunc as af
from benchmarks.peers.further.row import Row, mlp, seeded

PLAYERS = 9
# A binary tree of six features, as shap's partitions are.
LINKAGE = np.array([[0, 1, 1, 2], [2, 3, 1, 2], [6, 7, 2, 4], [4, 5, 3, 2], [8, 9, 4, 6]], dtype=float)
NESTING = [[[0, 1], [2, 3]], [4, 5]]


def _game(model: nn.Module, one: Tensor) -> Callable[[Any], Any]:
    """The score of one example, of which a coalition is seen, as libraries of games ask for it."""

    def value(coalitions: Any) -> Any:
        with torch.no_grad():
            return model(one * torch.as_tensor(np.atleast_2d(coalitions), dtype=torch.float32))[:, 1].numpy()

    return value


def _values(model: nn.Module, one: Tensor, players: int) -> dict[frozenset[int], float]:
    """One coalition after the other."""
    found = {}
    with torch.no_grad():
        for size in range(players + 1):
            for members in combinations(range(players), size):
                shown = torch.zeros(players)
                shown[list(members)] = 1
                found[frozenset(members)] = float(model((one * shown)[None])[0, 1])
    return found


def _banzhaf(model: nn.Module, x: Tensor) -> Any:
    found = []
    for one in x:
        v = _values(model, one, PLAYERS)
        without = [[members for members in v if i not in members] for i in range(PLAYERS)]
        found.append([np.mean([v[m | {i}] - v[m] for m in without[i]]) for i in range(PLAYERS)])
    return np.array(found)


def _interactions(model: nn.Module, x: Tensor) -> Any:
    """The Shapley interaction index of pairs."""
    found = np.zeros((len(x), PLAYERS, PLAYERS))
    for row, one in enumerate(x):
        v = _values(model, one, PLAYERS)
        for i, j in combinations(range(PLAYERS), 2):
            total = 0.0
            for m in v:
                if i not in m and j not in m:
                    weight = 1 / ((PLAYERS - 1) * comb(PLAYERS - 2, len(m)))
                    total += weight * (v[m | {i, j}] - v[m | {i}] - v[m | {j}] + v[m])
            found[row, i, j] = found[row, j, i] = total
    return found


def _orders(tree: Any) -> list[list[int]]:
    """All orders in which the members of each union follow each other."""
    if isinstance(tree, int):
        return [[tree]]
    found = []
    for order in permutations(tree):
        parts: list[list[int]] = [[]]
        for branch in order:
            parts = [left + right for left in parts for right in _orders(branch)]
        found += parts
    return found


def _owen(model: nn.Module, x: Tensor) -> Any:
    orders = _orders(NESTING)
    found = np.zeros((len(x), 6))
    for row, one in enumerate(x):
        v = _values(model, one, 6)
        for order in orders:
            for place, player in enumerate(order):
                before = frozenset(order[:place])
                found[row, player] += (v[before | {player}] - v[before]) / len(orders)
    return found


def _shapiq(model: nn.Module, x: Tensor, index: str, order: int) -> Any:
    found = []
    for one in x:
        values = shapiq.ExactComputer(_game(model, one), PLAYERS)(index=index, order=order)
        found.append(values.get_n_order_values(order))
    return np.stack(found)


def _shap(model: nn.Module, x: Tensor) -> Any:
    masker = shap.maskers.Partition(np.zeros((1, 6)), clustering=LINKAGE)

    def score(rows: Any) -> Any:
        with torch.no_grad():
            return model(torch.as_tensor(rows, dtype=torch.float32))[:, 1].numpy()

    return shap.explainers.PartitionExplainer(score, masker)(x.numpy(), max_evals=1000, silent=True).values


def rows() -> list[Row]:
    model, x = mlp(PLAYERS), torch.randn(4, PLAYERS, generator=seeded())
    small, few = mlp(6), torch.randn(4, 6, generator=seeded())
    exact = partial(_shapiq, model, x)
    return [
        Row(
            f"banzhaf_values, {PLAYERS} groups",
            lambda: af.banzhaf_values(model, x, target=1),
            lambda: _banzhaf(model, x),
            lambda: exact("BV", 1),
            "shapiq",
        ),
        Row(
            f"shapley_interactions, pairs of {PLAYERS} groups",
            lambda: af.shapley_interactions(model, x, target=1, order=2, index="SII")[1],
            lambda: _interactions(model, x),
            lambda: exact("SII", 2),
            "shapiq",
        ),
        Row(
            "owen_values, 6 groups in a tree",
            lambda: af.owen_values(small, few, target=1, nesting=NESTING),
            lambda: _owen(small, few),
            lambda: _shap(small, few),
            "shap",
        ),
    ]
