"""TRAK, similarity, representer points and Shapley values against what they are defined as."""

import itertools
import math

import pytest
import torch
import trained
from torch import nn

import attrfunc as af
from attrfunc.core.errors import ArgumentError, ModelError
from attrfunc.influence import (
    activation_similarity,
    count_sketch,
    data_shapley,
    influence_function,
    knn_shapley,
    representer_points,
    top,
    tracin,
    trak,
)

DOUBLE = torch.float64
LOSS = trained.cross_entropy
close = torch.testing.assert_close


def margin(model, batch):
    logits = model(batch[0])
    own = logits.gather(1, batch[1][:, None])
    others = logits.scatter(1, batch[1][:, None], -math.inf)
    return (own - others.logsumexp(1, keepdim=True)).squeeze(1)


def test_trak_by_its_formula():
    model, batch = trained.network("mlp")
    data = [tuple(part[:4] for part in batch), tuple(part[4:] for part in batch)]
    phi = trained.gradients(model, batch, margin)
    doubt = 1 - (-LOSS(model, batch)).exp().detach()  # Q, the derivative of the loss
    expected = phi @ torch.linalg.inv(phi.T @ phi + 0.3 * torch.eye(phi.shape[1], dtype=DOUBLE)) @ phi.T * doubt
    close(trak(model, batch, data=data, loss=LOSS, measure=margin, ridge=0.3), expected)
    twice = [model.state_dict()] * 2
    close(trak(model, batch, data=data, loss=LOSS, measure=margin, ridge=0.3, checkpoints=twice), expected)


def test_trak_with_a_sketch():
    model, batch = trained.network("mlp")
    sketch = count_sketch(4, generator=torch.Generator().manual_seed(0))
    whole = trak(model, batch, data=[batch], loss=LOSS, measure=margin, sketch=sketch)
    singles = [tuple(part[i : i + 1] for part in batch) for i in range(6)]
    close(trak(model, batch, data=singles, loss=LOSS, measure=margin, sketch=sketch), whole)
    with pytest.raises(ArgumentError, match=r"trak: argument `ridge`: got 0.0, with which.*singular"):
        trak(model, batch, data=[batch], loss=LOSS, measure=margin)
    with pytest.raises(ArgumentError, match="`measure`: got NoneType"):
        trak(model, batch, data=[batch], loss=LOSS, measure=None)
    with pytest.raises(ArgumentError, match="`ridge`: got int -1"):
        trak(model, batch, data=[batch], loss=LOSS, measure=margin, ridge=-1)


@pytest.mark.parametrize(
    ("metric", "formula"),
    [
        ("cosine", lambda a, b: nn.functional.cosine_similarity(a[:, None], b[None], dim=2)),
        ("dot", lambda a, b: a @ b.T),
        ("euclidean", lambda a, b: -(a[:, None] - b[None]).norm(dim=2)),
        (lambda a, b: a @ b.T + 1, lambda a, b: a @ b.T + 1),
    ],
)
def test_similar_activations(metric, formula):
    model, (x, labels) = trained.network("conv")
    view = af.layer(model, "1")
    flat = model[:2](x).flatten(1).detach()
    close(activation_similarity(view, x[:2], data=[x[:3], x[3:]], metric=metric), formula(flat[:2], flat))
    pairs = [(x[:3], labels[:3]), (x[3:], labels[3:])]
    found = activation_similarity(view, x[:2], data=pairs, metric=metric, inputs=lambda batch: batch[0])
    close(found, formula(flat[:2], flat))


def test_similarity_that_cannot_be_right():
    model, (x, _) = trained.network("mlp")
    refused = lambda match, *args, **kwargs: _raises(ArgumentError, match, activation_similarity, *args, **kwargs)
    refused("activation_similarity: argument `view`", model, x, data=[x])
    refused("`metric`: got str 'l2'", af.layer(model, "0"), x, data=[x], metric="l2")
    refused("`metric`: got a metric that gives", af.layer(model, "0"), x, data=[x], metric=lambda a, b: a.sum())
    assert (activation_similarity(af.layer(model, "0", side="input"), x * 0, data=[x]) == 0).all()


