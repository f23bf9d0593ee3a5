"""Numbers of all sizes and precisions, and what is no number: right to the precision of the score, or named."""

import pytest
import torch
from sklearn import linear_model as linear
from sklearn import tree as trees
from torch import nn

import attrfunc as af
from attrfunc import surrogates

METHODS = {
    "ablation": af.feature_ablation,
    "occlusion": lambda *args, **o: af.occlusion(*args, window=1, **o),
    "shapley": af.shapley_values,
    "sampling": af.shapley_sampling,
    "kernel": lambda *args, **o: af.kernel_shap(*args, n_samples=30, **o),
    "process": lambda *args, **o: af.gaussian_process_shap(*args, n_samples=30, **o),
    "banzhaf": af.banzhaf_values,
    "owen": lambda *args, **o: af.owen_values(*args, nesting=[[0, 1], 2], **o),
    "lime": lambda *args, **o: af.lime(*args, linear_model=surrogates.least_squares(), **o),
}


@pytest.mark.parametrize("window", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_occlusion_keeps_double_precision(window, stride):
    """The mean over the windows that cover an element, literally; a third in single precision would show."""
    if stride > window:
        stride = window
    torch.manual_seed(0)
    x, weight = torch.randn(1, 7).double(), torch.randn(7).double()
    found = af.occlusion(lambda x: (x * weight).sum(1) * 1e3, x, window=(window,), stride=(stride,))
    starts = range(0, 7 - window + stride, stride)
    losses = [1e3 * (x[0] * weight)[start : start + window].sum() for start in starts]
    covering = [
        [loss for start, loss in zip(starts, losses, strict=True) if start <= i < start + window] for i in range(7)
    ]
    expected = torch.stack([torch.stack(those).mean() for those in covering])
    torch.testing.assert_close(found[0], expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("columns", [[1.6e9, 1.0], [1.0, -3e8], [1e12, 1e12]])
@pytest.mark.parametrize("method", ["ablation", "coalitions"])
@pytest.mark.parametrize("replaced", [0.0, 1.0, "large"])
def test_columns_of_very_different_size(replaced, method, columns):
    """Each share of a leading linear layer is computed once, unless sums of them would be nothing but rounding."""
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(200, 32), nn.Tanh(), nn.Linear(32, 1)).eval(), torch.randn(2, 200)
    baseline = torch.full((1, 200), 0.0 if replaced == "large" else replaced)
    (baseline if replaced == "large" else x)[:, :2] = torch.tensor(columns)
    if method == "ablation":
        found, gone = af.feature_ablation(net, x, baseline=baseline, target=0)[:, :2], x.clone()
        for column in range(2):
            gone = x.clone()
            gone[:, column] = baseline[:, column]
            torch.testing.assert_close(found[:, column], (net(x) - net(gone))[:, 0], rtol=1e-3, atol=1e-3)
    else:
        mask = (torch.arange(200)[None] - 1).clamp(min=0, max=9)
        found = af.shapley_values(net, x, baseline=baseline, target=0, feature_mask=mask)
        plain = nn.Sequential(nn.Identity(), *net)  # a function is not looked into
        expected = af.shapley_values(lambda x: plain(x), x, baseline=baseline, target=0, feature_mask=mask)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", METHODS)
def test_sums_of_half_precision_do_not_overflow(name):
    """3,000 scores of 40: their sum is no number of half precision."""
    x = torch.ones(3000, 3).half()
    found = METHODS[name](lambda x: 40 * x[:, 0] + x[:, 1], x)
    assert found.dtype == torch.half
    torch.testing.assert_close(found.float(), torch.tensor([40.0, 1.0, 0.0]).expand(3000, 3), rtol=1e-2, atol=2e-2)


def test_one_score_of_examples_that_cannot_be_told_apart_in_half_precision():
    net = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1)).half()
    nn.init.constant_(net[1].weight, 30.0)

    class Swapped(nn.Module):
        """The layer's activation has its examples behind."""

        def __init__(self):
            super().__init__()
            self.head = net[0]
            self.swap = nn.Identity()

        def forward(self, x):
            return self.swap(self.head(x).T).T.sum(1) * 30

    x = torch.ones(2000, 3).half()
    found = af.feature_ablation(af.layer(Swapped(), "swap"), x, baseline=af.activation_baseline())
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", METHODS)
def test_scores_that_are_no_numbers_are_named(name, value):
    with pytest.raises(af.ModelError, match=r"the score is not finite"):
        METHODS[name](lambda x: torch.where(x[:, 0] == 0, value, x[:, 1]), torch.ones(2, 3))


