"""The Shapley classes against Captum's: the same numbers where these are exact, the same expectation where not."""

import captum.attr as captum_attr
import pytest
import torch
from captum_peer import agree, both, captum_warnings, kinds
from torch import nn
from torch.futures import Future
from torch.utils import _pytree as pytree

import attrfunc as af
import attrfunc.captum.attr as shim_attr
from zoo import CASES

TUPLES = [case for case in CASES if not isinstance(case.inputs, dict)]
EXPLAINERS = ["ShapleyValues", "ShapleyValueSampling", "KernelShap"]


def shared(leaf):
    """Three groups, alike in all examples and tensors."""
    return (torch.arange(leaf[:1].numel()) % 3).view(1, *leaf.shape[1:])


def baselines(case):
    return pytree.tree_map(lambda leaf: leaf.flip(0), case.inputs)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3), nn.Tanh()).double()


@pytest.fixture
def x():
    return torch.randn(2, 6, generator=torch.Generator().manual_seed(1)).double()


def run(module, name, model, *arguments, **options):
    with captum_warnings():
        return getattr(module, name)(model).attribute(*arguments, **options)


@pytest.mark.parametrize("case", TUPLES, ids=str)
def test_exact_values_of_every_model(case):
    groups = pytree.tree_map(shared, case.inputs)
    options = {"feature_mask": groups, "baselines": baselines(case), "perturbations_per_eval": 2}
    ours, theirs = both("ShapleyValues", case, target=case.target, **options)
    assert kinds(ours) == kinds(theirs)
    agree(ours, theirs)


def test_kernel_shap_with_all_coalitions(net, x):
    """Captum needs many draws to meet all of them, and its constraint is a large weight."""
    mask = torch.tensor([[0, 0, 1, 1, 2, 2]])
    torch.manual_seed(0)
    ours = run(shim_attr, "KernelShap", net, x, target=1, feature_mask=mask, n_samples=8)
    theirs = run(captum_attr, "KernelShap", net, x, target=1, feature_mask=mask, n_samples=4000)
    torch.testing.assert_close(ours.to(theirs.dtype), theirs, atol=0.02, rtol=0)
    torch.testing.assert_close(ours, af.shapley_values(net, x, target=1, feature_mask=mask))


@pytest.mark.parametrize("name", ["ShapleyValueSampling", "KernelShap"])
def test_samples_have_captums_expectation_and_less_error(name, net, x):
    exact = af.shapley_values(net, x[:1], target=1)
    errors = {}
    for module in (shim_attr, captum_attr):
        torch.manual_seed(0)
        samples = {"n_samples": 32 if name == "KernelShap" else 6}
        found = torch.stack([run(module, name, net, x[:1], target=1, **samples) for _ in range(40)]).double()
        assert ((found.mean(0) - exact).abs() < 5 * found.std(0) / 40**0.5 + 0.02).all()
        errors[module] = (found - exact).square().mean().sqrt()
    assert errors[shim_attr] < 0.8 * errors[captum_attr]


@pytest.mark.parametrize("name", EXPLAINERS)
def test_reproducible(name, net, x):
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        results.append(run(shim_attr, name, net, x, target=1))
    assert torch.equal(*results)


@pytest.mark.parametrize("name", ["ShapleyValues", "ShapleyValueSampling"])
def test_every_number_of_an_output(name, net, x):
    """Captum gives attributions of all outputs where there is no target."""
    model = lambda x: torch.stack([net(x), net(2 * x)], 1)
    options = {"feature_mask": torch.tensor([[0, 0, 1, 1, 2, 2]])}
    if name == "ShapleyValueSampling":
        options["n_samples"] = 300  # of 3 groups, pairs of orders are exact but for one interaction
    ours, theirs = (run(module, name, model, x, **options) for module in (shim_attr, captum_attr))
    assert ours.shape == theirs.shape == (2, 2, 3, 6)
    tolerance = 1e-5 if name == "ShapleyValues" else 0.05
    torch.testing.assert_close(ours.to(theirs.dtype), theirs, atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", EXPLAINERS)
def test_a_score_of_the_whole_batch(name, net, x):
    options = {"feature_mask": torch.tensor([[0, 0, 1, 1, 2, 2]]), "baselines": 0.5}
    model = lambda x: net(x).square().sum()
    torch.manual_seed(0)
    ours = run(shim_attr, name, model, x, **options)
    theirs = run(captum_attr, name, model, x, **options)
    assert ours.shape == theirs.shape == (1, 6)
    if name == "ShapleyValues":
        torch.testing.assert_close(ours.to(theirs.dtype), theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 2])