def _raises(kind, match, call, *args, **kwargs):
    with pytest.raises(kind, match=match):
        call(*args, **kwargs)


def test_representer_points_add_up_at_the_minimum():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    batch = (torch.randn(12, 4, dtype=DOUBLE), torch.randint(3, (12,)))
    decay, head = 0.05, [model[2].weight, model[2].bias]
    options = {"max_iter": 300, "tolerance_grad": 1e-13, "tolerance_change": 0.0, "line_search_fn": "strong_wolfe"}
    optimizer = torch.optim.LBFGS(head, **options)

    def closure():
        optimizer.zero_grad()
        value = LOSS(model, batch).mean() + decay / 2 * model[2].weight.square().sum()
        value.backward()
        return value

    for _ in range(5):
        optimizer.step(closure)
    queries = (torch.randn(3, 4, dtype=DOUBLE), torch.tensor([0, 1, 2]))
    target = torch.tensor([2, 0, 1])
    options = {"loss": LOSS, "layer": "2", "decay": decay}
    data = [tuple(part[:5] for part in batch), tuple(part[5:] for part in batch)]
    found = representer_points(model, queries, data=data, target=target, **options)
    logits = (model(queries[0]) - model[2].bias).gather(1, target[:, None]).squeeze(1)
    close(found.sum(1), logits.detach(), rtol=1e-6, atol=1e-8)
    close(representer_points(model, queries, data=data, target=2, **options)[0], found[0])
    refused = lambda match, **changes: _raises(
        ArgumentError, match, representer_points, model, queries, data=data, **{**options, "target": 0, **changes}
    )
    refused("`layer`", layer="1")
    refused("`target`: got int 3", target=3)
    refused("`target`: got .*one for each of 3 queries", target=torch.tensor([0, 1]))
    refused("`decay`", decay=0)
    many = trained.network("rnn")[0]
    x = (torch.randint(0, 9, (6, 5)), torch.randint(0, 9, (6,)))
    with pytest.raises(ModelError, match="does not run once"):
        representer_points(many, x, data=[x], loss=LOSS, layer="head", target=0, decay=0.1)


def shapley(value, count):
    """By all permutations."""
    found = torch.zeros(count, dtype=DOUBLE)
    for order in itertools.permutations(range(count)):
        before = value(frozenset())
        for place, player in enumerate(order):
            after = value(frozenset(order[: place + 1]))
            found[player] += after - before
            before = after
    return found / math.factorial(count)


@pytest.mark.parametrize("k", [1, 2, 3, 9])
def test_nearest_neighbours_by_all_permutations(k):
    generator = torch.Generator().manual_seed(0)
    x, labels = torch.randn(6, 2, generator=generator, dtype=DOUBLE), torch.tensor([0, 1, 1, 0, 1, 0])
    queries = torch.randn(3, 2, generator=generator, dtype=DOUBLE), torch.tensor([0, 1, 0])

    def game(q):
        def value(players):
            near = sorted(players, key=lambda i: float((x[i] - queries[0][q]).norm()))[:k]
            return sum(float(labels[i] == queries[1][q]) for i in near) / k

        return shapley(value, 6)

    expected = torch.stack([game(q) for q in range(3)])
    close(knn_shapley(queries, data=[(x[:2], labels[:2]), (x[2:], labels[2:])], k=k), expected)
    images = [(x.view(6, 1, 2), labels)]
    flat = (queries[0].view(3, 1, 2), queries[1])
    close(knn_shapley(flat, data=images, k=k, features=lambda images: images.flatten(1)), expected)


