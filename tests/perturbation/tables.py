"""Games given as tables, and what theory says of them, written out set by set in double precision."""

import itertools
from math import comb, factorial

import torch

DOUBLE = torch.float64


def drawn_table(players, seed, rows=1):
    """Random values `(2^n, rows)`; coalitions are binary numbers, whose first digit is the first player."""
    return torch.randn(2**players, rows, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


class Table(torch.nn.Module):
    """A model whose score at ones and zeros is a table: with x = ones and baseline zeros, that table is its game."""

    def __init__(self, values):
        super().__init__()
        self.register_buffer("values", values)

    @property
    def players(self):
        return len(self.values).bit_length() - 1

    def forward(self, x):
        """`(B, n)` to `(B, columns)`."""
        bits = 2 ** torch.arange(self.players - 1, -1, -1, dtype=x.dtype)
        return self.values[(x * bits).sum(1).long()]

    def ones(self, rows=1):
        return torch.ones(rows, self.players, dtype=DOUBLE)

    def value(self, players):
        """v of a set, in the first column."""
        return self.values[sum(2 ** (self.players - 1 - player) for player in players), 0]


def subsets(players):
    players = sorted(players)
    for size in range(len(players) + 1):
        yield from itertools.combinations(players, size)


def shapley_by_permutations(game, orders=None):
    """The mean of what a player adds, over all orders."""
    orders = list(itertools.permutations(range(game.players))) if orders is None else orders
    added = torch.zeros(game.players, dtype=DOUBLE)
    for order in orders:
        for place, player in enumerate(order):
            added[player] += game.value(order[: place + 1]) - game.value(order[:place])
    return added / len(orders)


def admissible(nesting):
    """All orders in which the members of each union follow each other."""
    if isinstance(nesting, int):
        yield (nesting,)
        return
    for order in itertools.permutations(nesting):
        for parts in itertools.product(*(list(admissible(part)) for part in order)):
            yield tuple(itertools.chain(*parts))


def banzhaf(game):
    n = game.players
    values = []
    for i in range(n):
        others = [j for j in range(n) if j != i]
        values.append(sum(game.value((*s, i)) - game.value(s) for s in subsets(others)) / 2 ** (n - 1))
    return torch.stack(values)


def derivative(game, inner, outer):
    """The discrete derivative of the game by the players of `inner`, in the presence of `outer`."""
    return sum((-1) ** (len(inner) - len(part)) * game.value((*part, *outer)) for part in subsets(inner))


def averaged(game, inner, weight):
    others = set(range(game.players)) - set(inner)
    return sum(weight(len(outer)) * derivative(game, inner, outer) for outer in subsets(others))


def sii(game, inner, order):
    n, s = game.players, len(inner)
    return averaged(game, inner, lambda t: factorial(n - t - s) * factorial(t) / factorial(n - s + 1))


def bii(game, inner, order):
    return averaged(game, inner, lambda t: 1 / 2 ** (game.players - len(inner)))


def stii(game, inner, order):
    n = game.players
    if len(inner) < order:
        return derivative(game, inner, ())
    return averaged(game, inner, lambda t: order / n / comb(n - 1, t))


def k_sii(game, inner, order):
    """The recursion from the largest sets down, with Bernoulli numbers."""
    bernoulli = {0: 1, 1: -1 / 2, 2: 1 / 6, 3: 0, 4: -1 / 30}
    if len(inner) == order:
        return sii(game, inner, order)
    others = sorted(set(range(game.players)) - set(inner))
    more = order - len(inner)
    larger = itertools.combinations(others, more)
    return k_sii(game, inner, order - 1) + bernoulli[more] * sum(sii(game, (*inner, *k), order) for k in larger)


def fsii(game, inner, order):
    """The least squares problem, with the kernel's infinite weights at both ends as constraints."""
    n = game.players
    terms = [s for s in subsets(range(n)) if len(s) <= order]
    rows = [s for s in subsets(range(n)) if 0 < len(s) < n]
    fits = lambda s: [float(set(t) <= set(s)) for t in terms]
    design = torch.tensor([fits(s) for s in rows], dtype=DOUBLE)
    weight = torch.tensor([1 / (comb(n, len(s)) * len(s) * (n - len(s))) for s in rows], dtype=DOUBLE)
    ends = torch.tensor([fits(()), fits(range(n))], dtype=DOUBLE)
    values = torch.stack([game.value(s) for s in rows])
    fixed = torch.stack([game.value(()), game.value(range(n))])
    normal = design.T @ (weight[:, None] * design)
    system = torch.cat([torch.cat([normal, ends.T], 1), torch.cat([ends, torch.zeros(2, 2, dtype=DOUBLE)], 1)])
    solution = torch.linalg.solve(system, torch.cat([design.T @ (weight * values), fixed]))
    return solution[terms.index(tuple(inner))]


INTERACTIONS = {"SII": sii, "k-SII": k_sii, "STII": stii, "FSII": fsii, "BII": bii}