@pytest.mark.parametrize("name", METHODS)
def test_integers_and_one_example(name):
    found = METHODS[name](lambda x: x @ torch.tensor([3, 0, 5]), torch.tensor([[1, 2, 1]]))
    torch.testing.assert_close(found, torch.tensor([[3.0, 0.0, 5.0]]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("owen", "occlusion")])
@pytest.mark.parametrize(
    ("mask", "fix"),
    [
        (torch.tensor([[0.2, 0.9, 0.4]]), r"torch\.unique\(mask"),
        (torch.tensor([[0.0, 1.0, 1.0]]), r"mask\.long\(\)"),
        (torch.tensor([[True, False, True]]), r"mask\.long\(\)"),
    ],
)
def test_masks_that_are_no_numbers_of_groups(mask, fix, name):
    with pytest.raises(af.ArgumentError, match=rf"`feature_mask`.*integers.*{fix}"):
        METHODS[name](lambda x: x.sum(1), torch.ones(2, 3), feature_mask=mask)


def test_the_ways_out_for_masks():
    mask, x = torch.tensor([[0.2, 0.9, 0.2]]), torch.ones(2, 3)
    groups = torch.unique(mask, return_inverse=True)[1]
    torch.testing.assert_close(
        af.feature_ablation(lambda x: x.sum(1), x, feature_mask=groups), torch.tensor([[2.0, 1.0, 2.0]]).expand(2, 3)
    )


@pytest.mark.parametrize("name", [name for name in METHODS if name != "occlusion"])
def test_one_feature_and_none(name):
    options = {"nesting": [0]} if name == "owen" else {}
    method = af.owen_values if name == "owen" else METHODS[name]
    found = method(lambda x: 3 * x[:, 0], torch.tensor([[2.0], [1.0]]), **options)
    torch.testing.assert_close(found, torch.tensor([[6.0], [3.0]]))
    with pytest.raises(af.ArgumentError, match=r"`x`: got no features"):
        method(lambda x: x.sum(1), torch.zeros(2, 0), **options)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 7.0])
def test_scikit_learn_gets_weights_of_mean_one(scale):
    """So that a penalty means the same for narrow and wide kernels, as that of `ridge`."""
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(40, 4, generator=generator) < 0.5
    scores = torch.randn(40, 2, generator=generator, dtype=torch.float64)
    weights = scale * torch.rand(40, 2, generator=generator, dtype=torch.float64)
    expected = surrogates.ridge(2.0)(features, scores, weights)
    torch.testing.assert_close(surrogates.scikit_learn(linear.Ridge(alpha=2.0))(features, scores, weights), expected)


def test_estimators_that_cannot_be_linear_models():
    for wrong in (linear.Lars(), linear.Ridge, "ridge"):
        with pytest.raises(af.ArgumentError, match=r"scikit_learn: argument `estimator`.*sample_weight"):
            surrogates.scikit_learn(wrong)
    with pytest.raises(af.ArgumentError, match=r"no `coef_`"):
        af.lime(
            lambda x: x.sum(1), torch.ones(2, 3), linear_model=surrogates.scikit_learn(trees.DecisionTreeRegressor())
        )
