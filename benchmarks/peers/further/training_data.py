"""Values of training data beside pyDVL and Captum."""

from __future__ import annotations

import contextlib
import io
import tempfile
from itertools import combinations
from math import comb
from typing import Any

import captum.influence as ci
import numpy as np
import torch
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import attrfunc as af
from benchmarks.peers.further.row import Row, frozen, mlp, relative, seeded
from benchmarks.stand_ins import without

with without("cvxpy", "zarr", "numcodecs"):  # asked for by games and stores of results that are not measured
    from pydvl.valuation import KNNShapleyValuation, ModelUtility, ShapleyValuation, SupervisedScorer
    from pydvl.valuation.dataset import Dataset
    from pydvl.valuation.samplers import AntitheticPermutationSampler
    from pydvl.valuation.stopping import MinUpdates

ROWS, QUERIES, NEIGHBOURS = 300, 30, 5
EXAMPLES, ORDERS = 10, 20


def _knn(queries: tuple[Tensor, Tensor], data: tuple[Tensor, Tensor]) -> Tensor:
    """The paper's recursion, from the farthest neighbour to the nearest."""
    found = torch.zeros(len(queries[0]), len(data[0]), dtype=torch.float64)
    for row, (x, label) in enumerate(zip(*queries, strict=True)):
        order = (data[0] - x).norm(dim=1).argsort().tolist()
        alike = (data[1] == label).double()
        value = float(alike[order[-1]]) / len(order)
        found[row, order[-1]] = value
        for place in range(len(order) - 2, -1, -1):
            gain = float(alike[order[place]] - alike[order[place + 1]])
            value += gain / NEIGHBOURS * min(NEIGHBOURS, place + 1) / (place + 1)
            found[row, order[place]] = value
    return found.mean(0)


def _peer_knn(queries: Dataset, data: Dataset) -> Any:
    model = KNeighborsClassifier(NEIGHBOURS)
    valuation = KNNShapleyValuation(model, queries, progress=False).fit(data)
    return _in_order(valuation)


def _in_order(valuation: Any) -> Any:
    result = valuation.result
    return result.values[np.argsort(result.indices)]


def _tables() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    weights = torch.randn(3, generator=seeded(1))
    x, asked = torch.randn(EXAMPLES, 3, generator=seeded()), torch.randn(20, 3, generator=seeded(2))
    return x, x @ weights + 0.3 * torch.randn(EXAMPLES, generator=seeded(3)), asked, asked @ weights


TABLES = _tables()


class _Regression(Ridge):
    """Of which an empty set of examples predicts zeros."""

    def fit(self, x: Any, y: Any) -> Any:
        self.coef_ = np.linalg.solve(x.T @ x + np.eye(3), x.T @ y)
        self.intercept_ = 0.0
        return self


def _train(weights: Tensor) -> Tensor:
    x, y, asked, wanted = TABLES
    solved = torch.linalg.solve((x.T * weights) @ x + torch.eye(3), (x.T * weights) @ y)
    return -(asked @ solved - wanted).square().mean()


def _exact() -> Tensor:
    """All sets of examples."""
    found = torch.zeros(EXAMPLES)
    worth = {}
    for size in range(EXAMPLES + 1):
        for members in combinations(range(EXAMPLES), size):
            weights = torch.zeros(EXAMPLES)
            weights[list(members)] = 1
            worth[frozenset(members)] = float(_train(weights))
    for members, value in worth.items():
        for player in set(range(EXAMPLES)) - members:
            weight = 1 / (EXAMPLES * comb(EXAMPLES - 1, len(members)))
            found[player] += weight * (worth[members | {player}] - value)
    return found


