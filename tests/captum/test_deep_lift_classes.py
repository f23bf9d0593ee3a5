"""DeepLIFT beside Captum's and tangermeme's, where these are right: ReLU networks of modules, each run once."""

import warnings

import captum.attr as peer
import pytest
import torch
from torch import nn

import attrfunc as af
from attrfunc.captum import attr as shim
from oracle_net import drawn

pytestmark = pytest.mark.filterwarnings(
    "ignore:Setting forward, backward hooks",
    "ignore:Input Tensor 0 did not already",
    "ignore:Using a non-full backward",
)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.relu1, self.pool = nn.Conv1d(2, 4, 3), nn.ReLU(), nn.AvgPool1d(2)
        self.fc, self.relu2, self.head = nn.Linear(16, 6), nn.Tanh(), nn.Linear(6, 3)

    def forward(self, x, shift=None):
        x = x if shift is None else x + shift
        return self.head(self.relu2(self.fc(self.pool(self.relu1(self.conv(x))).flatten(1))))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().eval()


X, BASELINE, SAMPLES = (drawn(seed, rows, 2, 10).float() for seed, rows in ((1, 4), (2, 4), (3, 6)))
TARGET = torch.tensor([0, 2, 1, 0])


def both(name, *init, **call):
    found = []
    for module in (shim, peer):
        torch.manual_seed(0)
        found.append(getattr(module, name)(*init).attribute(X.clone(), **call))
    return found


def same(found):
    ours, theirs = found
    if isinstance(ours, tuple):
        assert len(ours) == len(theirs)
        for pair in zip(ours, theirs, strict=True):
            same(pair)
        return
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("multiply", [True, False])
def test_deep_lift(net, multiply):
    call = {"baselines": BASELINE, "target": TARGET}
    same(both("DeepLift", net, multiply, **call))
    same(both("DeepLift", net, **call, additional_forward_args=0.1, return_convergence_delta=True))
    same(both("DeepLift", net, target=1))


def test_deep_lift_with_a_function_of_the_users(net):
    squared = lambda multipliers, inputs, baselines: tuple(
        m * (x - b).square() for m, x, b in zip(multipliers, inputs, baselines, strict=True)
    )
    alone = lambda multipliers: tuple(m.abs() for m in multipliers)
    scaled = lambda multipliers, inputs: tuple(m * x for m, x in zip(multipliers, inputs, strict=True))
    for function in (squared, alone, scaled):
        same(both("DeepLift", net, baselines=BASELINE, target=1, custom_attribution_func=function))
        same(both("DeepLiftShap", net, baselines=SAMPLES, target=1, custom_attribution_func=function))
        same(both("LayerDeepLift", net, net.fc, baselines=BASELINE, target=1, custom_attribution_func=function))


@pytest.mark.parametrize("multiply", [True, False])
def test_deep_lift_shap(net, multiply):
    same(both("DeepLiftShap", net, multiply, baselines=SAMPLES, target=TARGET))
    same(both("DeepLiftShap", net, baselines=SAMPLES, target=TARGET, return_convergence_delta=True))


@pytest.mark.parametrize("of_input", [True, False])
def test_layers(net, of_input):
    call = {"attribute_to_layer_input": of_input, "target": TARGET, "return_convergence_delta": True}
    for layer in (net.conv, net.fc):
        same(both("LayerDeepLift", net, layer, baselines=BASELINE, **call))
        same(both("LayerDeepLiftShap", net, layer, baselines=SAMPLES, **call))


def test_neurons(net):
    same(both("NeuronDeepLift", net, net.fc, neuron_selector=3, baselines=BASELINE))
    same(both("NeuronDeepLiftShap", net, net.fc, neuron_selector=3, baselines=SAMPLES))
    same(both("NeuronDeepLift", net, net.conv, neuron_selector=(1, 2), baselines=BASELINE))


def test_captums_softmax_depends_on_the_batch():
    """Its attributions of an example change with the others; here they do not, and Captum's miss the score's change."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.Softmax(1))
    x, baseline = drawn(1, 4, 5).float(), drawn(2, 4, 5).float()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole, delta = peer.DeepLift(model).attribute(x, baseline, target=1, return_convergence_delta=True)
        alone = peer.DeepLift(model).attribute(x[:1], baseline[:1], target=1)
    assert not torch.allclose(whole[:1], alone, rtol=1e-2)
    assert delta.abs().max() > 1e-3
    found = af.deep_lift(model, x, baseline=baseline, target=1)
    torch.testing.assert_close(found[:1], af.deep_lift(model, x[:1], baseline=baseline[:1], target=1))
    assert af.completeness_gap(model, x, found, baseline=baseline, target=1).abs().max() < 1e-6


def test_captum_is_silently_inexact_with_functional_relu():
    class Functional(Net):
        def forward(self, x):
            hidden = self.pool(torch.relu(self.conv(x)))
            return self.head(torch.tanh(self.fc(hidden.flatten(1))))

    torch.manual_seed(0)
    model = Functional().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, delta = peer.DeepLift(model).attribute(X, BASELINE, target=1, return_convergence_delta=True)
    assert delta.abs().max() > 1e-2
    _, delta = shim.DeepLift(model).attribute(X, BASELINE, target=1, return_convergence_delta=True)
    assert delta.abs().max() < 1e-6


def test_tangermeme():
    """Sequences of one-hot letters, with as many baselines for each."""
    from tangermeme.deep_lift_shap import deep_lift_shap

    torch.manual_seed(0)
    layers = [nn.Conv1d(4, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5), nn.ReLU(), nn.Linear(5, 2)]
    model = nn.Sequential(*layers)
    letters = nn.functional.one_hot(torch.randint(4, (3, 10)), 4).mT.float()
    baselines = nn.functional.one_hot(torch.randint(4, (6, 10)), 4).mT.float()
    theirs = deep_lift_shap(
        model, letters, target=1, references=baselines.expand(3, 6, 4, 10), device="cpu", hypothetical=False
    )
    ours = af.deep_lift_shap(model, letters, baselines=baselines, target=1)
    # Theirs puts the whole difference between the letters of a place on the one that stands there.
    torch.testing.assert_close(ours.sum(1, keepdim=True) * letters, theirs.detach(), rtol=1e-4, atol=1e-6)
