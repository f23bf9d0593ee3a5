"""What DeepLIFT's multipliers are made into, and attributions from each of several baselines."""

import pytest
import torch
from torch import nn

import attrfunc as af


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)).double()


X, BASELINES = torch.randn(3, 4, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)


@pytest.mark.parametrize("place", [lambda net: net, lambda net: af.layer(net, "0")])
def test_each_baseline_by_itself(net, place):
    view, options = place(net), {"target": 1}
    each = [af.deep_lift(view, X, baseline=one[None], **options) for one in BASELINES]
    found = af.deep_lift_shap(view, X, baselines=BASELINES, average=False, **options)
    torch.testing.assert_close(found, torch.stack(each, 1))
    squares = lambda slopes, x, baseline: slopes * (x - baseline) ** 2
    low, high = (af.activation(view, end) if place(net) is not net else end for end in (BASELINES, X))
    slopes = [af.deep_lift(view, X, baseline=one[None], multiply_by_inputs=False, **options) for one in BASELINES]
    expected = torch.stack([slope * (high - one) ** 2 for slope, one in zip(slopes, low, strict=True)]).mean(0)
    found = af.deep_lift_shap(view, X, baselines=BASELINES, contribution=squares, **options)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        af.deep_lift_shap(view, X, baselines=BASELINES, contribution=squares, chunk_size=1, **options), expected
    )


def test_a_contribution_of_another_structure(net):
    with pytest.raises(af.ArgumentError, match="deep_lift: argument `contribution`"):
        af.deep_lift(net, X, target=1, contribution=lambda slopes, x, baseline: (slopes, slopes))
