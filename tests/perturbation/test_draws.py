"""What is drawn is drawn evenly, and what is estimated from it has the right mean, within the error that is stated."""

import itertools
import math
from collections import Counter

import pytest
import torch
from tables import Table
from torch import nn

import attrfunc as af
from attrfunc.core.loops.samples import Draws
from attrfunc.perturbation.permutations import DESIGNS, drawn


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def table(players, seed=0):
    return Table(torch.rand(2**players, 1, generator=seeded(seed), dtype=torch.float64))


@pytest.mark.parametrize("count", [2, 3, 4000])
@pytest.mark.parametrize("design", DESIGNS)
def test_all_permutations_are_as_likely(design, count):
    """At any place among the drawn, also at the last one, which has no reverse beside it if they are odd in number."""
    seen, generator = Counter(), seeded()
    for _ in range(4000 // count):
        units = list(drawn(Draws(torch.ones(1, 1), 0.0, generator), 3, count, design))
        rows = torch.cat(units)
        assert len(rows) == count
        seen.update(map(tuple, (rows if count == 4000 else rows[-1:]).tolist()))
    assert sorted(seen) == sorted(itertools.permutations(range(3)))
    expected = sum(seen.values()) / 6
    assert sum((found - expected) ** 2 / expected for found in seen.values()) < 20.5  # chi-square, p = 0.001


@pytest.mark.parametrize("rows", [3, 4])
def test_examples_are_shuffled_evenly_but_for_the_order_that_they_have(rows):
    x, seen = torch.arange(float(rows))[:, None], Counter()
    options = {"n_samples": 1, "generator": seeded()}
    for _ in range(600):
        moved = x - af.feature_permutation(lambda z: z[:, 0], x, **options)
        seen[tuple(moved.flatten().round().int().tolist())] += 1
    assert sorted(seen) == sorted(itertools.permutations(range(rows)))[1:]
    expected, free = 600 / len(seen), len(seen) - 1
    assert sum((found - expected) ** 2 / expected for found in seen.values()) <= free + 5 * math.sqrt(2 * free)


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("players", [2, 3, 5])
def test_the_stated_error_covers_the_truth(players, design):
    for seed in range(3):
        game, options = table(players, seed), {"n_samples": 3000, "design": design}
        found = af.shapley_sampling(game, game.ones(), generator=seeded(), **options)
        stated = af.shapley_sampling_error(game, game.ones(), generator=seeded(), **options)
        assert ((found - af.shapley_values(game, game.ones())).abs() <= 4 * stated + 1e-9).all()


@pytest.mark.parametrize(
    ("method", "exact"),
    [
        (lambda *args, **o: af.shapley_sampling(*args, n_samples=5, design="orthogonal", **o), af.shapley_values),
        (lambda *args, **o: af.shapley_sampling(*args, n_samples=5, **o), af.shapley_values),
        (lambda *args, **o: af.banzhaf_values(*args, n_samples=30, **o), af.banzhaf_values),
    ],
    ids=["orthogonal", "antithetic", "banzhaf"],
)
def test_means_over_seeds_are_exact_values(method, exact):
    game = table(5, 7)
    found = torch.stack([method(game, game.ones(), generator=seeded(seed))[0] for seed in range(250)])
    error = found.std(0) / math.sqrt(len(found))
    assert ((found.mean(0) - exact(game, game.ones())[0]).abs() < 4.5 * error + 0.01 * found.abs().max()).all()


VOTES = {
    "majority": lambda z, shares: (z.sum(1) > z.shape[1] / 2).double() + 1e-6 * (z @ shares),
    "quota": lambda z, shares: (z.sum(1) > 1.5).double() + 1e-6 * (z @ 10**shares),
    "unanimity": lambda z, shares: z.prod(1) + 1e-6 * (z @ shares),
    "veto": lambda z, shares: z[:, 0] * (z.sum(1) > z.shape[1] / 2).double(),
    "dictator": lambda z, shares: 0.3 * z[:, 0] + (z @ shares > shares.sum() / 2).double(),
    "minimum": lambda z, shares: (z * shares + (1 - z) * 0.2).amin(1),
    "maximum": lambda z, shares: (z * shares).amax(1),
    "parity": lambda z, shares: z.sum(1) % 2,
    "gloves": lambda z, shares: torch.minimum(z[:, ::2].sum(1), z[:, 1::2].sum(1)),
}


@pytest.mark.parametrize("players", [4, 6, 9, 12])
@pytest.mark.parametrize("name", VOTES)
def test_a_gaussian_process_is_not_far_worse_than_least_squares_on_rough_games(name, players):
    shares = torch.linspace(1, 3, players, dtype=torch.float64)
    game, x = lambda z: VOTES[name](z, shares), torch.ones(1, players, dtype=torch.float64)
    exact = af.shapley_values(game, x)
    for n_samples in (2 * players + 2, 4 * players, 10 * players):
        options = {"n_samples": n_samples, "generator": seeded()}
        process = (af.gaussian_process_shap(game, x, **options) - exact).abs().max()
        squares = (af.kernel_shap(game, x, **options | {"generator": seeded()}) - exact).abs().max()
        allowed = 1e-9 if n_samples == 2 * players + 2 else 0.5 * squares + 0.05
        assert process <= squares + allowed, (n_samples, process, squares)


def test_a_gaussian_process_is_better_than_least_squares_on_smooth_games():
    errors = []
    for seed in range(6):
        torch.manual_seed(seed)
        net, x = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1)).double(), torch.ones(1, 8).double()
        nn.init.normal_(net[0].weight)
        exact, options = af.shapley_values(net, x), {"n_samples": 120}
        methods = (af.gaussian_process_shap, af.kernel_shap)
        errors.append([(method(net, x, generator=seeded(), **options) - exact).norm() for method in methods])
    process, squares = torch.tensor(errors).median(0).values
    assert process < 0.6 * squares
