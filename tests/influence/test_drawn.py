"""Curvatures of columns that are drawn: unbiased, of losses whose Hessians are known, for any number of outputs."""

import pytest
import torch
import trained
from torch import nn
from torch.nn import functional as F

from attrfunc.core.errors import ArgumentError, ModelError
from attrfunc.influence import ekfac, ggn, influence_function, kfac

DOUBLE = torch.float64
seeded = lambda seed=0: torch.Generator().manual_seed(seed)


def per_position(model, batch):
    """Cross-entropy of tokens `(B, T)`, a mean over those that count, with classes in the last dimension."""
    each = F.cross_entropy(model(batch[0]).movedim(2, 1), batch[1], reduction="none", ignore_index=-100)
    return each.sum(1) / (batch[1] >= 0).sum(1)


def squares(model, batch):
    return (model(batch[0]) - F.one_hot(batch[1], 3)).square().mean(1)


def mixed(model, batch):
    """Neither cross-entropy nor a sum over outputs."""
    return squares(model, batch) + model(batch[0]).sum(1).square()


def case(name):
    torch.manual_seed(0)
    x, labels = torch.randn(9, 4, dtype=DOUBLE), torch.randint(3, (9,))
    if name == "tokens":
        labels = torch.randint(3, (9, 5))
        labels[2, 1:3] = -100
        return nn.Linear(4, 3, dtype=DOUBLE), (torch.randn(9, 5, 4, dtype=DOUBLE), labels), per_position
    loss = {"cross-entropy": trained.cross_entropy, "squares": squares, "mixed": mixed}[name]
    return trained.mlp(4, 3, 3).double(), (x, labels), loss


def matrix(curvature):
    return curvature.factor @ curvature.factor.T


@pytest.mark.parametrize("name", ["cross-entropy", "squares", "tokens", "mixed"])
def test_draws_come_near_the_whole_as_there_are_more(name):
    """The error of the mean of S draws falls as one over the root of S."""
    model, batch, loss = case(name)
    exact = matrix(ggn(model, [batch], loss=loss, damping=0.1))
    errors = []
    for samples in (4, 256):
        drawn = ggn(model, [batch], loss=loss, damping=0.1, samples=samples, generator=seeded())
        errors.append(float((matrix(drawn) - exact).norm() / exact.norm()))
    assert errors[1] < 0.1
    assert errors[1] < errors[0] / 2


@pytest.mark.parametrize("make", [kfac, ekfac])
def test_kronecker_factors_of_draws(make):
    model, batch, loss = case("cross-entropy")
    query = tuple(part[:2] for part in batch)
    scores = [
        influence_function(
            model, query, data=[batch], loss=loss, curvature=make(model, [batch], loss=loss, damping=0.1, **more)
        )
        for more in ({}, {"samples": 200, "generator": seeded(1)})
    ]
    assert (scores[1] - scores[0]).norm() < 0.05 * scores[0].norm()


def test_a_generator_tells_the_draws_and_the_global_one_is_left_alone():
    model, batch, loss = case("cross-entropy")
    state = torch.get_rng_state()
    one, again, other = (
        matrix(ggn(model, [batch], loss=loss, damping=0.1, samples=2, generator=seeded(seed))) for seed in (3, 3, 4)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_as_many_outputs_as_a_vocabulary():
    """20,000 outputs at each of 3 positions; the matrices inside have factors, the head is left out."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(50, 6), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 20_000)).eval()
    tokens = torch.randint(50, (4, 3))
    loss, options = per_position, {"damping": 1e-3, "parameters": ["1"]}
    batch = (tokens, torch.randint(20_000, (4, 3)))
    curvature = ekfac(model, [batch], loss=loss, samples=2, generator=seeded(), **options)
    scores = influence_function(model, batch, data=[batch], loss=loss, curvature=curvature)
    assert scores.shape == (4, 4)
    assert (scores.diagonal() > 0).all()
    with pytest.raises(ArgumentError, match=r"kfac: argument `model`: got 60,000 outputs .* Pass samples=8"):
        kfac(model, [batch], loss=loss, **options)
    with pytest.raises(ArgumentError, match=r"`parameters`: got '3.weight', whose factor would be .* 20,000 x 20,000"):
        kfac(model, [batch], loss=loss, samples=1, damping=1e-3)
    jumbled = lambda model, batch: model(batch[0]).flatten(1).logsumexp(1).square()
    with pytest.raises(ArgumentError, match="take fisher"):
        kfac(model, [batch], loss=jumbled, samples=1, **options)


def test_large_parameters_without_factors_have_a_diagonal():
    """An embedding of 4,200 numbers: mean squares of its examples' gradients."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(700, 6), nn.Flatten(), nn.Linear(12, 3)).double()
    batch = (torch.randint(700, (5, 2)), torch.randint(3, (5,)))
    for make in (kfac, ekfac):
        curvature = make(model, [batch], loss=trained.cross_entropy, damping=0.5, parameters=["0"])
        p = model(batch[0]).softmax(1).detach()
        expected = torch.zeros(4200, dtype=DOUBLE)
        for row in range(5):
            middle = torch.diag(p[row]) - torch.outer(p[row], p[row])
            alone = lambda w, row=row: torch.func.functional_call(model, {"0.weight": w}, (batch[0][row : row + 1],))[0]
            slopes = torch.func.jacrev(alone)(model[0].weight.detach()).flatten(1)
            expected += (slopes.T @ middle * slopes.T).sum(1) / 5
        torch.testing.assert_close(curvature.solve(torch.ones(1, 4200, dtype=DOUBLE))[0], 1 / (expected + 0.5))


def test_arguments_of_draws():
    model, batch, loss = case("cross-entropy")
    for make in (ggn, kfac, ekfac):
        with pytest.raises(ArgumentError, match="`samples`"):
            make(model, [batch], loss=loss, damping=0.1, samples=0)
        with pytest.raises(ArgumentError, match="`generator`: got a generator without samples"):
            make(model, [batch], loss=loss, damping=0.1, generator=seeded())
        with pytest.raises(ArgumentError, match="`generator`: got int"):
            make(model, [batch], loss=loss, damping=0.1, samples=1, generator=3)
        linear = lambda model, batch: model(batch[0]).sum(1)
        for more in ({}, {"samples": 1}):
            with pytest.raises(ModelError, match="the loss is linear in what the model gives"):
                make(model, [batch], loss=linear, damping=0.1, **more)
        broken = (batch[0] / 0, batch[1])
        for more in ({}, {"samples": 1}):
            with pytest.raises(ModelError, match="not finite"):
                make(model, [broken], loss=loss, damping=0.1, **more)
        concave = lambda model, batch: -model(batch[0]).square().sum(1)
        with pytest.raises(ModelError, match="not convex"):
            make(model, [batch], loss=concave, damping=0.1, samples=1)
