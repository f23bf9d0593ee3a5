"""The axioms that gradients fulfil."""

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import attrfunc as af
from attrfunc import testing

gradient = functools.partial(af.saliency, absolute=False)
METHODS = {"saliency": af.saliency, "gradient": gradient, "input_x_gradient": af.input_x_gradient}
MOVES = {"input": lambda method: method, "layer": testing.at_layer, "neuron": testing.at_neuron}
HOLD = [testing.check_dummy, testing.check_implementation_invariance, testing.check_symmetry]


@pytest.mark.parametrize("check", HOLD, ids=lambda check: check.__name__)
@settings(max_examples=45)
@given(method=st.sampled_from(sorted(METHODS)), move=st.sampled_from(sorted(MOVES)), case=testing.cases(baseline=False))
def test_axioms(check, method, move, case):
    check(MOVES[move](METHODS[method]), **case)


@given(
    method=st.sampled_from(["gradient", "input_x_gradient"]),
    move=st.sampled_from(sorted(MOVES)),
    case=testing.cases(baseline=False),
)
def test_linearity(method, move, case):
    testing.check_linearity(MOVES[move](METHODS[method]), **case)


@given(case=testing.cases(baseline=False, smooth=False))
def test_axioms_on_piecewise_linear_networks(case):
    """The gradient at a point knows nothing of kinks elsewhere."""
    testing.check_axioms(af.input_x_gradient, **case, axioms=("dummy", "linearity", "symmetry"))


@given(data=st.data())
def test_input_x_gradient_is_complete_on_homogeneous_networks(data):
    shape, kind = data.draw(st.sampled_from([((4,), testing.MLP), ((1, 4, 4), testing.CNN)]))
    activation = data.draw(st.sampled_from(["relu", "leaky_relu"]))
    model = kind(shape, (3,), activation=activation, seed=data.draw(st.integers(0, 99)))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
    x = data.draw(testing.inputs(shape))
    # No path, no quadrature: only rounding is left.
    testing.check_completeness(
        af.input_x_gradient, model, x, target=data.draw(testing.targets((3,), len(x))), rtol=1e-12
    )
