"""The Shapley family against definitions by enumeration, on games given as tables."""

import itertools
import math

import pytest
import torch
from tables import INTERACTIONS, Table, admissible, banzhaf, drawn_table, shapley_by_permutations

import attrfunc as af
from attrfunc.core.loops.samples import Draws
from attrfunc.perturbation.coalitions import all_coalitions, of_size
from attrfunc.perturbation.gaussian_process import _sinh_shapley
from attrfunc.perturbation.kernel_design import kernel_design
from attrfunc.perturbation.permutations import DESIGNS, drawn
from attrfunc.perturbation.semivalues import semivalues, shapley_weight

PLAYERS = 5


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def game():
    return Table(drawn_table(PLAYERS, 0))


def test_coalitions():
    assert all_coalitions(3).int().tolist() == [list(bits) for bits in itertools.product([0, 1], repeat=3)]
    for size in range(5):
        expected = [[i in chosen for i in range(4)] for chosen in itertools.combinations(range(4), size)]
        assert of_size(4, size, torch.arange(len(expected))).tolist() == expected


def test_shapley_values(game):
    torch.testing.assert_close(af.shapley_values(game, game.ones())[0], shapley_by_permutations(game))


def test_banzhaf_values(game):
    torch.testing.assert_close(af.banzhaf_values(game, game.ones())[0], banzhaf(game))


@pytest.mark.parametrize(
    "nesting", [[[0, 1], [2, 3, 4]], [[0, 3], 1, [4, 2]], [[[0, 1], 2], [3, 4]], [[[0], [[1, 2], 3]], 4], [range(5)]]
)
def test_owen_values(nesting, game):
    nested = lambda part: part if isinstance(part, int) else [nested(one) for one in part]
    orders = list(admissible(nested(nesting)))
    expected = shapley_by_permutations(game, orders)
    torch.testing.assert_close(af.owen_values(game, game.ones(), nesting=nesting)[0], expected)


def test_owen_values_without_unions_are_shapley_values(game):
    expected = af.shapley_values(game, game.ones())
    for nesting in ([0, 1, 2, 3, 4], [[0], [1], [2], [3], [4]], [[4, 2, 0, 1, 3]]):
        torch.testing.assert_close(af.owen_values(game, game.ones(), nesting=nesting), expected)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("index", INTERACTIONS)
def test_interactions(index, order, game):
    found = af.shapley_interactions(game, game.ones(), index=index, order=order)
    assert len(found) == order
    zero = torch.zeros((), dtype=torch.float64)
    for size, tensor in enumerate(found, 1):
        assert tensor.shape == (1, *[PLAYERS] * size)
        for players in itertools.product(range(PLAYERS), repeat=size):
            distinct = len(set(players)) == size
            expected = INTERACTIONS[index](game, tuple(sorted(players)), order) if distinct else zero
            torch.testing.assert_close(tensor[(0, *players)], expected)


def test_interactions_of_order_one_are_values(game):
    shapley, banzhaf_value = af.shapley_values(game, game.ones()), af.banzhaf_values(game, game.ones())
    for index in INTERACTIONS:
        (found,) = af.shapley_interactions(game, game.ones(), order=1, index=index)
        torch.testing.assert_close(found, banzhaf_value if index == "BII" else shapley)


@pytest.mark.parametrize("design", ["antithetic", "random"])
def test_shapley_sampling_with_its_permutations(design, game):
    """The marginal contributions of the permutations that are drawn, one by one."""
    found = af.shapley_sampling(game, game.ones(), n_samples=7, design=design, generator=seeded())
    error = af.shapley_sampling_error(game, game.ones(), n_samples=7, design=design, generator=seeded())
    generator, orders = seeded(), []
    draw = torch.rand if design == "random" else torch.randn
    while len(orders) < 7:
        numbers = draw((1, PLAYERS) if design == "random" else (PLAYERS, 1), generator=generator, dtype=torch.float64)
        places = numbers.flatten().argsort()
        places = places if design == "random" else places.argsort()
        orders.append(places.argsort().tolist())
        if design == "antithetic":
            orders.append(orders[-1][::-1])
    orders = orders[:7]
    torch.testing.assert_close(found[0], shapley_by_permutations(game, orders))
    groups = [orders[k : k + 2] for k in range(0, 6, 2)] if design == "antithetic" else [[order] for order in orders]
    means = torch.stack([shapley_by_permutations(game, group) for group in groups])
    torch.testing.assert_close(error[0], means.std(0) / len(means) ** 0.5)


