"""What scripts written for Captum do with conductance, internal influence, gradient SHAP and noise tunnels."""

import pytest
import torch
from torch import nn

import attrfunc as af
from attrfunc.captum.attr import (
    GradientShap,
    IntegratedGradients,
    InternalInfluence,
    LayerConductance,
    LayerGradientShap,
    LayerIntegratedGradients,
    NeuronConductance,
    NeuronGradientShap,
    NoiseTunnel,
    Saliency,
)
from zoo import CASES

ZOO = {case.name: case for case in CASES}


class Titanic(nn.Module):
    """As in the tutorial on tables: two hidden layers and probabilities."""

    def __init__(self):
        super().__init__()
        self.linear1, self.sigmoid1 = nn.Linear(6, 12), nn.Sigmoid()
        self.linear2, self.sigmoid2 = nn.Linear(12, 8), nn.Sigmoid()
        self.linear3, self.softmax = nn.Linear(8, 2), nn.Softmax(dim=1)

    def forward(self, x):
        hidden = self.sigmoid1(self.linear1(x))
        return self.softmax(self.linear3(self.sigmoid2(self.linear2(hidden))))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Titanic().eval()


@pytest.fixture
def x():
    return torch.randn(7, 6, generator=torch.Generator().manual_seed(1))


def test_table(model, x):
    conductance = LayerConductance(model, model.sigmoid1).attribute(x, target=1)
    assert conductance.shape == (7, 12)
    units = conductance.mean(0).abs().argsort()
    through = [NeuronConductance(model, model.sigmoid1).attribute(x, neuron_selector=int(i), target=1) for i in units]
    change = model(x)[:, 1] - model(0 * x)[:, 1]
    for i, inputs in zip(units, through, strict=True):
        assert torch.allclose(inputs.sum(1), conductance[:, i], atol=1e-4)
    assert torch.allclose(sum(through).sum(1), change.detach(), atol=1e-4)
    influence = InternalInfluence(model, model.sigmoid1).attribute(x, target=1, n_steps=20, internal_batch_size=30)
    assert influence.shape == (7, 12)


def test_images():
    """As in the tutorial on images: a smoothed map, then gradient SHAP between black and white."""
    case = ZOO["residual_cnn"]
    model, image = case.make(), case.inputs[:1]
    torch.manual_seed(0)
    tunnel = NoiseTunnel(IntegratedGradients(model))
    smoothed = tunnel.attribute(image, nt_samples=4, nt_type="smoothgrad_sq", target=1)
    assert smoothed.shape == image.shape
    assert smoothed.min() >= 0
    torch.manual_seed(0)
    background = torch.cat([image * 0, image * 0 + 1])
    options = {"n_samples": 20, "stdevs": 0.0001, "baselines": background, "target": 1}
    first = GradientShap(model).attribute(image, **options)
    torch.manual_seed(0)
    again, delta = GradientShap(model).attribute(image, return_convergence_delta=True, **options)
    assert torch.equal(first, again)
    assert delta.shape == (20,)
    layers = LayerGradientShap(model, model.pool).attribute(image, **options)
    assert layers.shape == (1, 6, 2, 2)
    neuron = NeuronGradientShap(model, model.pool).attribute(image, (2, 1, 1), background)
    assert neuron.shape == image.shape


def test_words_through_a_tunnel():
    """Noise has no meaning for ids, and says so; on embeddings as the inputs it has."""
    case = ZOO["bert"]
    model = case.make()
    tunnel = NoiseTunnel(LayerIntegratedGradients(model, model.model.bert.embeddings))
    options = {"additional_forward_args": case.args, "target": 2, "n_steps": 2}
    with pytest.raises(af.ArgumentError, match=r"^NoiseTunnel\.attribute: argument `stdevs`.*embeddings"):
        tunnel.attribute(case.inputs, stdevs=0.1, **options)
    plain = LayerIntegratedGradients(model, model.model.bert.embeddings).attribute(case.inputs, **options)
    assert torch.allclose(tunnel.attribute(case.inputs, stdevs=0.0, **options), plain, atol=1e-6)


