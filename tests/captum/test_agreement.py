"""Every class gives Captum's numbers on every model of the zoo."""

import pytest
from captum_peer import agree, both

from zoo import CASES

STEPS = 12
INPUT = [case for case in CASES if case.differentiable]
LAYERS = [pytest.param(case, layer, id=f"{case}-{layer}") for case in CASES for layer in case.layers]
NEURONS = [case for case in CASES if case.neuron]
JOINT = [case for case in CASES if case.parallel]


@pytest.mark.parametrize("case", INPUT, ids=str)
class TestInput:
    @pytest.mark.parametrize("method", ["gausslegendre", "riemann_left", "riemann_middle", "riemann_right"])
    def test_integrated_gradients(self, case, method):
        options = {"target": case.target, "n_steps": STEPS, "method": method}
        agree(*both("IntegratedGradients", case, baselines=None, **options))

    def test_average_gradient(self, case):
        init = {"multiply_by_inputs": False}
        agree(*both("IntegratedGradients", case, init=init, target=case.target, n_steps=STEPS))

    @pytest.mark.parametrize("absolute", [True, False])
    def test_saliency(self, case, absolute):
        agree(*both("Saliency", case, target=case.target, abs=absolute))

    def test_input_x_gradient(self, case):
        agree(*both("InputXGradient", case, target=case.target))


@pytest.mark.parametrize("of_input", [False, True], ids=["output", "input"])
@pytest.mark.parametrize(("case", "layer"), LAYERS)
class TestLayer:
    def test_activation(self, case, layer, of_input):
        agree(*both("LayerActivation", case, layer, attribute_to_layer_input=of_input))