def test_orthogonal_permutations_are_pairs_of_reverses_and_stop_in_between():
    for count in (1, 2, 7, 8, 9, 30):
        units = list(drawn(Draws(torch.ones(1), 0.0, seeded()), 5, count, "orthogonal"))
        assert sum(len(unit) for unit in units) == count
        for unit in units:
            assert all(sorted(ranks.tolist()) == [0, 1, 2, 3, 4] for ranks in unit)
            assert len(unit) == 1 or torch.equal(unit[0] + unit[1], torch.full((5,), 4))


@pytest.mark.parametrize("design", ["antithetic", "orthogonal", "random"])
def test_shapley_sampling_is_unbiased_and_its_errors_are_right(design, game):
    exact = af.shapley_values(game, game.ones())
    options = {"n_samples": 12, "design": design}
    runs = torch.cat([af.shapley_sampling(game, game.ones(), generator=seeded(s), **options) for s in range(300)])
    errors = torch.cat(
        [af.shapley_sampling_error(game, game.ones(), generator=seeded(s), **options) for s in range(300)]
    )
    assert ((runs.mean(0) - exact[0]).abs() < 4 * runs.std(0) / 300**0.5).all()
    claimed, found = errors.square().mean(0).sqrt(), runs.std(0)
    assert (found < 1.25 * claimed).all()
    if design != "orthogonal":
        assert (found > 0.8 * claimed).all()


def test_kernel_shap_with_all_coalitions_is_exact(game):
    expected = af.shapley_values(game, game.ones())
    for n_samples in (2**PLAYERS, 1000):
        torch.testing.assert_close(af.kernel_shap(game, game.ones(), n_samples=n_samples), expected)


@pytest.mark.parametrize("n_samples", [7, 11, 12, 20, 27])
def test_kernel_shap_solves_its_least_squares_problem(n_samples, game):
    """The constrained problem by Lagrange multipliers, on the coalitions that were drawn."""
    found = af.kernel_shap(game, game.ones(), n_samples=n_samples, generator=seeded())
    coalitions, weights = kernel_design(PLAYERS, n_samples, Draws(game.ones(), 0.0, seeded()))
    assert n_samples - 3 <= len(coalitions) <= n_samples - 2
    values = torch.stack([game.value([i for i in range(PLAYERS) if row[i]]) for row in coalitions]) - game.value(())
    members, one = coalitions.double(), torch.ones(PLAYERS, 1).double()
    normal = torch.cat(
        [torch.cat([members.T @ (weights[:, None] * members), one], 1), torch.cat([one.T, torch.zeros(1, 1)], 1)]
    )
    change = game.value(range(PLAYERS)) - game.value(())
    expected = torch.linalg.solve(normal, torch.cat([members.T @ (weights * values), change[None]]))[:PLAYERS]
    torch.testing.assert_close(found[0], expected)


