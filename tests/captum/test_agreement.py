"""Every class gives Captum's numbers, and Captum's nesting, on every model of the zoo."""

import pytest
from captum_peer import agree, both, kinds
from torch.utils import _pytree as pytree

from zoo import CASES

STEPS = 20
INPUT = [case for case in CASES if case.differentiable]
OUTPUTS = [pytest.param(case, name, False, id=f"{case}-{name}") for case in CASES for name in case.layers]
ENTRIES = [pytest.param(case, name, True, id=f"{case}-{name}-input") for case in CASES for name in case.entries]
NEURONS = [case for case in INPUT if case.neuron]
JOINT = [case for case in CASES if case.parallel]
FLOWS = [pytest.param(c.values[0], *c.values[1:], id=c.id) for c in OUTPUTS + ENTRIES if c.values[0].differentiable]
# Of a group of neurons Captum multiplies the sums of both gradients, so single ones are compared.
SINGLE = {
    "residual_cnn": (2, 3, 5),
    "several_inputs": 0,
    "tuple_layer": lambda activation: activation[0][:, 1],
}
RULES = ["gausslegendre", "riemann_left", "riemann_middle", "riemann_right"]
# What does not depend on the network is tried on one of one tensor, and on one of several inputs or outputs.
ZOO = {case.name: case for case in CASES}
PLAIN, TWO_INPUTS, TWO_OUTPUTS = ZOO["mlp"], ZOO["several_inputs"], ZOO["tuple_layer"]
few = pytest.mark.parametrize("case", [PLAIN, TWO_INPUTS], ids=str)


@pytest.mark.parametrize("case", INPUT, ids=str)
class TestInput:
    def test_integrated_gradients(self, case):
        agree(*both("IntegratedGradients", case, target=case.target, n_steps=STEPS))

    def test_convergence_delta(self, case):
        options = {"target": case.target, "n_steps": 2, "method": "riemann_left", "return_convergence_delta": True}
        ours, theirs = both("IntegratedGradients", case, **options)
        assert len(ours) == 2
        agree(ours, theirs)

    def test_saliency(self, case):
        agree(*both("Saliency", case, target=case.target, abs=False))

    def test_input_x_gradient(self, case):
        agree(*both("InputXGradient", case, target=case.target))


@few
class TestOptionsAtTheInput:
    @pytest.mark.parametrize("method", RULES[1:])
    def test_rules(self, case, method):
        agree(*both("IntegratedGradients", case, target=case.target, n_steps=STEPS, method=method))

    @pytest.mark.parametrize("batch", [1, 7, 1000])
    def test_internal_batch_size(self, case, batch):
        options = {"target": case.target, "n_steps": STEPS, "internal_batch_size": batch}
        agree(*both("IntegratedGradients", case, **options))

    def test_average_gradient(self, case):
        agree(*both("IntegratedGradients", case, init={"multiply_by_inputs": False}, target=case.target))

    def test_absolute_gradients(self, case):
        agree(*both("Saliency", case, target=case.target, abs=True))


# Captum takes no dict; ours mirrors it.
@pytest.mark.parametrize("case", [case for case in INPUT if not isinstance(case.inputs, dict)], ids=str)
def test_nesting(case):
    ours, theirs = both("Saliency", case, target=case.target)
    assert kinds(ours) == kinds(theirs)


def same(name, case, layer, **options):
    """Check a class at a layer against Captum's, in numbers and nesting."""
    ours, theirs = both(name, case, layer, **options)
    assert kinds(ours) == kinds(theirs)
    agree(ours, theirs)


@pytest.mark.parametrize(("case", "layer", "of_input"), OUTPUTS + ENTRIES)
class TestLayer:
    def test_activation(self, case, layer, of_input):
        same("LayerActivation", case, layer, attribute_to_layer_input=of_input)

    def test_gradient_x_activation(self, case, layer, of_input):
        same("LayerGradientXActivation", case, layer, attribute_to_layer_input=of_input, target=case.target)

    def test_grad_cam(self, case, layer, of_input):
        same("LayerGradCam", case, layer, attribute_to_layer_input=of_input, target=case.target)

    def test_integrated_gradients(self, case, layer, of_input):
        options = {"attribute_to_layer_input": of_input, "n_steps": STEPS, "target": case.target}
        same("LayerIntegratedGradients", case, layer, **options)


