"""Baselines, tolerances, chunks and errors of the Shapley family."""

import re

import pytest
import torch
from tables import Table, drawn_table, shapley_by_permutations
from torch.func import grad, vmap

import attrfunc as af
from attrfunc.perturbation import walks
from oracle_net import drawn, make


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def raises(*parts, error=af.ArgumentError):
    return pytest.raises(error, match=".*".join(re.escape(part) for part in parts))


@pytest.fixture
def net():
    return make()


@pytest.fixture
def x():
    return drawn(1, 3, 5)


@pytest.fixture
def background():
    return drawn(2, 4, 5)


METHODS = {
    "shapley_values": af.shapley_values,
    "banzhaf_values": af.banzhaf_values,
    "owen_values": lambda *a, **k: af.owen_values(*a, nesting=[[0, 1], [2, [3, 4]]], **k),
    "kernel_shap": lambda *a, **k: af.kernel_shap(*a, n_samples=20, generator=seeded(), **k),
    "shapley_interactions": lambda *a, **k: af.shapley_interactions(*a, **k)[1],
}


@pytest.mark.parametrize("where", ["input", "layer"])
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_distribution_is_the_mean_over_its_baselines(method, where, net, x, background):
    model = net if where == "input" else af.layer(net, "block")
    options = {"feature_mask": torch.tensor([[0, 1, 2, 3]])} if where == "layer" else {}
    if where == "layer" and method is METHODS["owen_values"]:
        method = lambda *a, **k: af.owen_values(*a, nesting=[[0, 1], [2, 3]], **k)
    found = method(model, x, baselines=background, target=2, **options)
    apart = [method(model, x, baseline=row, target=2, **options) for row in background]
    torch.testing.assert_close(found, torch.stack(apart).mean(0))


@pytest.mark.parametrize("where", ["input", "layer"])
def test_sampling_draws_a_baseline_for_each_pair_and_example(where, net, x, background):
    model = net if where == "input" else af.layer(net, "block")
    n = 5 if where == "input" else 4
    found = af.shapley_sampling(model, x, baselines=background, n_samples=6, target=2, generator=seeded())
    generator, expected = seeded(), torch.zeros(3, n).double()
    for _ in range(3):
        places = torch.randn((n, 1), generator=generator, dtype=torch.float64).flatten().argsort().argsort()
        order = places.argsort().tolist()
        picked = (torch.rand(3, generator=generator, dtype=torch.float64) * len(background)).long()
        for i in range(3):
            start, end = background[picked[i]], x[i]
            ends = (start, end) if where == "input" else (net.before(start), net.before(end))
            score = (lambda z: net(z[None])[0, 2]) if where == "input" else (lambda z, e=end: net.behind(e, z)[2])
            bits = torch.tensor([[k >> (n - 1 - j) & 1 for j in range(n)] for k in range(2**n)]).bool()
            table = torch.stack([score(torch.where(bit, ends[1], ends[0])) for bit in bits]).detach()
            expected[i] += shapley_by_permutations(Table(table[:, None]), [order, order[::-1]]) / 3
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("design", ["antithetic", "orthogonal", "random"])
def test_a_tolerance_stops_at_the_same_draw_for_every_chunk_size(design):
    game = Table(drawn_table(6, 0))
    options = {"tolerance": 0.12, "n_samples": 2000, "design": design}
    counts, results = [], []
    for chunk_size in (None, 1, 7, 1000):
        done = []
        found = af.shapley_sampling(
            game,
            game.ones(),
            generator=seeded(),
            chunk_size=chunk_size,
            progress=lambda n, _, d=done: d.append(n),
            **options,
        )
        results.append(found)
        counts.append(done[-1])
    for found in results[1:]:
        torch.testing.assert_close(found, results[0])
    error = af.shapley_sampling_error(game, game.ones(), generator=seeded(), **options)
    assert 0.06 < error.max() <= 0.12
    assert counts[0] < 1000


def test_a_tolerance_that_is_not_reached_warns():
    game = Table(drawn_table(6, 0, rows=1))
    for n_samples in (2, 40):
        with pytest.warns(
            UserWarning, match=f"shapley_sampling: the tolerance 1e-06 is not reached with {n_samples} perm"
        ):
            af.shapley_sampling(game, game.ones(), generator=seeded(), tolerance=1e-6, n_samples=n_samples)


@pytest.mark.parametrize("chunk_size", [1, 5, 64, 10_000])
def test_memory_blocks_do_not_matter(chunk_size, monkeypatch, net, x, background):
    for options in ({}, {"baselines": background}):
        call = lambda o=options, **k: af.shapley_sampling(net, x, target=1, n_samples=9, generator=seeded(), **o, **k)
        expected = call()
        with monkeypatch.context() as patch:
            patch.setattr(walks, "BLOCK", 100)
            patch.setattr(walks, "TABLE", 0)
            torch.testing.assert_close(call(chunk_size=chunk_size), expected)


