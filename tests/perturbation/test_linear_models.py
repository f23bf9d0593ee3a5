"""Linear models: the minimum that is promised, scikit-learn's numbers, gradients, and what cannot be fitted."""

import functools
import sys

import pytest
import torch
from sklearn import linear_model as sk
from torch.func import grad, vmap

from attrfunc import ArgumentError, ModelError, surrogates
from oracle_net import drawn


def problem(count, n, rows=3, *, alike=False):
    features = drawn(0, count, n) if alike else drawn(0, count, rows, n)
    return features, drawn(1, count, rows), drawn(2, count, rows).abs() + 0.1


def objective(c, a, z, y, w, alpha):
    """Literally, for one example."""
    w = w / w.mean()
    return sum(w[k] * (y[k] - a - z[k] @ c) ** 2 for k in range(len(y))) + alpha * (c @ c)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize(("alpha", "count", "n"), [(0.0, 12, 5), (0.7, 12, 5), (0.7, 5, 5), (0.7, 4, 9), (30.0, 3, 8)])
@pytest.mark.parametrize("alike", [True, False])
def test_the_objective_is_smallest(alpha, count, n, intercept, alike):
    features, scores, weights = problem(count, n, alike=alike)
    model = surrogates.ridge(alpha, intercept=intercept) if alpha else surrogates.least_squares(intercept=intercept)
    found = model(features, scores, weights)
    assert found.shape == (3, n)
    for row, c in enumerate(found):
        z = features if alike else features[:, row]
        y, w = scores[:, row], weights[:, row] / weights[:, row].mean()
        a = (w * (y - z @ c)).sum() / w.sum() if intercept else 0.0
        slope = grad(objective, argnums=(0, 1) if intercept else 0)(c, a, z, y, w, alpha)
        for part in slope if intercept else [slope]:
            torch.testing.assert_close(part, torch.zeros_like(part), atol=1e-9, rtol=0)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize(
    ("count", "n", "ours", "estimator"),
    [
        (20, 4, functools.partial(surrogates.ridge, 0.3), functools.partial(sk.Ridge, alpha=0.3)),
        (5, 8, functools.partial(surrogates.ridge, 0.3), functools.partial(sk.Ridge, alpha=0.3)),
        (20, 4, surrogates.least_squares, sk.LinearRegression),  # with fewer samples than features, no one solution
    ],
)
def test_scikit_learn(count, n, ours, estimator, intercept):
    features, scores, weights = problem(count, n, alike=True)
    scaled = weights / weights.mean(0)  # its Ridge does not scale them
    theirs = estimator(fit_intercept=intercept)
    expected = surrogates.scikit_learn(theirs)(features, scores, scaled)
    torch.testing.assert_close(ours(intercept=intercept)(features, scores, weights), expected)
    assert not hasattr(theirs, "coef_")  # a copy is fitted


def test_lasso():
    features, scores, weights = problem(30, 6, alike=True)
    found = surrogates.lasso(0.05)(features, scores, weights)
    for row in range(3):
        one = sk.Lasso(alpha=0.05).fit(features.numpy(), scores[:, row].numpy(), sample_weight=weights[:, row].numpy())
        torch.testing.assert_close(found[row], torch.from_numpy(one.coef_))
    assert not surrogates.lasso(100.0)(features, scores, weights).any()
    shared = surrogates.lasso(0.05)(features, scores, weights[:, :1])
    torch.testing.assert_close(shared[0], found[0])
    assert surrogates.lasso(0.05)(features.float(), scores.float(), weights).dtype == torch.float32


def test_weights_alike_for_all():
    features, scores, weights = problem(12, 4, alike=True)
    for model in (surrogates.ridge(0.3), surrogates.least_squares(), surrogates.ridge(0.3, intercept=False)):
        whole = model(features, scores, weights[:, :1].expand(-1, 3))
        torch.testing.assert_close(model(features, scores, weights[:, :1]), whole)
        torch.testing.assert_close(model(features, scores, 7 * weights[:, :1]), whole)


@pytest.mark.parametrize("count", [4, 12])
def test_gradients(count):
    features, scores, weights = problem(count, 5, rows=2)
    features, scores, weights = (part.requires_grad_() for part in (features, scores, weights))
    torch.autograd.gradcheck(surrogates.ridge(0.5), (features, scores, weights))
    if count > 5:
        torch.autograd.gradcheck(surrogates.least_squares(), (features, scores, weights))


