"""Models that are unusual in one way: right, or refused in words that lead to what works."""

import re

import pytest
import torch
from torch import nn

import attrfunc as af


def refused(*parts, error=af.ModelError):
    """The error's message holds every part, in this order."""
    return pytest.raises(error, match=".*".join(re.escape(part) for part in parts))


class Built(nn.Module):
    """Makes a layer when it first runs."""

    def forward(self, x):
        if not hasattr(self, "layer"):
            self.layer = nn.Linear(4, 3).to(x.dtype)
            with torch.no_grad():
                self.layer.weight.copy_(torch.arange(12.0).view(3, 4).sin())
                self.layer.bias.zero_()
        return self.layer(x).relu()


X = torch.linspace(-1, 2, 12, dtype=torch.float64).view(3, 4)


@pytest.mark.parametrize("method", [af.lrp, af.deep_lift, af.ig, af.feature_ablation])
def test_layers_that_forward_makes(method):
    built, model = Built(), Built().eval()
    built(X)
    torch.testing.assert_close(method(model, X, target=1), method(built.eval(), X, target=1))
    assert not hasattr(model, "layer")


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.layers(x)


def test_mixed_precision():
    torch.manual_seed(0)
    model, x = Mixed().eval(), X.float()
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)
    torch.testing.assert_close(af.saliency(model, x, target=1, absolute=False), slope)
    torch.testing.assert_close(af.input_x_gradient(model, x, target=1), x * slope)
    for method in (
        af.lrp,
        af.deep_lift,
        lambda *args, **kwargs: af.lrp(*args, rules=af.rules.epsilon_plus(), **kwargs),
    ):
        plain, mixed = method(model.layers, x, target=1), method(model, x, target=1)
        torch.testing.assert_close(mixed, plain, rtol=0.1, atol=0.02)


class Force(nn.Module):
    """Gives the slope of an energy, as models of molecules do."""

    def __init__(self):
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)).double()

    def forward(self, x):
        x = x if x.requires_grad else x.requires_grad_()
        return torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)[0]


class Enabled(Force):
    def forward(self, x):
        with torch.enable_grad():
            return super().forward(x)


def test_models_that_take_gradients():
    torch.manual_seed(0)
    for method in (af.ig, af.feature_ablation):
        with refused(f"{method.__name__}:", "takes a gradient itself", "torch.enable_grad()"):
            method(Force().eval(), X, target=1)
    model = Enabled().eval()
    change = (model(X) - model(X * 0))[:, 1].detach()
    for found in (af.ig(model, X, target=1), af.shapley_values(model, X, target=1)):
        torch.testing.assert_close(found.sum(1), change)


def test_windows_over_nodes():
    edges = torch.tensor([[0, 1, 2], [1, 2, 0]])
    graph = lambda x, e: torch.zeros_like(x).index_add(0, e[1], x[e[0]]).tanh().sum(1)
    with (
        refused("occlusion:", "depend on each other", "feature_ablation"),
        pytest.warns(UserWarning, match="occlusion: the score of an example depends on the batch"),
    ):
        af.occlusion(graph, X, window=1, args=(edges,))


def test_batch_scores_keep_their_digits():
    """Python's numbers are in double precision, whatever the model's is."""
    weights = torch.tensor([1.0, 2.0, 4.0])
    score = af.batch_score(lambda output: 2.0**40 + output.sum().item())
    found = af.feature_ablation(lambda x: x.float() @ weights, torch.ones(2, 3, dtype=torch.int64), target=score)
    assert found.tolist() == [[2.0, 4.0, 8.0]]


def test_inputs_that_are_not_attributed():
    with refused("`x`", "torch.int64", error=af.ArgumentError):
        af.ig(lambda x, n: (x * n[:, None]).sum(1), (X, torch.arange(3)))
    assert af.ig(lambda x, n: (x * n[:, None]).sum(1), X, args=(torch.arange(3),)).shape == X.shape


def test_operations_in_place_that_name_their_input():
    class Named(nn.Module):
        def forward(self, x):
            return nn.functional.relu(inplace=True, input=x * 2)

    for method in (af.lrp, af.deep_lift):
        torch.testing.assert_close(method(Named(), X, target=1), method(lambda x: (x * 2).relu(), X, target=1))