def test_nearest_neighbours_that_cannot_be_right():
    pair = (torch.randn(4, 2), torch.tensor([0, 1, 0, 1]))
    _raises(ArgumentError, "knn_shapley: argument `k`", knn_shapley, pair, data=[pair], k=0)
    _raises(ArgumentError, "`x`: got .*a pair of inputs and labels", knn_shapley, pair[0], data=[pair], k=1)
    _raises(ArgumentError, "`data`: got features that are", knn_shapley, pair, data=[(pair[0][None], pair[1])], k=1)
    _raises(ArgumentError, "`data`: got labels that are", knn_shapley, pair, data=[(pair[0], pair[1][:2])], k=1)
    _raises(ArgumentError, "not finite", knn_shapley, (pair[0] / 0, pair[1]), data=[pair], k=1)


def test_values_of_data_by_all_permutations():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 2, generator=generator, dtype=DOUBLE)
    y = torch.randn(4, generator=generator, dtype=DOUBLE)

    def train(weights):
        weights = weights.double()
        w = torch.linalg.solve((x.T * weights) @ x + torch.eye(2, dtype=DOUBLE), (x.T * weights) @ y)
        return -(x[:2] @ w - y[:2]).square()

    mask = lambda players: torch.tensor([float(i in players) for i in range(4)])
    expected = torch.stack([shapley(lambda players, q=q: train(mask(players))[q], 4) for q in range(2)])
    found = data_shapley(train, count=4, n_samples=2000, generator=torch.Generator().manual_seed(0))
    close(found, expected, rtol=0.03, atol=0.02)
    few = data_shapley(train, count=4, n_samples=3, generator=torch.Generator().manual_seed(0), chunk_size=2)
    close(few.sum(1), train(torch.ones(4)) - train(torch.zeros(4)))
    one = data_shapley(lambda w: train(w).sum(), count=4, n_samples=3, generator=torch.Generator().manual_seed(0))
    close(one, few.sum(0))
    _raises(ArgumentError, "data_shapley: argument `count`", data_shapley, train, count=0)
    _raises(ArgumentError, "`train`: got a tensor of shape", data_shapley, lambda w: w.view(2, 2), count=4)
    _raises(ModelError, r"on 0 example\(s\) gives what is not finite", data_shapley, lambda w: 1 / w.sum(), count=4)


@pytest.mark.parametrize("largest", [True, False])
def test_the_highest_scores(largest):
    model, (x, labels) = trained.network("mlp")
    data = [(x[:4], labels[:4]), (x[4:], labels[4:]), (x[:3], labels[:3])]  # some come twice: ties
    options = {"loss": LOSS}
    curvature = af.influence.ggn(model, data, loss=LOSS, damping=0.1)
    for method, more in ((tracin, {}), (influence_function, {"curvature": curvature})):
        scores = method(model, (x, labels), data=data, **options, **more)
        order = scores.argsort(dim=1, descending=largest, stable=True)[:, :4]
        found = top(method, k=4, largest=largest)(model, (x, labels), data=data, **options, **more)
        assert torch.equal(found.indices, order)
        close(found.scores, scores.gather(1, order))
    plain = top(lambda model, x, data: tracin(model, x, data=data, loss=LOSS), k=4, largest=largest)
    close(
        plain(model, (x, labels), data=data).scores,
        top(tracin, k=4, largest=largest)(model, (x, labels), data=data, loss=LOSS).scores,
    )


def test_top_that_cannot_be_right():
    model, batch = trained.network("mlp")
    _raises(
        ArgumentError, r"top\(tracin\): argument `k`: got 7", top(tracin, k=7), model, batch, data=[batch], loss=LOSS
    )
    _raises(ArgumentError, "top: argument `k`", top, tracin, k=0)
    _raises(ArgumentError, "top: argument `method`", top, 3, k=1)
    _raises(ArgumentError, r"top\(tracin\): argument `loss`", top(tracin, k=1), model, batch, data=[batch], loss=3)
