"""What bad input gets from the methods that draw samples or name a layer, and an untouched model afterwards."""

import copy
import re

import pytest
import torch
from torch import nn

import attrfunc as af

LAYERED = {
    "conductance": {},
    "internal_influence": {},
    "neuron_conductance": {"neuron": 1},
}
every_layered = pytest.mark.parametrize("name", LAYERED)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.relu, self.head, self.spare = nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.Linear(2, 2)
        self.prior = nn.Linear(1, 4)
        self.broken = False

    def forward(self, x):
        if self.broken:
            raise ValueError("broken on purpose")
        return self.head(self.relu(self.relu(self.first(x))) + self.prior(torch.ones(len(x), 1)))


@pytest.fixture
def model():
    """A model that every test has to leave as it was."""
    torch.manual_seed(0)
    model = Small().eval()
    before = copy.deepcopy(model.state_dict())
    yield model
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module.training
        assert all(p.requires_grad and p.grad is None for p in module.parameters())


@pytest.fixture
def x():
    return torch.randn(5, 3)


def raises(*parts, error=af.ArgumentError):
    """The error's message holds every part, in this order."""
    return pytest.raises(error, match=".*".join(re.escape(part) for part in parts))


def layered(name, model, x, **options):
    return getattr(af, name)(model, x, **{**LAYERED[name], "layer": "first", "target": 1, **options})


@every_layered
class TestLayered:
    def test_a_layer_that_is_not_there(self, name, model, x):
        with raises(f"{name}:", "`layer`", "'frist'", "'first'"):
            layered(name, model, x, layer="frist")
        with raises(f"{name}:", "`layer`", "a Linear that is not a part of the model"):
            layered(name, model, x, layer=nn.Linear(3, 3))
        with raises(f"{name}:", "`layer`", "int 3"):
            layered(name, model, x, layer=3)

    def test_a_layer_that_does_not_run(self, name, model, x):
        with raises(f"{name}:", "'spare' does not run", error=af.ModelError):
            layered(name, model, x, layer="spare")

    def test_a_layer_that_runs_twice(self, name, model, x):
        with raises(f"{name}:", "'relu' runs 2 times", "call=0", error=af.ModelError):
            layered(name, model, x, layer="relu")
        for call in (0, 1):
            assert layered(name, model, x, layer="relu", call=call).any()
        with raises(f"{name}:", "call=2 is not among 0 to 1", error=af.ModelError):
            layered(name, model, x, layer="relu", call=2)

    def test_a_layer_that_does_not_depend_on_the_input(self, name, model, x):
        with raises(f"{name}:", "'prior' does not depend on", "Choose a layer behind it", error=af.ModelError):
            layered(name, model, x, layer="prior")
        with raises(f"{name}:", "'first' does not depend on", error=af.ModelError):
            layered(name, af.layer(model, "head"), x, layer="first")

    def test_the_rule(self, name, model, x):
        with raises(f"{name}:", "`n_steps`", "0", "at least 1"):
            layered(name, model, x, n_steps=0)
        with raises(f"{name}:", "`method`", "'simpson'", "gausslegendre"):
            layered(name, model, x, method="simpson")
        with raises(f"{name}:", "`chunk_size`", "0"):
            layered(name, model, x, chunk_size=0)

    def test_integers(self, name, model, x):
        with raises(f"{name}:", "`x`", "torch.int64", "floating-point"):
            layered(name, model, torch.ones(5, 3, dtype=torch.long))

    def test_a_forward_that_raises(self, name, model, x):
        model.broken = True
        with pytest.raises(ValueError, match="broken on purpose"):
            layered(name, model, x)

    def test_a_score_that_is_not_finite(self, name, model, x):
        with raises(f"{name}:", "score is not finite", error=af.ModelError):
            layered(name, model, x, target=lambda output: output[:, 0] * float("inf"))


class TestNeuronConductance:
    def test_no_list_of_layers(self, model, x):
        with raises("neuron_conductance:", "`layer`", "list", "one layer"):
            layered("neuron_conductance", model, x, layer=["first", "head"])

    def test_the_neuron(self, model, x):
        for neuron, part in ((None, "None"), (1.5, "float 1.5"), (9, "(5, 4)"), ((1, 2), "2 index(es)")):
            with raises("neuron_conductance:", "`neuron`", part):
                layered("neuron_conductance", model, x, neuron=neuron)