@pytest.mark.parametrize("n_samples", [14, 20, 25])
def test_gaussian_process_shap_is_the_values_of_a_posterior_mean(n_samples, game):
    """Textbook regression on the residuals of all evaluated coalitions, and its mean at every coalition as a game."""
    found = af.gaussian_process_shap(game, game.ones(), n_samples=n_samples, generator=seeded())[0]
    drawn_ones, _ = kernel_design(PLAYERS, n_samples, Draws(game.ones(), 0.0, seeded()), even=True)
    observed = [(0,) * PLAYERS, (1,) * PLAYERS, *map(tuple, drawn_ones.long().tolist())]
    value = lambda bits: game.value([i for i in range(PLAYERS) if bits[i]])
    everyone = set(range(PLAYERS))
    alone = torch.stack([game.value([i]) - game.value([]) for i in range(PLAYERS)])
    last = torch.stack([game.value(everyone) - game.value(everyone - {i}) for i in range(PLAYERS)])
    relevance, additive = alone.abs() + last.abs(), (alone + last) / 2
    left = (game.value(everyone) - game.value([]) - additive.sum()).abs()
    relevance = relevance + 0.1 * relevance.mean() + 5 * left / PLAYERS
    relevance = relevance / relevance.sum()

    def covariance(one, other):
        alike = sum(relevance[i] * (1 if one[i] == other[i] else -1) for i in range(PLAYERS))
        return torch.sinh(4 * alike) / math.sinh(4) + 10 * alike

    flipped = lambda bits: tuple(1 - bit for bit in bits)
    # What is even does not matter: the odd part is what there is of the residuals.
    members = lambda bits: torch.tensor(bits).double() @ additive
    odd = [(value(s) - members(s) - value(flipped(s)) + members(flipped(s))) / 2 for s in observed]
    gram = torch.stack([torch.stack([covariance(s, t) for t in observed]) for s in observed])
    # The noise of a coalition and of its complement is opposite.
    noise = [[1.0 if s == t else -1.0 if s == flipped(t) else 0.0 for t in observed] for s in observed]
    dual = torch.linalg.pinv(gram + 1e-4 * torch.tensor(noise).double(), rtol=1e-12) @ torch.stack(odd)
    everywhere = [tuple(row) for row in all_coalitions(PLAYERS).long().tolist()]
    mean = [sum(covariance(s, t) * d for t, d in zip(observed, dual, strict=True)) for s in everywhere]
    values = shapley_by_permutations(Table(torch.stack(mean)[:, None]))
    values = values + additive
    change = game.value(everyone) - game.value([])
    torch.testing.assert_close(values.sum(), change, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found, values + (change - values.sum()) / PLAYERS)