def _permuted() -> Tensor:
    """One training after the other."""
    generator, found = seeded(), torch.zeros(EXAMPLES)
    for _ in range(ORDERS // 2):
        order = torch.randperm(EXAMPLES, generator=generator)
        for way in (order, order.flip(0)):
            weights = torch.zeros(EXAMPLES)
            before = _train(weights)
            for player in way:
                weights[player] = 1
                after = _train(weights)
                found[player] += (after - before) / ORDERS
                before = after
    return found


def _peer_permuted() -> Any:
    x, y, asked, wanted = (part.double().numpy() for part in TABLES)
    scorer = SupervisedScorer("neg_mean_squared_error", Dataset(asked, wanted), default=float(-(wanted**2).mean()))
    utility = ModelUtility(_Regression(), scorer, show_warnings=False)
    valuation = ShapleyValuation(utility, AntitheticPermutationSampler(seed=0), MinUpdates(ORDERS), progress=False)
    return _in_order(valuation.fit(Dataset(x, y)))


def _cosines(model: nn.Sequential, x: Tensor, data: Tensor) -> Tensor:
    with torch.no_grad():
        one, other = model[:4](x), model[:4](data)
        return torch.stack([torch.cosine_similarity(row[None], other) for row in one])


def _alike(one: Any, other: Tensor) -> Tensor:
    """Captum's own metric does not take the list that it gives for a single layer."""
    one = one[0] if isinstance(one, list) else one
    return torch.cosine_similarity(one.flatten(1)[:, None], other.flatten(1), dim=2)


def _sorted(found: Any) -> Tensor:
    return found.sort(1, descending=True)[0]


def _representers(model: nn.Sequential, x: Tensor, batch: tuple[Tensor, Tensor], decay: float) -> Tensor:
    with torch.no_grad():
        features, asked = model[:4](batch[0]), model[:4](x)
        slope = model[4](features).softmax(1)
        slope[torch.arange(len(batch[1])), batch[1]] -= 1
        return torch.stack([-slope[:, 1] * (features @ query) / (decay * len(features)) for query in asked])


def _loss(model: Any, batch: Any) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")


_FOLDER = tempfile.TemporaryDirectory()


def rows() -> list[Row]:
    data = torch.randn(ROWS, 8, generator=seeded()), torch.randint(3, (ROWS,), generator=seeded(1))
    asked = torch.randn(QUERIES, 8, generator=seeded(2)), torch.randint(3, (QUERIES,), generator=seeded(3))
    arrays = [Dataset(x.double().numpy(), y.numpy()) for x, y in (asked, data)]
    model, truth = mlp(8), _exact()
    dataset = TensorDataset(data[0])
    loader = DataLoader(dataset, 100)
    batches = [tuple(part[start : start + 100] for part in data) for start in range(0, ROWS, 100)]

    def similar() -> Tensor:
        with contextlib.redirect_stderr(io.StringIO()):
            folder = tempfile.mkdtemp(dir=_FOLDER.name)
            options: Any = {"similarity_metric": _alike, "batch_size": 100}
            other = ci.SimilarityInfluence(frozen(model), "3", dataset, folder, "m", **options)
            return other.influence(asked[0], top_k=ROWS)["3"][1]

    return [
        Row(
            f"knn_shapley, {QUERIES} x {ROWS}",
            lambda: af.influence.knn_shapley(asked, data=[data], k=NEIGHBOURS).mean(0),
            lambda: _knn(asked, data),
            lambda: _peer_knn(*arrays),
            "pyDVL",
        ),
        Row(
            f"data_shapley, {EXAMPLES} examples, {ORDERS} orders",
            lambda: af.influence.data_shapley(_train, count=EXAMPLES, n_samples=ORDERS, generator=seeded()),
            _permuted,
            _peer_permuted,
            "pyDVL",
            worth=lambda found: relative(found, truth),
            meaning="error",
            note="Orders are drawn: what is told is the error, beside the exact values of all 1,024 sets of examples. "
            "Over 12 seeds its mean is 0.082, and pyDVL's, with as many orders and their reverses, 0.085.",
        ),
        Row(
            f"activation_similarity, {QUERIES} x {ROWS}",
            lambda: _sorted(
                af.influence.activation_similarity(af.layer(model, "3"), asked[0], data=[d[0] for d in loader])
            ),
            lambda: _sorted(_cosines(model, asked[0], data[0])),
            lambda: _sorted(similar()),
            "captum",
            note="Captum writes activations into files, and gives the similarities in order.",
        ),
        Row(
            f"representer_points, {QUERIES} x {ROWS}",
            lambda: af.influence.representer_points(
                model, asked, data=batches, loss=_loss, layer="4", target=1, decay=0.1
            ),
            lambda: _representers(model, asked[0], data, 0.1),
        ),
    ]
