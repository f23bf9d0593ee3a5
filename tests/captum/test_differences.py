"""Where the shim differs from Captum on purpose: Captum's answer is pinned, and ours is checked to be right."""

import captum.attr as captum_attr
import numpy as np
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


def test_the_delta_of_conductance_is_that_of_the_whole_score(model, x):
    """As in Captum: what bypasses the layer is in it."""
    options = {"target": 1, "n_steps": 400, "return_convergence_delta": True}
    for part in (model.embed, model.block):
        ours, delta = shim_attr.LayerConductance(model, part).attribute(x, **options)
        assert torch.allclose(delta, ours.sum(1) - af.score_change(model, x, target=1), atol=1e-6)
        _, theirs = captum_attr.LayerConductance(model, part).attribute(x, **options)
        assert (delta - theirs).abs().max() < 0.02
    assert delta.abs().max() > 0.1
    through = shim_attr.LayerConductance(model, model.embed).attribute(x, **options)[1]
    assert through.abs().max() < 1e-5


def test_conductance_accounts_for_the_ends_of_the_path(x):
    model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 2))
    right = (x @ model[0].weight.T * model[1].weight[1]).detach()
    options = {"target": 1, "n_steps": 3}
    agree(shim_attr.LayerConductance(model, model[0]).attribute(x, **options), right)
    theirs = captum_attr.LayerConductance(model, model[0]).attribute(x, **options)
    first, last = torch.tensor(af.core.loops.quadrature.quadrature("gausslegendre", 4)[0])[[0, -1]]
    agree(theirs.detach(), right * (last - first))


def test_conductance_of_a_group_of_neurons_is_the_sum_of_theirs(model, x):
    options = {"target": 1, "method": "riemann_middle"}
    ours = shim_attr.NeuronConductance(model, model.block)
    single = [ours.attribute(x, i, **options) for i in (0, 1)]
    for selector in ((slice(0, 2),), lambda activation: activation[:, :2].sum(1)):
        agree(ours.attribute(x, selector, **options), single[0] + single[1])
        with captum_warnings():
            theirs = captum_attr.NeuronConductance(model, model.block).attribute(x, selector, **options)
        assert difference(single[0] + single[1], theirs) > 0.1  # Captum multiplies the sums of both gradients.


def test_the_default_rule_of_neuron_conductance(model, x):
    """It is the trapezoid."""
    ours, theirs = (
        module.NeuronConductance(model, model.block).attribute(x, 1, target=1, n_steps=10)
        for module in (shim_attr, captum_attr)
    )
    agree(ours * 9 / 10, theirs)


def test_gradient_shap_of_a_layer_takes_points_between_its_activations(x):
    """So it is complete on average. Captum takes gradients between the inputs, times the activation's change."""
    torch.manual_seed(0)
    np.random.seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.Sigmoid(), nn.Linear(4, 4), nn.Softmax(1))
    model[2].weight.data *= 10
    x = 5 * x
    many, options = x[:1].repeat(1000, 1), {"target": 1, "n_samples": 50}
    right = af.ig(af.layer(model, "1"), x[:1], target=1)
    ours, theirs = (
        module.LayerGradientShap(model, model[1]).attribute(many, torch.zeros(1, 5), **options).detach()
        for module in (shim_attr, captum_attr)
    )
    assert (ours.mean(0) - right[0]).abs().max() < 1e-3 * right.abs().max()
    assert (theirs.mean(0) - right[0]).abs().max() > 0.01 * right.abs().max()


def test_deltas_of_a_noise_tunnel_stand_example_by_example(x):
    """Captum puts them batch by batch, and in each example by example."""
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))
    options = {"target": 1, "n_steps": 2, "method": "riemann_left", "stdevs": 0.0}
    options |= {"nt_samples": 4, "nt_samples_batch_size": 2}
    ours, theirs = (
        module.NoiseTunnel(module.IntegratedGradients(model)).attribute(x, return_convergence_delta=True, **options)[1]
        for module in (shim_attr, captum_attr)
    )
    agree(ours.view(3, 2, 2).transpose(0, 1).flatten(), theirs)
    assert ours.view(3, 4).std(1).max() < 1e-6 < 1e-3 < theirs.view(3, 4).std(1).max()


def test_a_tunnel_leaves_a_distribution_of_baselines_to_its_method(x):
    model, background = nn.Linear(5, 2), torch.randn(7, 5)
    found = shim_attr.NoiseTunnel(shim_attr.GradientShap(model)).attribute(x, baselines=background, target=1)
    assert found.shape == x.shape
    with pytest.raises(AssertionError, match="Baseline"):
        captum_attr.NoiseTunnel(captum_attr.GradientShap(model)).attribute(x, baselines=background, target=1)


def test_gradient_shap_without_the_factor_of_the_inputs_has_the_delta_of_its_paths(model, x):
    options = {"baselines": x[:1], "target": 1, "return_convergence_delta": True}
    deltas = []
    for multiply in (True, False):
        torch.manual_seed(0)
        deltas.append(shim_attr.GradientShap(model, multiply_by_inputs=multiply).attribute(x, **options)[1])
    assert torch.equal(*deltas)