def test_no_weight_at_all_is_no_sample():
    features, scores, weights = problem(12, 4, alike=True)
    weights[3:6] = 0
    kept = torch.tensor([0, 1, 2, *range(6, 12)])
    expected = surrogates.least_squares()(features[kept], scores[kept], weights[kept])
    torch.testing.assert_close(surrogates.least_squares()(features, scores, weights), expected)
    weights = weights.requires_grad_()
    for model in (surrogates.ridge(0.4), surrogates.ridge(0.4, intercept=False)):
        (slope,) = torch.autograd.grad(model(drawn(5, 12, 30), scores, weights).sum(), weights)
        assert slope.isfinite().all()


def test_vmap():
    features, _, weights = problem(12, 5, alike=True)
    many = drawn(7, 4, 12, 3)
    for model in (surrogates.ridge(0.5), surrogates.least_squares(), surrogates.ridge(0.5, intercept=False)):
        mapped = vmap(lambda scores, model=model: model(features, scores, weights))(many)
        for scores, result in zip(many, mapped, strict=True):
            torch.testing.assert_close(result, model(features, scores, weights))


def test_dtypes():
    coalitions = torch.tensor([[True, False], [False, True], [True, True], [False, False]])
    found = surrogates.least_squares()(coalitions, torch.tensor([[1.0], [2.0], [3.0], [0.0]]), torch.ones(4, 1))
    torch.testing.assert_close(found, torch.tensor([[1.0, 2.0]]))
    assert surrogates.least_squares()(coalitions, torch.arange(4)[:, None], torch.ones(4, 1)).dtype == torch.float32


@pytest.mark.parametrize("intercept", [True, False])
def test_too_few(intercept):
    needed = 4 + intercept
    features, scores, weights = problem(needed - 1, 4, alike=True)
    with pytest.raises(ArgumentError, match=rf"`n_samples`: got {needed - 1} samples for 4 groups; expected at least"):
        surrogates.least_squares(intercept=intercept)(features, scores, weights)


def test_singular():
    features, scores, weights = problem(12, 4, alike=True)
    twice = features[:, [0, 1, 2, 0]]
    constant = torch.cat([features[:, :3], torch.ones(12, 1).double()], 1)
    one_sample_counts = torch.zeros_like(weights)
    one_sample_counts[0] = 1
    for z, w in [(twice, weights), (constant, weights), (features, one_sample_counts), (0 * features, weights)]:
        with pytest.raises(ArgumentError, match=r"do not tell the 4 groups apart.*ridge"):
            surrogates.least_squares()(z, scores, w)
        assert surrogates.ridge(0.1)(z, scores, w).isfinite().all()
    # Without an intercept a constant is a feature as any other; scales do not matter.
    assert surrogates.least_squares(intercept=False)(constant, scores, weights).isfinite().all()
    scale = torch.tensor([1e-6, 1.0, 1e6, 1.0]).double()
    scaled = surrogates.least_squares()(features * scale, scores, weights)
    torch.testing.assert_close(scaled * scale, surrogates.least_squares()(features, scores, weights))


@pytest.mark.parametrize("alpha", [0, -1.0, float("inf"), float("nan"), "1"])
def test_penalties(alpha):
    with pytest.raises(ArgumentError, match="ridge: argument `alpha`"):
        surrogates.ridge(alpha)


def test_scikit_learn_has_no_gradient():
    features, scores, weights = problem(12, 4, alike=True)
    model = surrogates.lasso(0.1)
    with pytest.raises(ModelError, match=r"Lasso is fitted outside torch.*ridge"):
        model(features, scores.clone().requires_grad_(), weights)
    with pytest.raises(ModelError, match="Lasso"):
        grad(lambda y: model(features, y, weights).sum())(scores)
    with pytest.raises(ModelError, match="Lasso"):
        vmap(lambda y: model(features, y, weights))(scores[None])
    with torch.no_grad():
        assert model(features, scores, weights).shape == (3, 4)


def test_scikit_learn_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(ArgumentError, match=r"lasso: .*attrfunc\[sklearn\]"):
        surrogates.lasso()


def test_not_an_estimator():
    with pytest.raises(ArgumentError, match="scikit_learn: argument `estimator`"):
        surrogates.scikit_learn("Lasso")
