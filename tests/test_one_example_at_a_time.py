"""`chunk_size=1`: a model that takes one example at a time is attributed on batches, wherever the point stands."""

import pytest
import torch
from torch import nn

import attrfunc as af
from attrfunc.captum.attr import FeatureAblation


class OneByOne(nn.Module):
    def __init__(self, alone):
        super().__init__()
        self.first, self.head, self.alone = nn.Linear(4, 5), nn.Linear(5, 3), alone

    def forward(self, x):
        if self.alone and len(x) != 1:
            raise ValueError("one example at a time")
        return self.head(self.first(x).tanh())


@pytest.fixture
def models():
    torch.manual_seed(0)
    plain = OneByOne(False).double().eval()
    alone = OneByOne(True).double().eval()
    alone.load_state_dict(plain.state_dict())
    return alone, plain


X = torch.linspace(-1, 2, 12, dtype=torch.float64).view(3, 4).sin()
METHODS = {
    "ig": lambda *args, **kw: af.ig(*args, n_steps=6, **kw),
    "ig to a tolerance": lambda *args, **kw: af.ig(*args, tolerance=1e-4, **kw),
    "gradient_shap": lambda *args, **kw: af.gradient_shap(
        *args, baselines=X * 0.5, n_samples=3, stdev=0.1, generator=torch.Generator().manual_seed(0), **kw
    ),
    "feature_ablation": af.feature_ablation,
    "feature_permutation": lambda *args, **kw: af.feature_permutation(
        *args, generator=torch.Generator().manual_seed(0), **kw
    ),
    "shapley_values": af.shapley_values,
}
INSIDE = {
    "conductance": lambda *args, **kw: af.conductance(*args, layer="first", n_steps=6, **kw),
    "conductance to a tolerance": lambda *args, **kw: af.conductance(*args, layer="first", tolerance=1e-4, **kw),
    "internal_influence": lambda *args, **kw: af.internal_influence(*args, layer="first", n_steps=6, **kw),
    "neuron_conductance": lambda *args, **kw: af.neuron_conductance(*args, layer="first", neuron=1, n_steps=6, **kw),
}
VIEWS = {
    "input": lambda model: model,
    "layer": lambda model: af.layer(model, "first"),
    "head": lambda model: af.layer(model, "head", side="input"),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("target", [1, torch.tensor([0, 2, 1])], ids=["one", "each"])
def test_places(models, method, view, target):
    alone, plain = map(view, models)
    torch.testing.assert_close(method(alone, X, target=target, chunk_size=1), method(plain, X, target=target))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_neurons(models, method):
    alone, plain = (af.neuron(model, "first", 2) for model in models)
    torch.testing.assert_close(method(alone, X, chunk_size=1), method(plain, X))


@pytest.mark.parametrize("method", INSIDE.values(), ids=INSIDE)
def test_layers_on_the_path(models, method):
    alone, plain = models
    torch.testing.assert_close(method(alone, X, target=1, chunk_size=1), method(plain, X, target=1))


def test_scripts_for_captum(models):
    alone, plain = (FeatureAblation(model) for model in models)
    one = alone.attribute(X[:1], target=1, perturbations_per_eval=1)
    torch.testing.assert_close(one, plain.attribute(X[:1], target=1))
