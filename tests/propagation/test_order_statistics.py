"""Medians and sorting under DeepLIFT: by the definition, an integral over levels."""

import itertools

import pytest
import torch

import attrfunc as af
from oracle_net import drawn

X, BASELINE = drawn(1, 3, 5), drawn(2, 3, 5)


def share(x, baseline, rank):
    """What each number has of the change of the number with a rank from above, level by level."""
    levels = sorted([*x, *baseline])
    found = [0.0] * len(x)
    for low, high in itertools.pairwise(levels):
        middle = (low + high) / 2
        above, above_then = (sum(z > middle for z in numbers) >= rank for numbers in (x, baseline))
        if above != above_then:
            sign = 1 if above else -1
            crossed = [i for i in range(len(x)) if (x[i] > middle) == above and (baseline[i] > middle) != above]
            for i in crossed:
                found[i] += sign * (high - low) / len(crossed)
    return found


FUNCTIONS = {
    "median": (lambda x: x.median(1).values, [3]),
    "median kept": (lambda x: x.median(1, keepdim=True)[0][:, 0], [3]),
    "nanmedian": (lambda x: torch.nanmedian(x, dim=-1)[0], [3]),
    "kthvalue": (lambda x: x.kthvalue(2, 1).values, [4]),
    "topk": (lambda x: x.topk(2, 1).values.sum(1), [1, 2]),
    "smallest": (lambda x: torch.topk(x, 2, largest=False).values.sum(1), [4, 5]),
    "sort": (lambda x: x.sort(1).values[:, 1], [4]),
    "sort descending": (lambda x: torch.sort(x, dim=1, descending=True)[0][:, 1], [2]),
    "stable": (lambda x: torch.sort(x, stable=True)[0][:, 1], [4]),
    "along the middle": (lambda x: x[:, :, None].expand(-1, -1, 2).sort(1)[0][:, 1, 0], [4]),
}


@pytest.mark.parametrize(("function", "ranks"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_those_that_cross_a_level_share_it(function, ranks):
    found = af.deep_lift(function, X, baseline=BASELINE)
    for number in range(len(X)):
        parts = [share(X[number].tolist(), BASELINE[number].tolist(), rank) for rank in ranks]
        expected = torch.tensor(parts, dtype=X.dtype).sum(0)
        torch.testing.assert_close(found[number], expected)
    torch.testing.assert_close(found.sum(1), function(X) - function(BASELINE))


def test_a_rank_changes_although_its_number_does_not():
    """The median moves from the number that stays at 1 to the one that stays at 2; the one that passed both did it."""
    x, baseline = torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([[0.0, 1.0, 2.0]])
    found = af.deep_lift(lambda x: x.median(1).values, x, baseline=baseline)
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0, 0.0]]))


def test_where_nothing_changes_the_multiplier_is_the_derivative():
    found = af.deep_lift(lambda x: x.topk(2, 1).values.sum(1), X, baseline=X, multiply_by_inputs=False)
    torch.testing.assert_close(found, torch.ge(X, X.topk(2, 1).values[:, 1:]).to(X))
