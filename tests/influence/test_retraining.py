"""Retraining, and what scores claim of it, against loops, scipy, and a real data set."""

import pytest
import torch
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from attrfunc.core.errors import ArgumentError, ModelError
from attrfunc.influence import (
    ekfac,
    ggn,
    influence_function,
    lds,
    leave_one_out,
    mislabel_auc,
    retrain,
    self_influence,
    tracin,
    training_influence,
)

DOUBLE = torch.float64
close = torch.testing.assert_close


def regression(rows=12, width=3):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, width, dtype=DOUBLE, generator=generator)
    y = x.sum(1) + torch.randn(rows, dtype=DOUBLE, generator=generator)

    def train(weights):
        gram = (x.T * weights) @ x + torch.eye(width, dtype=DOUBLE)
        return torch.linalg.solve(gram, (x.T * weights) @ y)

    return x, y, train


def test_retraining_is_a_loop_of_trainings():
    _, _, train = regression()
    masks = (torch.rand(7, 12, generator=torch.Generator().manual_seed(1)) > 0.3).double()
    expected = torch.stack([train(mask) for mask in masks])
    close(retrain(train, masks), expected)
    close(retrain(train, masks, chunk_size=2), expected)
    named = retrain(lambda weights: {"w": train(weights)}, masks)
    close(named["w"], expected)
    assert retrain(lambda weights: weights.sum(), masks.bool()).tolist() == masks.sum(1).tolist()


def test_leave_one_out_by_retraining_and_by_formula():
    x, y, train = regression()
    measure = lambda weights: x[:4] @ train(weights)
    found = leave_one_out(measure, weights=torch.ones(12, dtype=DOUBLE))
    gram = torch.linalg.inv(x.T @ x + torch.eye(3, dtype=DOUBLE))
    residual = y - x @ train(torch.ones(12, dtype=DOUBLE))
    leverage = (x @ gram * x).sum(1)
    close(found, (x[:4] @ gram @ x.T) * residual / (1 - leverage))
    # The derivative is without the leverage.
    through = training_influence(train, weights=torch.ones(12, dtype=DOUBLE), measure=lambda w: x[:4] @ w)
    close(through, (x[:4] @ gram @ x.T) * residual)
    close(training_influence(measure, weights=torch.ones(12, dtype=DOUBLE), chunk_size=1), through)


def descent(weights, x, y, steps=30, rate=0.3, inputs=3, outputs=1):
    """Gradient descent with momentum on a weighted loss, as pure function."""
    parameters = torch.zeros(inputs, outputs, dtype=x.dtype)
    speed = torch.zeros_like(parameters)
    slope = torch.func.grad(lambda w: (weights * (x @ w - y).square().sum(1)).sum() / len(x))
    for _ in range(steps):
        speed = 0.5 * speed + slope(parameters)
        parameters = parameters - rate * speed
    return parameters


def test_derivatives_through_steps_are_finite_differences():
    x, y, _ = regression()
    train = lambda weights: (x[:3] @ descent(weights, x, y[:, None])).squeeze(1)
    ones = torch.ones(12, dtype=DOUBLE)
    found = training_influence(train, weights=ones)
    shift = 1e-6 * torch.eye(12, dtype=DOUBLE)
    expected = torch.stack([(train(ones + d) - train(ones - d)) / 2e-6 for d in shift], 1)
    close(found, expected, rtol=1e-6, atol=1e-8)


def test_rank_correlations():
    generator = torch.Generator().manual_seed(0)
    scores, masks = torch.randn(5, 20, generator=generator), (torch.rand(40, 20, generator=generator) > 0.5).float()
    truth = (masks @ scores.T + 2 * torch.randn(40, 5, generator=generator)).round()  # with ties
    found = lds(scores, masks, truth)
    each = [stats.spearmanr((masks.double() @ scores.double().T)[:, q], truth[:, q]).statistic for q in range(5)]
    assert found.mean == pytest.approx(sum(each) / 5)
    assert found.interval[0] < found.mean < found.interval[1]
    assert lds(scores, masks, masks @ scores.T).interval == (1.0, 1.0)
    assert lds(-scores, masks, masks @ scores.T).mean == -1
    assert lds(scores, masks, torch.ones(40, 5)).mean == 0


def test_the_interval_covers_the_truth():
    """Of 60 repetitions with other subsets and queries, some nine in ten at least."""
    hits = []
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        scores, masks = torch.randn(8, 30, generator=generator), (torch.rand(50, 30, generator=generator) > 0.5).float()
        truth = masks @ scores.T + 2.7 * torch.randn(50, 8, generator=generator)
        found = lds(scores, masks, truth)
        hits.append((found.interval[0], found.mean, found.interval[1]))
    center = sum(mean for _, mean, _ in hits) / len(hits)
    assert sum(low <= center <= high for low, _, high in hits) >= 53


def test_areas_under_curves():
    generator = torch.Generator().manual_seed(0)
    scores, wrong = torch.randn(50, generator=generator).round(decimals=1), torch.rand(50, generator=generator) > 0.7
    assert mislabel_auc(scores, wrong) == pytest.approx(roc_auc_score(wrong, scores))