def test_gradients_of_kernel_shap_reach_parameters(net, x):
    parameters = {name: p.detach() for name, p in net.named_parameters()}
    mask = torch.tensor([[0, 0, 1, 2, 2]])

    def loss(weight, method=af.kernel_shap, **options):
        bound = af.bind(net, {**parameters, "head.weight": weight})
        return method(bound, x, target=1, feature_mask=mask, **options).square().sum()

    exact = grad(lambda w: loss(w, af.shapley_values))(parameters["head.weight"])
    torch.testing.assert_close(grad(lambda w: loss(w, n_samples=8))(parameters["head.weight"]), exact)


def test_every_target_at_once(net, x):
    every = vmap(lambda t: af.shapley_values(net, x, target=t))(torch.arange(3))
    for target in range(3):
        torch.testing.assert_close(every[target], af.shapley_values(net, x, target=target))


class TestErrors:
    def test_too_many_groups(self):
        x, model = torch.ones(1, 21), lambda x: x.sum(1)
        for method, instead in (
            (af.shapley_values, "shapley_sampling or kernel_shap"),
            (af.banzhaf_values, "with n_samples"),
            (af.shapley_interactions, "computed exactly only"),
        ):
            with raises(method.__name__, "`feature_mask`", "21 groups", "at most 20", instead):
                method(model, x)

    def test_too_few_samples(self, net, x):
        with raises("kernel_shap", "`n_samples`", "got 6", "at least 7 coalitions for 5 groups"):
            af.kernel_shap(net, x, n_samples=6, target=0)
        with raises("kernel_shap", "`n_samples`", "got int 0"):
            af.kernel_shap(net, x, n_samples=0, target=0)
        with raises("shapley_sampling_error", "`n_samples`", "got 3", "at least 4"):
            af.shapley_sampling_error(net, x, n_samples=3, target=0)
        with raises("shapley_sampling", "`n_samples`"):
            af.shapley_sampling(net, x, n_samples=0, target=0)

    def test_gaussian_processes_take_pairs_and_not_too_many(self, net, x):
        with raises("gaussian_process_shap", "`n_samples`", "got 11", "at least 12 coalitions for 5 groups"):
            af.gaussian_process_shap(net, x, n_samples=11, target=0)
        with raises("gaussian_process_shap", "`n_samples`", "got 8193", "at most 8192 coalitions", "kernel_shap"):
            af.gaussian_process_shap(lambda x: x.sum(1), torch.ones(1, 14), n_samples=8193)

    def test_singular_systems(self, net, x):
        with raises("banzhaf_values", "`n_samples`", "8 drawn coalitions of 5 groups that do not determine"):
            af.banzhaf_values(net, x, n_samples=8, target=0, generator=seeded())

    def test_nestings(self, net, x):
        for wrong in ([[0, 1], [2, 3]], [[0, 1], [2, 3, 4, 4]], [0, 1, 2, 3, 5], 3, "01234", [[0, 1.5], 2, 3, 4]):
            with raises("owen_values", "`nesting`"):
                af.owen_values(net, x, nesting=wrong, target=0)
        with raises("owen_values", "`nesting`", "16,106,127,360 coalitions", "unions of few members"):
            af.owen_values(lambda x: x.sum(1), torch.ones(1, 30), nesting=list(range(30)))

    def test_options(self, net, x, background):
        with raises("shapley_sampling", "`design`", "'sobol'", "antithetic, orthogonal, random"):
            af.shapley_sampling(net, x, design="sobol", target=0)
        for tolerance in (0, -1.0, "small"):
            with raises("shapley_sampling", "`tolerance`", "above 0"):
                af.shapley_sampling(net, x, tolerance=tolerance, target=0)
        with raises("shapley_interactions", "`index`", "'SV'", "k-SII"):
            af.shapley_interactions(net, x, index="SV", target=0)
        with raises("shapley_interactions", "`order`", "got 6", "5 groups"):
            af.shapley_interactions(net, x, order=6, target=0)
        for method in (af.shapley_values, af.shapley_sampling):
            with raises(method.__name__, "`baselines`", "either one baseline"):
                method(net, x, baseline=0, baselines=background, target=0)
            with raises(method.__name__, "`baselines`", "samples (N, *S)"):
                method(net, x, baselines=background[0], target=0)
        with raises("kernel_shap", "`generator`"):
            af.kernel_shap(net, x, n_samples=20, generator=3, target=0)
