"""Baselines, and tensors in any argument, that nobody can mean: no number is cut to fit, nor read where none is."""

import re
from decimal import Decimal
from fractions import Fraction

import pytest
import torch
from torch import nn

import attrfunc as af
from attrfunc import ArgumentError, ModelError


class Pixels(nn.Module):
    """Takes images of bytes, as they are read from files."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(x.to(self.head.weight.dtype))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Pixels().eval()


@pytest.fixture
def x():
    return torch.tensor([[3, 200, 7, 90], [1, 2, 3, 4]], dtype=torch.uint8)


def refused(*parts, error=ArgumentError):
    """The error's message holds every part, in this order."""
    return pytest.raises(error, match=".*".join(re.escape(part) for part in parts))


UNBOUNDED = [300, -1, 0.5, 2**70, 1j, float("nan"), Fraction(1, 2), Decimal("0.5")]
TENSORS = [torch.tensor(300), torch.tensor([-1]), torch.full((1, 4), 0.5), torch.ones(4) * 1j]


class TestBaselinesThatWouldBeCut:
    @pytest.mark.parametrize("method", [af.feature_ablation, af.shapley_values, af.occlusion])
    @pytest.mark.parametrize("baseline", UNBOUNDED + TENSORS, ids=str)
    def test_bytes(self, model, x, method, baseline):
        options = {"window": 1} if method is af.occlusion else {}
        with refused(f"{method.__name__}:", "`baseline`", "integers from 0 to 255", "torch.uint8", "x.float()"):
            method(model, x, baseline=baseline, target=0, **options)

    def test_advice_works(self, model, x):
        low = model(torch.full((2, 4), 0.5))[:, 0]
        found = af.shapley_values(model, x.float(), baseline=0.5, target=0)
        torch.testing.assert_close(found.sum(1), model(x)[:, 0] - low)

    @pytest.mark.parametrize("baseline", [2, 0.5, torch.tensor(2)], ids=str)
    def test_truth_values(self, model, x, baseline):
        with refused("`baseline`", "integers from 0 to 1", "torch.bool"):
            af.feature_ablation(model, x > 5, baseline=baseline, target=0)

    @pytest.mark.parametrize("baseline", [1j, torch.ones(4) * 1j, 1e300, 10**400], ids=lambda b: str(b)[:5])
    @pytest.mark.parametrize("method", [af.ig, af.deep_lift, af.shapley_sampling])
    def test_real_numbers(self, model, x, method, baseline):
        with refused(f"{method.__name__}:", "`baseline`", "real numbers", "torch.float32"):
            method(model, x.float(), baseline=baseline, target=0)

    def test_half_precision(self, model, x):
        with refused("`baseline`", "torch.int64", "torch.float16"):
            af.ig(model.half(), x.half(), baseline=torch.tensor(70000), target=0)

    def test_at_a_layer(self, model, x):
        with refused("`baseline`", "complex64", "torch.float32"):
            start = af.activation_baseline(torch.ones(2) * 1j)
            af.ig(af.layer(model, "head"), x.float(), baseline=start, target=0)

    @pytest.mark.parametrize("method", [af.gradient_shap, af.deep_lift_shap, af.shapley_values])
    @pytest.mark.parametrize("drawn", [torch.ones(3, 4) * 1j, torch.full((3, 4), 1e300, dtype=torch.float64)])
    def test_distributions(self, model, x, method, drawn):
        with refused(f"{method.__name__}:", "`baselines`", str(drawn.dtype), "torch.float32"):
            method(model, x.float(), baselines=drawn, target=0)

    def test_of_a_transform(self, model, x):
        ablated = lambda b: af.feature_ablation(model, x, baseline=b, target=0)
        with refused("`baseline`", "integers from 0 to 255"):
            torch.func.vmap(ablated)(torch.tensor([1, 300]))


class TestBaselinesThatFit:
    @pytest.mark.parametrize("baseline", [2, 2.0, True, torch.tensor(2), torch.tensor([2], dtype=torch.int16)], ids=str)
    def test_whole_numbers(self, model, x, baseline):
        low = model(torch.full((2, 4), int(baseline)))[:, 0]
        found = af.shapley_values(model, x, baseline=baseline, target=0)
        torch.testing.assert_close(found.sum(1), model(x)[:, 0] - low)

    @pytest.mark.parametrize("baseline", [Fraction(1, 2), Decimal("0.5"), 2**70, torch.tensor(3)], ids=str)
    def test_numbers_of_any_kind(self, model, x, baseline):
        given = torch.full((1, 4), float(baseline), dtype=torch.float64)
        points, model = x.double(), model.double()
        found = af.ig(model, points, baseline=baseline, target=0)
        torch.testing.assert_close(found, af.ig(model, points, baseline=given, target=0))


def test_baseline_function_without_return(model, x):
    with refused("integrated_gradients:", "`baseline`", "returns None"):
        af.ig(model, x.float(), baseline=lambda x: None, target=0)


def test_score_that_is_not_finite_at_the_baseline(model, x):
    for baseline in (float("nan"), float("inf")):
        with refused("deep_lift:", "not finite", error=ModelError):
            af.deep_lift(model, x.float(), baseline=baseline, target=0)
    with refused("deep_lift_shap:", "not finite", error=ModelError):
        af.deep_lift_shap(model, x.float(), baselines=torch.full((3, 4), float("nan")), target=0)
