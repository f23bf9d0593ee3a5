"""Where the shim differs from Captum on purpose: Captum's answer is pinned, and ours is checked to be right."""

import captum.attr as captum_attr
import pytest
import torch
from captum_peer import agree, captum_warnings, difference
from torch import nn

import attrfunc as af
import attrfunc.captum.attr as shim_attr


class Skip(nn.Module):
    """A block with a connection around it."""

    def __init__(self):
        super().__init__()
        self.embed, self.block, self.head = nn.Linear(5, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        x = self.embed(x).tanh()
        return self.head(x + self.block(x).tanh())


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Skip().eval()


@pytest.fixture
def x():
    return torch.randn(3, 5, generator=torch.Generator().manual_seed(1))


def test_trapezoid_weights_sum_to_one(x):
    linear, steps = nn.Linear(5, 2), 10
    right = x * linear.weight[1].detach()
    options = {"target": 1, "n_steps": steps, "method": "riemann_trapezoid"}
    agree(shim_attr.IntegratedGradients(linear).attribute(x, **options), right)
    agree(
        shim_attr.LayerIntegratedGradients(linear, linear).attribute(x, **options),
        (linear(x) - linear.bias).detach() * torch.tensor([0.0, 1.0]),
    )
    theirs = captum_attr.IntegratedGradients(linear).attribute(x, **options)
    agree(theirs.detach(), right * (steps - 1) / steps)


def test_the_delta_of_a_layer_leaves_out_what_bypasses_it(model, x):
    options = {"target": 1, "n_steps": 50, "return_convergence_delta": True}
    ours, delta = shim_attr.LayerIntegratedGradients(model, model.block).attribute(x, **options)
    theirs, whole = captum_attr.LayerIntegratedGradients(model, model.block).attribute(x, **options)
    agree(ours, theirs)
    assert delta.abs().max() < 1e-6
    assert whole.abs().max() > 0.1
    explained = ours.sum(1) - delta
    assert torch.allclose(explained, af.score_change(af.layer(model, model.block), x, target=1))


def test_the_input_of_a_layer_is_what_goes_into_it(model, x):
    hidden = model.embed(x).tanh().detach().requires_grad_()
    model.head(hidden.detach() + model.block(hidden).tanh())[:, 1].sum().backward()
    options = {"target": 1, "attribute_to_layer_input": True}
    ours = shim_attr.LayerGradientXActivation(model, model.block).attribute(x, **options)
    agree(ours, hidden.detach() * hidden.grad)
    with captum_warnings():
        theirs = captum_attr.LayerGradientXActivation(model, model.block).attribute(x, **options)
    assert difference(ours, theirs) > 0.1  # Captum adds what flows around the layer.


def test_one_layer_of_a_list_feeds_another(model, x):
    layers = [model.block, model.head]
    with pytest.raises(af.ModelError, match="depends on another layer"):
        shim_attr.LayerIntegratedGradients(model, layers).attribute(x, target=1)
    with captum_warnings(), pytest.raises(RuntimeError, match="not have been used"):
        captum_attr.LayerIntegratedGradients(model, layers).attribute(x, target=1)


def test_a_layer_that_runs_twice(x):
    encoder = nn.Linear(5, 4)
    model = lambda left, right: (encoder(left) * encoder(right).tanh()).sum(1)
    with pytest.raises(af.ModelError, match="runs 2 times"):
        shim_attr.LayerActivation(model, encoder).attribute((x, x + 1))
    theirs = captum_attr.LayerActivation(model, encoder).attribute((x, x + 1))
    assert torch.equal(theirs, encoder(x + 1))  # the last of the two, silently


def test_an_input_that_is_not_used_gets_zeros(x):
    model = lambda used, unused: used.square().sum(1)
    used, unused = shim_attr.IntegratedGradients(model).attribute((x, x + 1))
    assert torch.allclose(used, x.square())
    assert not unused.any()
    with captum_warnings(), pytest.raises(RuntimeError, match="not have been used"):
        captum_attr.IntegratedGradients(model).attribute((x, x + 1))


def test_an_argument_without_batch_dimension_is_passed_on(x):
    scale = torch.linspace(1, 2, 5)
    model = lambda x, scale: (x.square() * scale).sum(1)
    agree(shim_attr.IntegratedGradients(model).attribute(x, additional_forward_args=scale), x.square() * scale)
    with pytest.raises(RuntimeError):
        captum_attr.IntegratedGradients(model).attribute(x, additional_forward_args=scale)


def test_no_graph_to_inputs(model, x):
    x.requires_grad_()
    for name in ("IntegratedGradients", "InputXGradient", "Saliency"):
        assert not getattr(shim_attr, name)(model).attribute(x, target=1).requires_grad
    for name in ("LayerIntegratedGradients", "LayerGradientXActivation"):
        assert not getattr(shim_attr, name)(model, model.block).attribute(x, target=1).requires_grad
    assert not shim_attr.LayerActivation(model, model.block).attribute(x).requires_grad
    assert x.grad is None
    assert captum_attr.IntegratedGradients(model).attribute(x, target=1).requires_grad
