"""Guided methods beside Captum: agreement where it sees each ReLU, and the oracle where it does not."""

import captum.attr as captum_attr
import pytest
import torch
from captum_peer import agree, captum_warnings, difference
from torch import nn
from torch.nn import functional as F

import attrfunc as af
import attrfunc.captum.attr as shim_attr

NAMES = ["GuidedBackprop", "Deconvolution"]
every_class = pytest.mark.parametrize("name", NAMES)
pytestmark = pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU", "ignore:Input Tensor . did not")


class Net(nn.Module):
    """A residual network; each ReLU is a module of its own, as Captum needs it."""

    def __init__(self, relu=nn.ReLU):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.first = nn.Conv2d(3, 6, 3, padding=1), relu()
        self.conv, self.second = nn.Conv2d(6, 6, 3, padding=1), relu()
        self.norm, self.pool = nn.BatchNorm2d(6), nn.MaxPool2d(2)
        self.third, self.head = relu(), nn.Linear(6 * 16, 4)
        self.norm.running_mean.normal_(std=0.2)
        self.eval()

    def forward(self, x, scale=1.0):
        x = self.first(self.stem(x))
        x = self.second(self.norm(self.conv(x)) + x)
        return self.head(self.third(self.pool(x) - 0.1).flatten(1)) * scale


class Functional(nn.Module):
    """A function of tensors as a module that Captum does not know."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.fixture
def x():
    return torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@every_class
def test_agreement(name, x):
    for target in (1, [0, 3, 1], torch.tensor([2, 0, 1])):
        for inputs in (x, (x,)):
            ours, theirs = (getattr(m, name)(Net()).attribute(inputs, target) for m in (shim_attr, captum_attr))
            assert type(ours) is type(theirs)
            agree(ours, theirs)
    scaled = [getattr(m, name)(Net()).attribute(x, 1, torch.full((3, 1), -2.0)) for m in (shim_attr, captum_attr)]
    agree(*scaled)


@pytest.mark.parametrize("side", [False, True])
@every_class
def test_agreement_for_neurons(name, side, x):
    for selector in ((2, 3, 4), (slice(0, 2), 3, 4), lambda activation: activation[:, 1].sum((1, 2))):
        results = []
        for module in (shim_attr, captum_attr):
            net = Net()
            explainer = getattr(module, f"Neuron{name}")(net, net.second)
            with captum_warnings():
                results.append(explainer.attribute(x, selector, attribute_to_neuron_input=side))
        agree(*results)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "area"])
@pytest.mark.parametrize("layer", ["conv", "pool"])
@pytest.mark.parametrize("side", [False, True])
def test_agreement_of_guided_grad_cam(layer, side, mode, x):
    results = []
    for module in (shim_attr, captum_attr):
        net = Net()
        explainer = module.GuidedGradCam(net, getattr(net, layer))
        results.append(
            explainer.attribute(x, 2, interpolate_mode=mode, attribute_to_layer_input=side and layer == "pool")
        )
    agree(*results)


@every_class
@pytest.mark.parametrize("form", [F.relu, torch.relu, lambda x: x.clamp(min=0)])
def test_captum_with_a_functional_relu_gives_the_plain_gradient(name, form, x):
    """Silently; ours is what the twin made of modules has."""
    net = Net(lambda: Functional(form))
    theirs = getattr(captum_attr, name)(net).attribute(x, 1)
    agree(af.saliency(net, x, target=1, absolute=False), theirs)
    ours = getattr(shim_attr, name)(net).attribute(x, 1)
    agree(ours, getattr(captum_attr, name)(Net()).attribute(x, 1))
    assert difference(ours, theirs) > 0.1


@every_class
def test_captum_with_gelu_gives_the_plain_gradient(name, x):
    net = Net(nn.GELU)
    theirs = getattr(captum_attr, name)(net).attribute(x, 1)
    agree(af.saliency(net, x, target=1, absolute=False), theirs)
    assert difference(getattr(shim_attr, name)(net).attribute(x, 1), theirs) > 0.1


def test_captum_with_a_relu_that_runs_twice(x):
    """It agrees: hooks see both calls. In place, they may not be there at all."""
    relu = nn.ReLU()
    ours, theirs = (m.GuidedBackprop(Net(lambda: relu)).attribute(x, 1) for m in (shim_attr, captum_attr))
    agree(ours, theirs)
    inplace = Net(lambda: nn.ReLU(inplace=True))
    agree(shim_attr.GuidedBackprop(inplace).attribute(x, 1), theirs)


def test_any_callable(x):
    net = Net()
    with pytest.raises(AssertionError, match=r"nn\.Module"):
        captum_attr.GuidedBackprop(lambda x: net(x))
    agree(shim_attr.GuidedBackprop(lambda x: net(x)).attribute(x, 1), captum_attr.GuidedBackprop(net).attribute(x, 1))


def test_a_map_that_does_not_fit_an_input(x):
    net = Net()

    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x, table):
            return self.net(x) * table

    model, table = Beside(), torch.rand(3, 4)
    with pytest.warns(UserWarning, match=r"GuidedGradCam\.attribute: the map .* does not fit the input \(3, 4\)"):
        assert shim_attr.GuidedGradCam(model, net.conv).attribute((x, table), 1)[1].numel() == 0
    with pytest.warns(UserWarning, match="Couldn't appropriately interpolate"):
        assert captum_attr.GuidedGradCam(model, net.conv).attribute((x, table), 1)[1].numel() == 0
    flat = lambda table: model(x, table)
    with pytest.raises(af.ArgumentError, match=r"GuidedGradCam\.attribute.*`inputs`.*\(3, 4\)"):
        shim_attr.GuidedGradCam(flat, net.conv).attribute(table, 1)
    with pytest.raises(af.ArgumentError, match=r"GuidedGradCam\.attribute.*`interpolate_mode`.*'cubic'"):
        shim_attr.GuidedGradCam(net, net.conv).attribute(x, 1, interpolate_mode="cubic")