@pytest.mark.parametrize(
    ("case", "layer", "of_input"),
    [(PLAIN, "2", False), (PLAIN, "3", True), (TWO_OUTPUTS, "two", False), (TWO_OUTPUTS, "two", True)],
)
class TestOptionsAtALayer:
    def test_gradient_without_activation(self, case, layer, of_input):
        init, options = {"multiply_by_inputs": False}, {"attribute_to_layer_input": of_input}
        same("LayerGradientXActivation", case, layer, init=init, target=case.target, **options)

    def test_grad_cam_of_each_channel(self, case, layer, of_input):
        options = {"attribute_to_layer_input": of_input, "attr_dim_summation": False, "relu_attributions": True}
        same("LayerGradCam", case, layer, target=case.target, **options)

    def test_internal_batch_size(self, case, layer, of_input):
        options = {"attribute_to_layer_input": of_input, "n_steps": STEPS, "internal_batch_size": 7}
        for name in ("LayerIntegratedGradients", "InternalInfluence"):
            agree(*both(name, case, layer, target=case.target, **options))

    @pytest.mark.parametrize("method", RULES[1:])
    def test_rules(self, case, layer, of_input, method):
        options = {"attribute_to_layer_input": of_input, "n_steps": STEPS, "method": method}
        same("InternalInfluence", case, layer, target=case.target, **options)


@pytest.mark.parametrize("case", [case for case in CASES if len(case.layers) > 1], ids=str)
class TestListOfLayers:
    def test_activation(self, case):
        ours, theirs = both("LayerActivation", case, list(case.layers))
        assert kinds(ours) == kinds(theirs)
        agree(ours, theirs)

    def test_gradient_x_activation(self, case):
        ours, theirs = both("LayerGradientXActivation", case, list(case.layers), target=case.target)
        assert kinds(ours) == kinds(theirs)
        agree(ours, theirs)


@pytest.mark.parametrize("case", JOINT, ids=str)
def test_parallel_layers_move_together(case):
    options = {"target": case.target, "n_steps": 3, "method": "riemann_left", "return_convergence_delta": True}
    ours, theirs = both("LayerIntegratedGradients", case, list(case.parallel), **options)
    assert kinds(ours) == kinds(theirs)
    agree(ours, theirs)


@pytest.mark.parametrize("case", NEURONS, ids=str)
class TestNeuron:
    def test_gradient(self, case):
        layer, selector = case.neuron
        agree(*both("NeuronGradient", case, layer, neuron_selector=selector))

    def test_integrated_gradients(self, case):
        layer, selector = case.neuron
        agree(*both("NeuronIntegratedGradients", case, layer, neuron_selector=selector, n_steps=STEPS))

    def test_conductance(self, case):
        layer, selector = case.neuron
        options = {"neuron_selector": SINGLE.get(case.name, selector), "target": case.target, "n_steps": STEPS}
        agree(*both("NeuronConductance", case, layer, method=RULES[0], **options))


@few
class TestOptionsOfANeuron:
    def test_average_gradient(self, case):
        layer, selector = case.neuron
        options = {"init": {"multiply_by_inputs": False}, "neuron_selector": selector, "n_steps": STEPS}
        agree(*both("NeuronIntegratedGradients", case, layer, **options))

    @pytest.mark.parametrize("method", RULES[1:])
    def test_rules_of_conductance(self, case, method):
        layer, selector = case.neuron
        options = {"neuron_selector": SINGLE.get(case.name, selector), "target": case.target, "n_steps": STEPS}
        same("NeuronConductance", case, layer, method=method, **options)

    @pytest.mark.parametrize("batch", [7, 1000])
    def test_conductance_without_the_factor_of_the_inputs(self, case, batch):
        layer, selector = case.neuron
        options = {"neuron_selector": SINGLE.get(case.name, selector), "target": case.target, "n_steps": STEPS}
        options |= {"method": "riemann_middle", "internal_batch_size": batch}
        agree(*both("NeuronConductance", case, layer, init={"multiply_by_inputs": False}, **options))


@pytest.mark.parametrize(("case", "layer", "of_input"), FLOWS)
def test_internal_influence(case, layer, of_input):
    options = {"attribute_to_layer_input": of_input, "n_steps": STEPS, "target": case.target}
    same("InternalInfluence", case, layer, **options)


@pytest.mark.parametrize(("case", "layer", "of_input"), FLOWS)
def test_conductance_has_captums_nesting(case, layer, of_input):
    options = {"attribute_to_layer_input": of_input, "n_steps": 3, "target": case.target}
    ours, theirs = both("LayerConductance", case, layer, **options)
    assert kinds(ours) == kinds(theirs)
    assert [leaf.shape for leaf in pytree.tree_leaves(ours)] == [leaf.shape for leaf in pytree.tree_leaves(theirs)]