def test_errors_have_the_names_of_the_class(model, x):
    tunnel, shap = NoiseTunnel(IntegratedGradients(model)), GradientShap(model)
    around = NoiseTunnel(shap)
    for function, arguments, name, argument in [
        (tunnel.attribute, {"nt_type": "mean"}, "NoiseTunnel", "nt_type"),
        (tunnel.attribute, {"nt_samples": 0}, "NoiseTunnel", "nt_samples"),
        (tunnel.attribute, {"nt_samples_batch_size": 0}, "NoiseTunnel", "nt_samples_batch_size"),
        (tunnel.attribute, {"stdevs": -1.0}, "NoiseTunnel", "stdevs"),
        (tunnel.attribute, {"stdevs": (0.1, 0.2)}, "NoiseTunnel", "stdevs"),
        (tunnel.attribute, {"baselines": torch.zeros(3, 6)}, "NoiseTunnel|IntegratedGradients", "baselines"),
        (
            tunnel.attribute,
            {"baselines": 0.5, "draw_baseline_from_distrib": True},
            "NoiseTunnel",
            "baselines",
        ),
        (tunnel.attribute, {"n_steps": 0}, "IntegratedGradients", "n_steps"),
        (tunnel.attribute, {"internal_batch_size": 0}, "IntegratedGradients", "internal_batch_size"),
        (around.attribute, {"baselines": x, "n_samples": 0}, "GradientShap", "n_samples"),
        (shap.attribute, {"baselines": x, "n_samples": 0}, "GradientShap", "n_samples"),
        (shap.attribute, {"baselines": x, "stdevs": "much"}, "GradientShap", "stdevs"),
        (shap.attribute, {"baselines": torch.zeros(6)}, "GradientShap", "baselines"),
        (shap.attribute, {"baselines": 0.5}, "GradientShap", "baselines"),
        (LayerConductance(model, [model.linear1]).attribute, {}, "LayerConductance", "layer"),
        (LayerConductance(model, model.linear1).attribute, {"n_steps": 0}, "LayerConductance", "n_steps"),
        (
            LayerConductance(model, model.linear1).attribute,
            {"grad_kwargs": {"create_graph": True}},
            "LayerConductance",
            "grad_kwargs",
        ),
        (InternalInfluence(model, [model.linear1]).attribute, {}, "InternalInfluence", "layer"),
        (
            NeuronConductance(model, model.linear1).attribute,
            {"neuron_selector": 12},
            "NeuronConductance",
            "neuron_selector",
        ),
    ]:
        with pytest.raises(af.ArgumentError, match=rf"^({name})\.attribute: argument `{argument}`: got ") as caught:
            function(x, target=1, **arguments)
        assert not any(f" {own}=" in str(caught.value) for own in ("stdev", "chunk_size", "kind"))


@pytest.mark.parametrize("target", [2, None, [0, 1], torch.tensor([0, 1, 2, 0, 0, 0, 0])], ids=str)
def test_targets(model, x, target):
    for explainer, options in [
        (GradientShap(model), {"baselines": x}),
        (LayerConductance(model, model.linear1), {}),
        (NeuronConductance(model, model.linear1), {"neuron_selector": 0}),
        (InternalInfluence(model, model.linear1), {}),
        (NoiseTunnel(Saliency(model)), {}),
    ]:
        with pytest.raises(af.ArgumentError, match=r"\.attribute: argument `target`: got "):
            explainer.attribute(x, target=target, **options)


def test_nothing_is_left_after_an_exception(model, x):
    def explode(*_):
        raise RuntimeError("boom")

    handle = model.softmax.register_forward_hook(explode)
    count = lambda: [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    before = count()
    for explainer, options in [
        (GradientShap(model), {"baselines": x}),
        (LayerGradientShap(model, model.linear1), {"baselines": x}),
        (LayerConductance(model, model.linear1), {}),
        (InternalInfluence(model, model.linear1), {}),
        (NeuronConductance(model, model.linear1), {"neuron_selector": 0}),
        (NoiseTunnel(LayerConductance(model, model.linear1)), {}),
    ]:
        with pytest.raises(RuntimeError, match="boom"):
            explainer.attribute(x, target=1, **options)
        assert count() == before
    handle.remove()
    assert torch.is_grad_enabled()
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_no_graph(model, x):
    x.requires_grad_()
    for explainer, options in [
        (GradientShap(model), {"baselines": x}),
        (LayerGradientShap(model, model.linear1), {"baselines": x}),
        (LayerConductance(model, model.linear1), {}),
        (InternalInfluence(model, model.linear1), {}),
        (NeuronConductance(model, model.linear1), {"neuron_selector": 0}),
        (NoiseTunnel(Saliency(model)), {}),
    ]:
        assert not explainer.attribute(x, target=1, **options).requires_grad
    assert x.grad is None