def test_kernel_shap_of_groups(rows, net, x):
    inputs, mask = (x[:rows], 2 * x[:rows]), (torch.tensor([[0, 0, 1, 1, 2, 2]]), torch.tensor([[2, 2, 3, 3, 3, 3]]))
    model = lambda one, other: net(one + other)
    options = {"feature_mask": mask, "n_samples": 16, "target": 1, "return_input_shape": False}
    ours, theirs = (run(module, "KernelShap", model, inputs, **options) for module in (shim_attr, captum_attr))
    assert ours.shape == theirs.shape == (rows, 4)
    first, second = af.shapley_values(model, inputs, target=1, feature_mask=mask)
    expected = torch.stack([first[:, 0], first[:, 2], first[:, 4], second[:, 2]], 1)
    torch.testing.assert_close(ours, expected)
    shape = run(shim_attr, "KernelShap", net, x[:rows], n_samples=40, target=1, return_input_shape=False).shape
    assert shape == (rows, 6)


def test_coefficients_stand_at_the_numbers_of_their_groups(net, x):
    options = {"n_samples": 40, "return_input_shape": False}
    for mask in (torch.tensor([[0, 0, 5, 5, 2, 2]]), torch.tensor([[3, 8, 8, 8, 5, 5]])):
        whole = af.shapley_values(net, x, target=1, feature_mask=mask)
        found = run(shim_attr, "KernelShap", net, x, feature_mask=mask, target=1, **options)
        expected = x.new_zeros(len(x), 6).scatter(1, (mask - mask.min()).expand(len(x), -1), whole)
        torch.testing.assert_close(found, expected)
        batch = run(shim_attr, "KernelShap", lambda x: net(x).sum(), x, feature_mask=mask, **options)
        assert batch.shape == (1, 6)
        assert batch[0].nonzero()[:, 0].tolist() == (mask - mask.min()).unique().tolist()


@pytest.mark.parametrize("name", ["ShapleyValues", "ShapleyValueSampling"])
def test_futures(name, net, x):
    def later(x):
        future = Future()
        future.set_result(net(x))
        return future

    mask = torch.tensor([[0, 0, 1, 1, 2, 2]])
    torch.manual_seed(0)
    future = getattr(shim_attr, name)(later).attribute_future(x, target=1, feature_mask=mask, n_samples=5)
    found = future.wait()
    options = {"n_samples": 5} if name == "ShapleyValueSampling" else {}
    torch.manual_seed(0)
    torch.testing.assert_close(found, run(shim_attr, name, net, x, target=1, feature_mask=mask, **options))
    with pytest.raises(NotImplementedError, match="KernelShap"):
        shim_attr.KernelShap(net).attribute_future()


def test_errors_name_the_classes_arguments(net, x):
    with pytest.raises(af.ArgumentError, match=r"KernelShap.attribute: argument `n_samples`: got 5; expected at least"):
        run(shim_attr, "KernelShap", net, x, target=1, n_samples=5)
    with pytest.raises(af.ArgumentError, match=r"ShapleyValues.attribute: argument `feature_mask`: got 30 groups"):
        run(shim_attr, "ShapleyValues", lambda x: x.sum(1), torch.ones(1, 30))
    with pytest.raises(af.ArgumentError, match=r"ShapleyValueSampling.attribute: argument `perturbations_per_eval`"):
        run(shim_attr, "ShapleyValueSampling", net, x, target=1, perturbations_per_eval=0)