def test_arguments_that_cannot_be_right():
    _, _, train = regression()
    masks, ones = torch.ones(4, 12, dtype=DOUBLE), torch.ones(12, dtype=DOUBLE)
    refused = lambda match, call: _raises(ArgumentError, match, call)
    refused(r"retrain: argument `masks`: got .* expected a tensor of shape \(K, N\)", lambda: retrain(train, ones))
    refused("retrain: argument `train`", lambda: retrain(torch.nn.Linear(2, 2), masks))
    refused("`chunk_size`", lambda: retrain(train, masks, chunk_size=0))
    refused("leave_one_out: argument `weights`", lambda: leave_one_out(train, weights=masks))
    refused("leave_one_out: argument `train`: .*for each query", lambda: leave_one_out(torch.sum, weights=ones))
    refused(
        "training_influence: argument `train`: got a result that does not depend on the weights",
        lambda: training_influence(lambda w: train(w.detach()), weights=ones),
    )
    refused(
        "argument `measure`: got a tensor of shape .12, 12.*",
        lambda: training_influence(train, weights=ones, measure=lambda w: torch.eye(12)),
    )
    refused("lds: argument `truth`", lambda: lds(torch.ones(2, 12), masks, torch.ones(2, 4)))
    refused("lds: argument `masks`", lambda: lds(torch.ones(2, 11), masks, torch.ones(4, 2)))
    refused("at least 3", lambda: lds(torch.ones(2, 12), masks[:2], torch.ones(2, 2)))
    refused("not finite", lambda: lds(torch.ones(2, 12) / 0, masks, torch.ones(4, 2)))
    refused("mislabel_auc: argument `mislabelled`", lambda: mislabel_auc(ones, ones))
    refused("0 wrong labels", lambda: mislabel_auc(ones, ones > 1))
    _raises(ModelError, "cannot be mapped", lambda: retrain(lambda w: torch.tensor(w.sum().item()), masks))
    _raises(ModelError, "diverged", lambda: training_influence(lambda w: (w * 1e300) ** 2 * 1e300, weights=ones))


def _raises(kind, match, call):
    with pytest.raises(kind, match=match):
        call()


@pytest.fixture(scope="module")
def digits():
    """An MLP on digits, trained by a pure function, with queries of its own."""
    images, labels = load_digits(return_X_y=True)
    images, labels = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    x, y = images[order[:300]], labels[order[:300]]
    queries = images[order[300:330]], labels[order[300:330]]
    generator = torch.Generator().manual_seed(1)
    shapes = {"0.weight": (16, 64), "0.bias": (16,), "2.weight": (10, 16), "2.bias": (10,)}
    start = {n: torch.randn(s, generator=generator) * (s[-1] ** -0.5 if len(s) > 1 else 0) for n, s in shapes.items()}

    def forward(p, x):
        return F.linear(torch.tanh(F.linear(x, p["0.weight"], p["0.bias"])), p["2.weight"], p["2.bias"])

    def train(weights, steps=80, rate=0.5, decay=1e-2):
        def objective(p):
            losses = F.cross_entropy(forward(p, x), y, reduction="none")
            return (weights * losses).sum() / len(y) + decay / 2 * sum(v.square().sum() for v in p.values())

        p, speed = start, {n: torch.zeros_like(v) for n, v in start.items()}
        for _ in range(steps):
            slopes = torch.func.grad(objective)(p)
            speed = {n: 0.9 * speed[n] + slopes[n] for n in p}
            p = {n: p[n] - rate * 0.2 * speed[n] for n in p}
        return p

    measure = lambda p: -F.cross_entropy(forward(p, queries[0]), queries[1], reduction="none")
    model = torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.Tanh(), torch.nn.Linear(16, 10)).eval()
    model.load_state_dict(train(torch.ones(300)))
    return model, train, measure, (x, y), queries


def subsets(share, count=60, rows=300):
    generator = torch.Generator().manual_seed(2)
    return (torch.rand(count, rows, generator=generator) > share).float()


def test_scores_predict_retraining(digits):
    model, train, measure, data, queries = digits
    loss = lambda model, batch: F.cross_entropy(model(batch[0]), batch[1], reduction="none")
    few, half = subsets(0.05), subsets(0.5)
    truth = {share: retrain(lambda w: measure(train(w)), masks) for share, masks in ((5, few), (50, half))}
    through = training_influence(train, weights=torch.ones(300), measure=measure)
    assert lds(through, few, truth[5]).mean > 0.9
    options = {"data": [data], "loss": loss}
    curved = influence_function(model, queries, curvature=ggn(model, [data], loss=loss, damping=1e-2), **options)
    factored = influence_function(model, queries, curvature=ekfac(model, [data], loss=loss, damping=1e-2), **options)
    plain = tracin(model, queries, **options)
    found = {name: lds(s, half, truth[50]).mean for name, s in
             (("ggn", curved), ("ekfac", factored), ("tracin", plain))}  # fmt: skip
    assert found["ggn"] > 0.7
    assert found["ekfac"] > 0.6
    assert found["tracin"] > 0.2


def test_wrong_labels_are_found(digits):
    _, _, _, (x, y), _ = digits
    wrong = torch.zeros(300, dtype=torch.bool)
    wrong[torch.randperm(300, generator=torch.Generator().manual_seed(3))[:15]] = True
    labels = torch.where(wrong, (y + 1) % 10, y)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.Tanh(), torch.nn.Linear(16, 10))
    loss = lambda model, batch: F.cross_entropy(model(batch[0]), batch[1], reduction="none")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    states = []
    for step in range(60):
        optimizer.zero_grad()
        loss(model, (x, labels)).mean().backward()
        optimizer.step()
        if step % 20 == 19:
            states.append({name: value.clone() for name, value in model.state_dict().items()})
    found = self_influence(model, [(x, labels)], loss=loss, checkpoints=states)
    assert mislabel_auc(found, wrong) > 0.9
