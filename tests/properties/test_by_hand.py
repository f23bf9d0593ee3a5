"""Whatever is drawn, the methods give what their formulas give, written out for one example after the other."""

import torch
from drawn import attribute, layer_cases, score_of, start_of
from hypothesis import assume, given
from hypothesis import strategies as st

import attrfunc as af
from attrfunc import testing

ROUNDING = {"rtol": 1e-9, "atol": 1e-11}


def gradient(case, x):
    """The gradient at `x`, one example after the other."""
    x = x.clone().requires_grad_()
    output = case["model"](x.clone())
    rows = [
        torch.autograd.grad(score_of(output, case["target"], row), x, retain_graph=True)[0] for row in range(len(x))
    ]
    return torch.stack([part[row] for row, part in enumerate(rows)])


PLACES = {"input": lambda method: method, "layer": testing.at_layer, "neuron": testing.at_neuron}
a_place = st.sampled_from(sorted(PLACES))


@given(place=a_place, case=testing.cases(baseline=False))
def test_gradients(place, case):
    expected, move = gradient(case, case["x"]), PLACES[place]
    torch.testing.assert_close(attribute(move(af.saliency), case, absolute=False), expected, **ROUNDING)
    torch.testing.assert_close(attribute(move(af.saliency), case), expected.abs(), **ROUNDING)
    torch.testing.assert_close(attribute(move(af.input_x_gradient), case), case["x"] * expected, **ROUNDING)


@given(place=a_place, case=testing.cases())
def test_integrated_gradients(place, case):
    x = case["x"]
    start = start_of(case)
    points = [start + (step + 0.5) / 3 * (x - start) for step in range(3)]
    expected = (x - start) * sum(gradient(case, point) for point in points) / 3
    torch.testing.assert_close(
        attribute(PLACES[place](af.ig), case, n_steps=3, method="riemann_middle"), expected, **ROUNDING
    )


@given(drawn=layer_cases(baseline=False))
def test_gradients_at_layers(drawn):
    case, place = drawn
    assume(place.shape)  # one tensor
    tensors = []

    def keep(tensor):
        tensors.append(tensor.clone())
        return tensors[-1].clone()

    layer = case["model"].get_submodule(place.name)
    if place.side == "output":
        handle = layer.register_forward_hook(lambda module, inputs, output: keep(output))
    else:
        handle = layer.register_forward_pre_hook(lambda module, inputs: (keep(inputs[0]),))
    output = case["model"](case["x"].clone().requires_grad_())
    handle.remove()
    point = tensors[place.call or 0]
    score = sum(score_of(output, case["target"], row) for row in range(len(case["x"])))
    (expected,) = torch.autograd.grad(score, point, allow_unused=True, materialize_grads=True)
    case["model"] = place.view(case["model"])
    torch.testing.assert_close(attribute(af.saliency, case, absolute=False), expected, **ROUNDING)
    torch.testing.assert_close(attribute(af.input_x_gradient, case), point.detach() * expected, **ROUNDING)
