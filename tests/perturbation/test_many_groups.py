"""Many groups: solved without the matrix of all pairs of them, or refused before anything is evaluated."""

import pytest
import torch
from torch import nn

import attrfunc as af
from attrfunc.core.loops.samples import Draws
from attrfunc.perturbation import linear_models, regression
from attrfunc.perturbation.kernel_design import kernel_design
from attrfunc.perturbation.regression import efficient_fit


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def large(monkeypatch):
    """Everything counts as large."""
    for module in (linear_models, regression):
        monkeypatch.setattr(module, "too_large", lambda samples, groups: True)


def game_of(players, n_samples, seed=0):
    coalitions, weights = kernel_design(players, n_samples, Draws(torch.ones(1), 0.0, seeded(seed)))
    shares = torch.randn(players, 2, generator=seeded(1), dtype=torch.float64)
    noise = torch.randn(len(coalitions), 2, generator=seeded(2), dtype=torch.float64)
    return coalitions, weights, coalitions.double() @ shares + noise, shares.sum(0)


@pytest.mark.parametrize("iterated", [False, True])
@pytest.mark.parametrize("n_samples", [42, 70, 82, 120, 260, 600])
def test_the_same_kernel_shap(n_samples, iterated, monkeypatch):
    """Without complements, with the outer sizes only, with fewer drawn pairs than groups, and with more."""
    given = game_of(40, n_samples)
    expected = efficient_fit(*given)
    monkeypatch.setattr(regression, "too_large", lambda samples, groups: True)
    if iterated:
        monkeypatch.setattr(regression, "MOST_MULTIPLICATIONS", 0)
    torch.testing.assert_close(efficient_fit(*given), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("count", [30, 200])
def test_the_same_ridge(count, shared, intercept, monkeypatch):
    features = torch.rand(count, 50, generator=seeded()) < 0.5
    scores = torch.randn(count, 3, generator=seeded(1), dtype=torch.float64)
    weights = torch.rand(count, 1 if shared else 3, generator=seeded(2), dtype=torch.float64)
    fit = af.surrogates.ridge(0.5, intercept=intercept)
    expected = fit(features, scores, weights)
    monkeypatch.setattr(linear_models, "too_large", lambda samples, groups: True)
    torch.testing.assert_close(fit(features, scores, weights), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "method",
    [lambda *args, **o: af.kernel_shap(*args, n_samples=60, **o), lambda *args, **o: af.lime(*args, n_samples=60, **o)],
    ids=["kernel_shap", "lime"],
)
def test_transforms_go_through(method, monkeypatch):
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 3)).double(), torch.randn(2, 12).double()

    def found():
        def loss(bias):
            model = af.bind(net, {"0.bias": bias})
            return method(model, x, target=1, generator=seeded()).square().sum()

        bias = net[0].bias.detach()
        mapped = torch.vmap(lambda target: method(net, x, target=target, generator=seeded()))(torch.arange(3))
        return torch.func.grad(loss)(bias), torch.func.jvp(loss, (bias,), (bias,))[1], mapped

    expected = found()
    for module in (linear_models, regression):
        monkeypatch.setattr(module, "too_large", lambda samples, groups: True)
    for one, other in zip(found(), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_iterated_is_refused(large):
    x = torch.ones(2, 6, requires_grad=True)
    with pytest.raises(af.ArgumentError, match=r"lime: argument `linear_model`.*a penalty.*af\.surrogates\.ridge"):
        af.lime(lambda x: x.sum(1), x.detach(), linear_model=af.surrogates.least_squares())
    kernel = af.surrogates.exponential_kernel("euclidean", width=2.0, space="input")
    with pytest.raises(af.ModelError, match=r"lime: the weights.*no gradient.*space='coalition'"):
        af.lime(lambda x: x.sum(1), x, similarity=kernel)


def never(x):
    """A model that takes the one and two examples that tell how it is to be evaluated, and no more."""
    assert len(x) <= 2, "the model was run"
    return x.sum(1)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (lambda x: af.kernel_shap(never, x, n_samples=100_002), r"`n_samples`: got 100002 coalitions of 100000 groups"),
        (lambda x: af.lime(never, x, n_samples=20_000), r"`n_samples`: got 20000 coalitions of 100000 groups"),
        (
            lambda x: af.banzhaf_values(never, x, n_samples=200_000),
            r"200000 coalitions of 100000 groups.*20,000,000,000",
        ),
        (lambda x: af.shapley_values(never, x), r"`feature_mask`.*at most 20 groups"),
        (lambda x: af.shapley_interactions(never, x[:, :16], order=8), r"`order`.*16\^8.*42,949,672,960 numbers"),
        (
            lambda x: af.owen_values(never, x[:, :2000], nesting=list(range(2000))),
            r"`nesting`.*some 10\^605 coalitions",
        ),
        (
            lambda x: af.owen_values(never, x[:, :1200], nesting=staircase(1200)),
            r"`nesting`.*more than 2\^21 coalitions",
        ),
    ],
)
def test_what_no_memory_holds_is_refused_before_it_starts(method, words):
    with pytest.raises(af.ArgumentError, match=words):
        method(torch.ones(1, 100_000))


def staircase(levels):
    nesting = 0
    for player in range(1, levels):
        nesting = [nesting, player]
    return nesting


def test_unions_of_one_member_change_nothing():
    nesting = [0, [1, 2]]
    for _ in range(2000):
        nesting = [nesting]
    game, x = lambda x: x[:, 0] * x[:, 1] + x.prod(1), torch.tensor([[1.0, 2.0, 3.0]])
    expected = af.owen_values(game, x, nesting=[0, [1, 2]])
    torch.testing.assert_close(af.owen_values(game, x, nesting=nesting), expected)
    torch.testing.assert_close(af.owen_values(game, x, nesting=[[0], [[[1]], [2]]]), expected)


def test_kernel_shap_of_thousands_of_groups_recovers_an_additive_game():
    shares = torch.randn(2000, generator=seeded(), dtype=torch.float64)
    x = torch.ones(1, 2000, dtype=torch.float64)
    found = af.kernel_shap(lambda x: x @ shares, x, n_samples=4500, generator=seeded())
    torch.testing.assert_close(found[0], shares, rtol=1e-6, atol=1e-6)
