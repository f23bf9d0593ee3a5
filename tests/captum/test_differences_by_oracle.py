"""Further differences from Captum on purpose, each with an oracle that says who is right."""

import warnings

import captum.attr as captum_attr
import pytest
import torch
from captum_peer import agree, captum_warnings
from torch import nn

import attrfunc as af
import attrfunc.captum.attr as shim_attr


@pytest.fixture
def x():
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(1))


def test_what_arguments_may_be_beyond_captums(x):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    right = shim_attr.IntegratedGradients(model).attribute(x, x.flip(0), target=1)
    agree(shim_attr.IntegratedGradients(model).attribute(x, lambda x: x.flip(0), target=1), right)
    agree(shim_attr.IntegratedGradients(model).attribute(x, x.flip(0), target=lambda output: output[:, 1]), right)
    agree(shim_attr.LayerActivation(model, "0").attribute(x), model[0](x).detach())
    nested = shim_attr.InputXGradient(lambda inputs: inputs["a"].square().sum(1)).attribute({"a": x})
    agree(nested["a"], 2 * x.square())


def test_max_pooling_shares_the_change_with_the_number_that_was_largest_before():
    """The maximum goes from 2 to 3. A slope of it is between 0 and 1 for each number, as that of every mean is."""
    model = nn.Sequential(nn.MaxPool1d(2), nn.Flatten())
    x, baseline = torch.tensor([[[3.0, 1.0]]]), torch.tensor([[[0.0, 2.0]]])
    with captum_warnings(), warnings.catch_warnings(action="ignore"):
        ours, theirs = (m.DeepLift(model).attribute(x, baseline, target=0).detach() for m in (shim_attr, captum_attr))
    slopes = (ours / (x - baseline)).flatten()
    assert ours.sum() == theirs.sum() == 1
    assert ((slopes > 0) & (slopes < 1)).all()
    assert theirs.flatten().tolist() == [1, 0]


def test_a_group_of_several_inputs_is_permuted_together(x):
    """The two inputs are alike, and so they stay."""
    model, mask = (lambda a, b: (a - b).square().sum(1)), torch.zeros(1, 4, dtype=torch.long)
    x = x.repeat(4, 1)
    torch.manual_seed(0)
    ours, theirs = (
        m.FeaturePermutation(model).attribute((x, x), feature_mask=(mask, mask))[0] for m in (shim_attr, captum_attr)
    )
    assert not ours.any()
    assert theirs.any()


def test_gradient_shap_has_less_variance(x):
    model = lambda x: x.pow(3).sum(1)
    many, right = x[:1].repeat(500, 1), x[0].pow(3)
    torch.manual_seed(0)
    ours, theirs = (
        m.GradientShap(model).attribute(many, torch.zeros(1, 4), n_samples=5).detach() for m in (shim_attr, captum_attr)
    )
    assert (ours.mean(0) - right).abs().max() < 0.05 * right.abs().max()
    assert ours.var(0).sum() < 0.5 * theirs.var(0).sum()


def test_no_more_rows_than_internal_batch_size_are_evaluated_at_once(x):
    most = {}
    for module in (shim_attr, captum_attr):
        seen = []
        model = lambda x, seen=seen: seen.append(len(x)) or x.square().sum(1)
        with captum_warnings():
            found = module.IntegratedGradients(model).attribute(x, n_steps=40, internal_batch_size=2).detach()
        agree(found, x.square())
        most[module] = seen.count(3)
    assert most[shim_attr] <= 2  # to see what the model gives, and whether its examples are apart
    assert most[captum_attr] == 40


def test_kernel_shap_is_one_solution(x):
    model = lambda x: x[:, 0] * x[:, 1] + x[:, 2].sin()
    found = shim_attr.KernelShap(model).attribute(x, n_samples=8)
    agree(found.sum(1), model(x) - model(0 * x))
    with pytest.raises(af.ArgumentError, match=r"KernelShap.attribute: argument `n_samples`: got 5"):
        shim_attr.KernelShap(model).attribute(x, n_samples=5)


def test_lime_needs_weights_of_more_than_one_sample(x):
    def first_alone(original, perturbed, features, **kwargs):
        return float(features.all())

    drawn = []

    def perturb(inputs, **kwargs):
        drawn.append(inputs)
        yield from torch.eye(5, 4).flip(0).roll(1, 0).logical_not().long()[:, None]

    explain = shim_attr.Lime(lambda x: x.sum(1), None, first_alone, perturb).attribute
    with pytest.raises(af.ArgumentError, match=r"Lime.attribute.*several samples that count"):
        explain(x, n_samples=5)
    assert len(drawn) == 1  # for all examples


def test_windows_of_the_last_dimensions():
    """They cover all that lies in front of them."""
    image, net = torch.randn(2, 3, 4, 4), nn.Sequential(nn.Conv2d(3, 2, 2), nn.Flatten(), nn.Linear(18, 2))
    options = {"target": 1, "strides": 2}
    right = captum_attr.Occlusion(net).attribute(image, (3, 2, 2), strides=(1, 2, 2), target=1)
    agree(shim_attr.Occlusion(net).attribute(image, (2, 2), **options), right)
    with captum_warnings(), pytest.raises(AssertionError):
        captum_attr.Occlusion(net).attribute(image, (2, 2), **options)


def test_shapley_values_evaluate_each_coalition_once(x):
    counts = {}
    for module in (shim_attr, captum_attr):
        seen = []
        model = lambda x, seen=seen: seen.append(len(x)) or x.prod(1)
        found = module.ShapleyValues(model).attribute(x, perturbations_per_eval=1)
        counts[module] = sum(seen) // len(x)
        agree(found.sum(1), x.prod(1))
    assert counts[shim_attr] <= 2**4 + 2 < 4 * 3 * 2 * 4 <= counts[captum_attr]
    with pytest.raises(af.ArgumentError, match=r"ShapleyValues.attribute.*20"):
        shim_attr.ShapleyValues(lambda x: x.sum(1)).attribute(torch.ones(1, 21))


class Centred(nn.Module):
    def forward(self, x):
        return x - x.mean(0)


class TestNeurons:
    """The rows of this network depend on each other, which a selector of one number for the batch asks for."""

    @pytest.fixture
    def net(self):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 3), Centred(), nn.Tanh())

    def test_one_number_for_the_batch_is_that_of_all_its_rows(self, net, x):
        x = x.clone().requires_grad_()
        net(x)[:, 1].square().sum().backward()
        explain = shim_attr.NeuronGradient(net, net[2]).attribute
        agree(explain(x.detach(), lambda activation: activation[:, 1].square().sum()), x.grad)

    def test_a_callable_of_each_row_is_warned_of(self, net, x):
        with pytest.warns(UserWarning, match="depends on the batch"):
            shim_attr.NeuronIntegratedGradients(net, net[2]).attribute(x, lambda activation: activation[:, 1])


def test_relevance_of_fewer_rows_than_the_input_is_that_of_their_sum(x):
    class Pairs(nn.Module):
        def forward(self, x):
            return x.view(2, 2, 4).sum(1)

    head = nn.Linear(4, 2)
    x = torch.arange(1.0, 17.0).view(4, 4)
    with pytest.warns(UserWarning, match="the sum of all 2 rows of the output"):
        relevance = shim_attr.LRP(nn.Sequential(Pairs(), head)).attribute(x, target=1)
    torch.testing.assert_close(relevance, x * head.weight[1].detach())
