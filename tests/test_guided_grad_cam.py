"""Guided Grad-CAM: the paper's product written out, and what it says where map and input do not fit."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import attrfunc as af
from oracle_net import DOUBLE, drawn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.conv2 = nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.Conv2d(4, 5, 3, padding=1)
        self.head = nn.Linear(5 * 16, 3)
        self.double().eval()

    def forward(self, x):
        return self.head(F.relu(self.conv2(torch.relu(self.conv1(x)))).flatten(1))


@pytest.fixture
def net():
    return Net()


@pytest.fixture
def x():
    return drawn(1, 3, 2, 8, 8)


def by_hand(net, one, target):
    """One example: positions one by one."""
    hidden = net.conv1(one[None]).detach()
    activation = net.conv2(hidden.relu()).detach().requires_grad_()
    weight = net.head.weight[target].detach().view(1, 5, 4, 4)
    gradient = weight * (activation > 0)  # of the score at the second convolution
    heat = torch.zeros(4, 4, dtype=DOUBLE)
    for channel in range(5):
        heat += gradient[0, channel].mean() * activation[0, channel].detach()
    heat = heat.clamp(min=0)

    back = weight * (activation > 0) * (weight > 0)
    back = F.conv_transpose2d(back, net.conv2.weight.detach(), padding=1)
    back = back * (hidden > 0) * (back > 0)
    back = F.conv_transpose2d(back, net.conv1.weight.detach(), stride=2, padding=1, output_padding=1)[0]
    out = torch.zeros_like(one)
    for row in range(8):
        for column in range(8):
            out[:, row, column] = back[:, row, column] * heat[row // 2, column // 2]
    return out


def test_the_product_by_hand(net, x):
    targets = [2, 0, 1]
    found = af.guided_grad_cam(net, x, layer="conv2", target=targets)
    for one, target, picture in zip(x, targets, found, strict=True):
        torch.testing.assert_close(picture, by_hand(net, one, target))
    assert found.abs().sum() > 0


def test_a_list_of_layers(net, x):
    both = af.guided_grad_cam(net, x, layer=["conv1", "conv2"], target=1)
    for layer, found in zip(("conv1", "conv2"), both, strict=True):
        torch.testing.assert_close(found, af.guided_grad_cam(net, x, layer=layer, target=1))


def test_options(net, x):
    heat = af.grad_cam(net, x, layer="conv2", side="input", target=1, relu=True)
    detail = af.guided_backprop(net, x, target=1)
    found = af.guided_grad_cam(net, x, layer="conv2", side="input", target=1, interpolate_mode="bilinear")
    torch.testing.assert_close(found, detail * F.interpolate(heat, (8, 8), mode="bilinear"))
    straight = lambda operation: (operation.value(), lambda gradient: [gradient])
    found = af.guided_grad_cam(net, x, layer="conv2", target=1, rules={"relu": straight})
    map_ = af.viz.interpolate(af.grad_cam(net, x, layer="conv2", target=1, relu=True), 8)
    torch.testing.assert_close(found, map_ * af.guided_backprop(net, x, target=1, rules={"relu": straight}))


def test_several_inputs_of_other_sizes(net, x):
    model, inputs = lambda a, b: net(a) + net(F.avg_pool2d(b, 2)), (x, drawn(2, 3, 2, 16, 16))
    with pytest.raises(af.ModelError, match="runs 2 times"):
        af.guided_grad_cam(model, inputs, layer=net.conv2, target=1)
    found = af.guided_grad_cam(model, inputs, layer=net.conv2, call=0, target=1)
    heat = af.grad_cam(model, inputs, layer=net.conv2, call=0, target=1, relu=True)
    for one, leaf, detail in zip(found, inputs, af.guided_backprop(model, inputs, target=1), strict=True):
        torch.testing.assert_close(one, detail * F.interpolate(heat, leaf.shape[2:]))
        assert one.shape == leaf.shape


def test_a_vision_transformer():
    from zoo import CASES

    case = next(case for case in CASES if case.name == "vit")
    model, x = case.make(DOUBLE), case.inputs.double()
    found = af.guided_grad_cam(model, x, layer="model.vit.embeddings", target=1, reshape=af.viz.tokens_to_grid())
    assert found.shape == x.shape
    assert found.any()


class TestErrors:
    def test_a_view_of_a_layer(self, net, x):
        with pytest.raises(af.ArgumentError, match=r"grad_cam.*`model`.*a view of layer 'conv2'"):
            af.guided_grad_cam(af.layer(net, "conv2"), x, layer="conv1", target=1)

    def test_a_mode_that_is_not_there(self, net, x):
        with pytest.raises(af.ArgumentError, match=r"guided_grad_cam: argument `interpolate_mode`.*'trilinear'"):
            af.guided_grad_cam(net, x, layer="conv2", target=1, interpolate_mode="trilinear")

    def test_an_input_without_positions(self, net, x):
        model = lambda x, y: net(x) * y
        with pytest.raises(af.ArgumentError, match=r"guided_grad_cam: argument `x`.*\(3, 3\).*2 dimension"):
            af.guided_grad_cam(model, (x, drawn(2, 3, 3)), layer=net.conv2, target=1)

    def test_a_dense_layer(self):
        model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)).double()
        with pytest.raises(af.ArgumentError, match=r"guided_grad_cam: argument `x`.*\(3, 4\)"):
            af.guided_grad_cam(model, drawn(1, 3, 4), layer="1", target=1)

    def test_a_layer_that_is_not_there(self, net, x):
        with pytest.raises(af.ArgumentError, match=r"`layer`.*'conv9'"):
            af.guided_grad_cam(net, x, layer="conv9", target=1)