@pytest.mark.parametrize("players", [1, 2, 3, 4, 6])
def test_gaussian_process_shap_with_all_coalitions_is_exact(players):
    game = Table(drawn_table(players, 0, rows=2))
    for column in range(2):
        expected = af.shapley_values(game, game.ones(), target=column)
        for n_samples in (2**players, 9000):
            found = af.gaussian_process_shap(game, game.ones(), target=column, n_samples=n_samples)
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("n", [2, 5, 12])
def test_shapley_values_of_the_kernel(n):
    """Those of sinh of a sum, by its values on all coalitions."""
    generator = seeded(n)
    rates, at = 4 * torch.rand(2, n, generator=generator).double(), all_coalitions(n)[:: 2**n // 4 + 1]
    signs, everywhere = at.double() * 2 - 1, all_coalitions(n).double() * 2 - 1
    tables = torch.einsum("bn,pn,kn->kbp", rates, signs, everywhere).sinh().flatten(1)
    expected = semivalues(tables, shapley_weight).unflatten(0, (2, -1))
    torch.testing.assert_close(_sinh_shapley(signs, rates), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("players", "n_samples"), [(2, 4), (3, 6), (6, 20), (6, 40), (9, 100), (30, 200), (40, 45)])
def test_the_even_design(players, n_samples):
    """No coalition twice; complements; beyond the sizes that are complete, as many as there are of each."""
    for seed in range(4):
        draws = Draws(torch.ones(1), 0.0, seeded(seed))
        coalitions, weights = kernel_design(players, n_samples, draws, even=True)
        assert n_samples - 3 <= len(coalitions) <= n_samples - 2 or len(coalitions) == 2**players - 2
        assert len(coalitions.unique(dim=0)) == len(coalitions)
        torch.testing.assert_close(weights.sum(), torch.ones(()).double())
        numbers = coalitions.sum(1).bincount(minlength=players + 1)[1 : players // 2 + 1].tolist()
        counts = [math.comb(players, size) for size in range(1, players // 2 + 1)]
        assert numbers[0] == players or n_samples < 2 * players + 2
        drawn_ones = [pair for pair in zip(numbers, counts, strict=True) if pair[0] < pair[1]]
        if n_samples >= 2 * players + 2 and drawn_ones:
            share = sum(number for number, _ in drawn_ones) / sum(count for _, count in drawn_ones)
            assert all(abs(number - share * count) <= 2 for number, count in drawn_ones)


@pytest.mark.parametrize(("players", "n_samples"), [(2, 4), (3, 6), (6, 20), (6, 40), (9, 100), (30, 200), (40, 45)])
def test_the_kernel_design(players, n_samples):
    """No coalition twice; complements; sizes weigh what the kernel says, but for the rounding of numbers."""
    for seed in range(4):
        coalitions, weights = kernel_design(players, n_samples, Draws(torch.ones(1), 0.0, seeded(seed)))
        assert n_samples - 3 <= len(coalitions) <= n_samples - 2 or len(coalitions) == 2**players - 2
        assert len(coalitions.unique(dim=0)) == len(coalitions)
        sizes = coalitions.sum(1)
        paired = n_samples >= 2 * players + 2
        if paired:
            assert {tuple(row) for row in coalitions.tolist()} == {tuple(row) for row in (~coalitions).tolist()}
        found = torch.zeros(players + 1).double().index_add(0, sizes, weights)
        kernel = [1 / (size * (players - size)) if 0 < size < players else 0.0 for size in range(players + 1)]
        expected = torch.tensor(kernel, dtype=torch.float64) / max(sum(kernel), 1e-9)
        # Up to any size, numbers of draws are at most half a coalition, or pair, from what is due.
        off = (found if paired else found.flip(0)).cumsum(0) - expected.cumsum(0)
        assert (off.abs() <= (1.0 if paired else 0.5) * weights.max() + 1e-9).all()


@pytest.mark.parametrize("n_samples", [2, 3])
def test_a_single_player_gets_all(n_samples):
    game = Table(drawn_table(1, 0))
    for found in (
        af.kernel_shap(game, game.ones(), n_samples=n_samples),
        af.shapley_values(game, game.ones()),
        af.banzhaf_values(game, game.ones()),
        af.owen_values(game, game.ones(), nesting=[0]),
        *(af.shapley_sampling(game, game.ones(), n_samples=3, design=d) for d in DESIGNS),
    ):
        torch.testing.assert_close(found[0], game.values[1] - game.values[0])


def test_sampled_banzhaf_values(game):
    """The least squares fit to the coalitions that were drawn, which with all coalitions is exact."""
    exact = af.banzhaf_values(game, game.ones())
    assert torch.equal(af.banzhaf_values(game, game.ones(), n_samples=2**PLAYERS), exact)
    found = af.banzhaf_values(game, game.ones(), n_samples=20, generator=seeded())
    half = torch.rand(10, PLAYERS, generator=seeded(), dtype=torch.float64) < 0.5
    members = torch.stack([half, ~half], 1).flatten(0, 1)
    values = torch.stack([game.value([i for i in range(PLAYERS) if row[i]]) for row in members])
    design = torch.cat([torch.ones(20, 1), members], 1).double()
    torch.testing.assert_close(found[0], torch.linalg.lstsq(design, values[:, None]).solution[1:, 0])
    big = Table(drawn_table(10, 3))
    exact, other = af.banzhaf_values(big, big.ones()), torch.Generator().manual_seed(1)
    runs = [af.banzhaf_values(big, big.ones(), n_samples=200, generator=other) for _ in range(50)]
    assert ((torch.cat(runs).mean(0) - exact[0]).abs() < 5 * torch.cat(runs).std(0) / 50**0.5 + 0.01).all()