SAMPLED = {
    "gradient_shap": lambda model, x, **o: af.gradient_shap(model, x, baselines=x, target=1, **o),
    "gradient_shap_gap": lambda model, x, **o: af.gradient_shap_gap(model, x, baselines=x, target=1, **o),
    "smooth(saliency)": lambda model, x, **o: af.smooth(af.saliency, **o)(model, x, target=1),
}


@pytest.mark.parametrize("name", SAMPLED)
class TestSampled:
    @pytest.mark.parametrize("stdev", [-0.1, float("nan"), float("inf"), "much", None, torch.ones(2), [0.1, 0.1]])
    def test_stdev(self, name, stdev, model, x):
        with raises(f"{name}: argument `stdev`", "at least 0", "stdev=0.1"):
            SAMPLED[name](model, x, stdev=stdev)

    def test_stdev_of_wrong_length(self, name, model, x):
        pair = lambda a, b: model(a + b)
        for stdev in ((0.1,), (0.1, 0.1, 0.1), {"a": 0.1}, (0.1, -1)):
            with raises(f"{name}: argument `stdev`", "one for each of the 2 input tensor(s)"):
                SAMPLED[name](pair, (x, x), stdev=stdev)

    def test_noise_on_integers(self, name, model, x):
        view = af.layer(lambda a, b: model(a) * b, model.first)
        with raises(f"{name}: argument `stdev`", "0.1 for", "torch.int64", "0 for inputs that are not floating-point"):
            SAMPLED[name](view, (x, torch.ones(5, 1, dtype=torch.long)), stdev=0.1)
        SAMPLED[name](view, (x, torch.ones(5, 1, dtype=torch.long)), stdev=(0.1, 0))

    @pytest.mark.parametrize("n_samples", [0, -3, 2.5, None])
    def test_n_samples(self, name, n_samples, model, x):
        with raises(f"{name}: argument `n_samples`", "at least 1"):
            SAMPLED[name](model, x, n_samples=n_samples)

    def test_generator_and_chunk_size(self, name, model, x):
        with raises(f"{name}: argument `generator`", "int 0", "torch.Generator"):
            SAMPLED[name](model, x, generator=0)
        with raises(f"{name}: argument `chunk_size`", "at least 1"):
            SAMPLED[name](model, x, chunk_size=0)

    def test_a_forward_that_raises(self, name, model, x):
        model.broken = True
        with pytest.raises(ValueError, match="broken on purpose"):
            SAMPLED[name](model, x)


@pytest.mark.parametrize(
    "method",
    [
        lambda model, x, baselines: af.gradient_shap(model, x, baselines=baselines, target=1),
        lambda model, x, baselines: af.gradient_shap_gap(model, x, baselines=baselines, target=1),
        lambda model, x, baselines: af.smooth(af.ig, baselines=() if baselines is None else baselines)(
            model, x, target=1
        ),
    ],
    ids=["gradient_shap", "gradient_shap_gap", "smooth"],
)
def test_baselines(method, model, x):
    for baselines in (0, x[0], x[:0], x[:, :2], [x], (x, x), lambda x: x[0]):
        with raises("`baselines`", "samples (N, *S) for inputs of shapes (5, 3)", "baseline[None]"):
            method(model, x, baselines)


def test_baselines_missing(model, x):
    with raises("gradient_shap: argument `baselines`", "None", "samples (N, *S)"):
        af.gradient_shap(model, x, baselines=None, target=1)


def test_smooth(model, x):
    with raises("smooth: argument `kind`", "'smooth'", "smoothgrad, smoothgrad_sq, vargrad"):
        af.smooth(af.saliency, kind="smooth")
    with raises("smooth: argument `method`", "int 3", "a callable"):
        af.smooth(3)
    with raises("smooth(<lambda>): argument `method`", "attributions of type str"):
        af.smooth(lambda model, x: "nothing")(model, x)
    with raises("smooth(saliency): argument `target`", "None for an output of shape (5,"):
        af.smooth(af.saliency)(model, x)


def test_gaps_need_examples(x):
    positions = nn.Embedding(3, 4)
    view = af.layer(lambda x: (positions(torch.arange(3)) * x[..., None]).sum((1, 2)), positions)
    found = af.gradient_shap(view, x, baselines=x, n_samples=3)
    assert found.shape == (3, 4)
    with raises("gradient_shap_gap:", "no dimension for the examples", error=af.ModelError):
        af.gradient_shap_gap(view, x, baselines=x)
