"""The axioms as properties of all methods of the Shapley family, on drawn games."""

import itertools
import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from tables import Table, drawn_table

import attrfunc as af
from attrfunc.perturbation.coalitions import all_coalitions
from attrfunc.perturbation.gaussian_process import relevances


def sampling(design):
    def call(model, x):
        return af.shapley_sampling(model, x, n_samples=5, design=design, generator=torch.Generator().manual_seed(0))

    return call


def kernel(share):
    def call(model, x):
        n = x.shape[1]
        n_samples = max(2 * n + 2, int(share * 2**n))
        return af.kernel_shap(model, x, n_samples=n_samples, generator=torch.Generator().manual_seed(0))

    return call


def gaussian_process(share):
    def call(model, x):
        n = x.shape[1]
        n_samples = max(2 * n + 2, int(share * 2**n))
        return af.gaussian_process_shap(model, x, n_samples=n_samples, generator=torch.Generator().manual_seed(0))

    return call


def owen(model, x):
    n = x.shape[1]
    return af.owen_values(model, x, nesting=[list(range(n // 2)), list(range(n // 2, n))])


EXACT = {
    "shapley": af.shapley_values,
    "banzhaf": af.banzhaf_values,
    "owen": owen,
    "kernel, all": kernel(1),
    "process, all": gaussian_process(1),
}
EFFICIENT = {
    "shapley": af.shapley_values,
    "owen": owen,
    **{design: sampling(design) for design in ("antithetic", "orthogonal", "random")},
    "kernel, all": kernel(1),
    "kernel, half": kernel(0.5),
    "process, half": gaussian_process(0.5),
}
ALL = {
    **EXACT,
    **{name: method for name, method in EFFICIENT.items() if name != "process, half"},  # which is not linear
    "banzhaf, half": lambda m, x: af.banzhaf_values(
        m, x, n_samples=2 ** x.shape[1] // 2 + 2 * x.shape[1], generator=torch.Generator().manual_seed(0)
    ),
}
tables = st.tuples(st.integers(2, 7), st.integers(0, 10**6))
quick = settings(max_examples=15, deadline=None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", EFFICIENT.values(), ids=EFFICIENT)
@quick
@given(tables)
def test_efficiency(method, dtype, table):
    values = drawn_table(*table).to(dtype)
    model = Table(values)
    total = method(model, model.ones().to(dtype)).double().sum()
    assert abs(total - (values[-1] - values[0]).double()) < (1e-6 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("index", ["k-SII", "STII", "FSII"])
@quick
@given(tables)
def test_efficiency_of_interactions(index, order, table):
    """Over sets, each counted once."""
    model = Table(drawn_table(*table))
    found = af.shapley_interactions(model, model.ones(), index=index, order=min(order, table[0]))
    total = sum(part.sum() / math.factorial(size) for size, part in enumerate(found, 1))
    torch.testing.assert_close(total, (model.values[-1] - model.values[0])[0])


@pytest.mark.parametrize("method", EXACT.values(), ids=EXACT)
@quick
@given(tables)
def test_symmetry(method, table):
    """The last two players add the same to every coalition of the others."""
    values = drawn_table(*table).unflatten(0, (-1, 2, 2)).clone()
    values[:, 1, 0] = values[:, 0, 1]
    model = Table(values.flatten(0, 2))
    found = method(model, model.ones())[0]
    if method is not owen or table[0] > 2:  # where both are in one union
        torch.testing.assert_close(found[-1], found[-2])


@pytest.mark.parametrize("method", {**EXACT, "sampling": sampling("antithetic")}.values(), ids=[*EXACT, "sampling"])
@quick
@given(tables)
def test_dummy(method, table):
    """The last player adds the same to every coalition."""
    values = drawn_table(*table).unflatten(0, (-1, 2)).clone()
    values[:, 1] = values[:, 0] + 0.7
    model = Table(values.flatten(0, 1))
    assert abs(method(model, model.ones())[0, -1] - 0.7) < 1e-12


@pytest.mark.parametrize("index", ["k-SII", "SII", "STII", "FSII", "BII"])
def test_a_dummy_has_no_interactions(index):
    values = drawn_table(5, 0).unflatten(0, (-1, 2)).clone()
    values[:, 1] = values[:, 0] + 0.7
    model = Table(values.flatten(0, 1))
    single, pairs, triples = af.shapley_interactions(model, model.ones(), index=index, order=3)
    assert abs(single[0, -1] - 0.7) < 1e-12
    assert pairs[0, -1].abs().max() < 1e-12
    assert triples[0, -1].abs().max() < 1e-12


@pytest.mark.parametrize("method", ALL.values(), ids=ALL)
@quick
@given(tables, st.floats(-2, 2))
def test_linearity(method, table, factor):
    one, other = drawn_table(*table), drawn_table(table[0], table[1] + 1)
    apart = [Table(values) for values in (one, other)]
    together = Table(one + factor * other)
    x = together.ones()
    expected = method(apart[0], x) + factor * method(apart[1], x)
    torch.testing.assert_close(method(together, x), expected)


@pytest.mark.parametrize("n", [3, 6])
def test_games_of_few_interactions_are_exact(n):
    """Pairs of reverses are exact for pairs of players, and so are coalitions with their complements."""
    generator = torch.Generator().manual_seed(0)
    single, pairs = torch.randn(n, generator=generator).double(), torch.randn(n, n, generator=generator).double()
    members = all_coalitions(n).double()
    model = Table((members @ single + torch.einsum("ki,ij,kj->k", members, pairs.triu(1), members))[:, None])
    exact = af.shapley_values(model, model.ones())
    for design in ("antithetic", "orthogonal"):
        found = af.shapley_sampling(model, model.ones(), n_samples=2, design=design, generator=generator)
        torch.testing.assert_close(found, exact)
    for method in (af.kernel_shap, af.gaussian_process_shap):
        found = method(model, model.ones(), n_samples=4 * n, generator=generator)
        torch.testing.assert_close(found, exact)
    _, found = af.shapley_interactions(model, model.ones(), order=2)
    for i, j in itertools.combinations(range(n), 2):
        torch.testing.assert_close(found[0, i, j], pairs[i, j])


@pytest.mark.parametrize("factor", [1.0, 1e-9, 1e6])
def test_gaussian_process_shap_scales_with_the_game(factor):
    model, scaled = Table(drawn_table(8, 0)), Table(factor * drawn_table(8, 0) + 3)
    found, expected = gaussian_process(0.3)(scaled, model.ones()), gaussian_process(0.3)(model, model.ones())
    torch.testing.assert_close(found / factor, expected, rtol=1e-5, atol=1e-5)


def test_gaussian_process_shap_of_games_whose_players_do_nothing_alone():
    """Nobody is relevant by itself, as in a vote: then all are alike. Or nothing depends on anything."""
    members = all_coalitions(7).double()
    shares = torch.arange(1, 8).double()
    vote = Table((members @ shares > shares.sum() / 2).double()[:, None])
    nothing = torch.zeros(2, 7).double()
    torch.testing.assert_close(relevances(nothing, nothing, nothing[:, 0]), torch.full((2, 7), 1 / 7).double())
    options = {"n_samples": 70, "generator": torch.Generator().manual_seed(0)}
    assert abs(af.gaussian_process_shap(vote, vote.ones(), **options).sum() - 1) < 1e-12
    constant = Table(torch.ones(2**7, 1).double())
    assert af.gaussian_process_shap(constant, constant.ones(), **options).eq(0).all()
    parameter = torch.ones(7, dtype=torch.float64)
    loss = lambda p: af.gaussian_process_shap(lambda x: 0 * x @ p, vote.ones(), **options).square().sum()
    assert torch.func.grad(loss)(parameter).eq(0).all()
