"""The linear models beside Captum's."""

import sys

import captum._utils.models.linear_model as captum_models
import captum._utils.models.linear_model.model as captum_model
import pytest
import torch
from captum._utils.models.linear_model.train import sgd_train_linear_model
from torch.utils.data import DataLoader, TensorDataset

import attrfunc.captum.models as shim_models
from attrfunc import ArgumentError, ModelError


def data(count=40, n=5, outputs=0, weighted=True, batch_size=None, classes=False):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, n, generator=generator)
    weight = torch.randn(n, max(outputs, 1), generator=generator)
    y = x @ weight + 0.1 * torch.randn(count, max(outputs, 1), generator=generator)
    y = y if outputs else y[:, 0]
    y = (y > 0).long() if classes else y
    w = torch.rand(count, generator=generator)
    parts = (x, y, w) if weighted else (x, y)
    return DataLoader(TensorDataset(*parts), batch_size=batch_size or count)


NAMES = ["SkLearnLasso", "SkLearnRidge", "SkLearnLinearRegression", "SGDLasso", "SGDRidge", "SGDLinearRegression"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("weighted", "batch_size"), [(True, 13), (False, None)])
def test_fits(name, weighted, batch_size):
    init = {"alpha": 0.05} if name in ("SkLearnLasso", "SkLearnRidge") else {}
    options = {"alpha": 0.05} if name in ("SGDLasso", "SGDRidge") else {}
    found = []
    for module in (shim_models, captum_models):
        model = getattr(module, name)(**init)
        told = model.fit(data(weighted=weighted, batch_size=batch_size), **options)
        found.append((model.representation(), model.bias(), model(torch.ones(2, 5)), told))
    for ours, theirs in zip(*(one[:3] for one in found), strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=1e-4, atol=1e-5)
    ours, theirs = (one[3] for one in found)
    assert ours.keys() == theirs.keys()
    for key in ours.keys() - {"train_time"}:
        assert ours[key] == pytest.approx(theirs[key], rel=1e-3)
    assert found[0][0].abs().max() > 0.1


@pytest.mark.parametrize(
    "options",
    [
        {"max_epoch": 3, "initial_lr": 0.1, "reduce_lr": False},
        {"alpha": 0.01, "reg_term": 2, "max_epoch": 7},
        {"patience": 2, "threshold": 0.05, "running_loss_window": 1},
        {"reg_term": None, "device": "cpu", "loss_fn": lambda x1, x2, weights: (x1 - x2).abs().mean()},
        {"init_scheme": "xavier", "debug": True, "max_epoch": 2},
    ],
)
@pytest.mark.parametrize("outputs", [0, 2])
def test_options_of_gradient_descent(options, outputs):
    found = []
    for module, train in (
        (shim_models, shim_models.sgd_train_linear_model),
        (captum_models, sgd_train_linear_model),
    ):
        torch.manual_seed(0)
        model = module.LinearModel(train_fn=train, norm_type="batch_norm", affine_norm=True)
        told = model.fit(data(outputs=outputs), **options)
        found.append((model.representation(), model.bias(), told))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-5)
    for key in ("train_loss", "train_iter", "train_epoch"):
        assert found[0][2][key] == pytest.approx(found[1][2][key], rel=1e-4)


@pytest.mark.filterwarnings("ignore:Creating a tensor from a list of numpy.ndarrays")
@pytest.mark.parametrize("name", ["SkLearnLogisticRegression", "SkLearnSGDClassifier"])
def test_classifiers(name):
    init = {"random_state": 0} if name == "SkLearnSGDClassifier" else {}
    found = []
    for module in (shim_models, captum_model):
        model = getattr(module, name)(**init)
        model.fit(data(classes=True))
        found.append((model.representation(), model.bias(), model.classes()))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, check_dtype=False)


def test_any_estimator_of_scikit_learn():
    found = []
    for module in (shim_models, captum_models):
        model = module.SkLearnLinearModel("svm.LinearSVR", random_state=0, C=0.3)
        model.fit(data())
        found.append(model.representation())
    torch.testing.assert_close(*found)
    with pytest.warns(UserWarning, match=r"sklearn.linear_model.LassoLars takes no weights"):
        shim_models.SkLearnLinearModel("linear_model.LassoLars", alpha=0.1).fit(data())


def test_standardised_inputs():
    loader = data(weighted=False)
    x, y = loader.dataset.tensors
    before = x.clone()
    model = shim_models.SkLearnLinearRegression()
    model.fit(loader, norm_input=True)
    assert torch.equal(x, before)
    plain = shim_models.SkLearnLinearRegression()
    plain.fit(loader)
    torch.testing.assert_close(model(x), plain(x))
    torch.testing.assert_close(model.representation(), plain.representation() * x.std(0, correction=0))
    assert (model(x)[:, 0] - y).square().mean() < 0.02


def test_own_values():
    model = shim_models.LinearModel(train_fn=print)
    with pytest.raises(ModelError, match="not fitted"):
        model.representation()
    assert model.bias() is None
    model._construct_model_params(weight_values=torch.tensor([1.0, 2.0]), bias_value=torch.tensor([3.0]))
    assert model(torch.ones(1, 2)) == 6
    model._construct_model_params(in_features=3, out_features=2, norm_type="layer_norm", bias=False)
    assert model(torch.ones(4, 3)).shape == (4, 2)
    assert model.bias() is model.classes() is None


def test_what_cannot_be_right(monkeypatch):
    model = shim_models.LinearModel(train_fn=print)
    for arguments, name in [
        ({}, "in_features"),
        ({"in_features": 2, "out_features": 1, "norm_type": "group_norm"}, "norm_type"),
        ({"in_features": 2, "out_features": 1, "bias": False, "bias_value": torch.ones(1)}, "bias_value"),
    ]:
        with pytest.raises(ArgumentError, match=f"`{name}`"):
            model._construct_model_params(**arguments)
    with pytest.raises(ArgumentError, match="`init_scheme`"):
        shim_models.SGDLasso().fit(data(), init_scheme="ones")
    for name in ("linear_model.Lassoo", "linear.Lasso"):
        with pytest.raises(ArgumentError, match=f"the name '{name}'"):
            shim_models.SkLearnLinearModel(name).fit(data())
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ArgumentError, match=r"attrfunc\[sklearn\]"):
        shim_models.SkLearnLasso().fit(data())


@pytest.mark.parametrize("name", shim_models.__all__)
def test_names(name):
    places = (captum_models, captum_model, sys.modules["captum._utils.models.linear_model.train"])
    assert any(hasattr(place, name) for place in (*places, sys.modules["captum._utils.models.model"]))
