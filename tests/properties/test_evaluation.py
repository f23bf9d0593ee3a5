"""How the work is batched does not show in the numbers."""

import torch
from drawn import STEPS, attribute, layer_cases, score_of, start_of
from hypothesis import given
from hypothesis import strategies as st
from torch.func import vmap

import attrfunc as af
from attrfunc import testing

# Other chunks sum in another order: a few roundings apart, far below anything else that could be wrong.
ROUNDING = {"rtol": 1e-9, "atol": 1e-11}


@given(case=testing.cases(), chunk_size=st.integers(1, 40))
def test_chunk_size(case, chunk_size):
    whole = attribute(af.ig, case, n_steps=10)
    torch.testing.assert_close(attribute(af.ig, case, n_steps=10, chunk_size=chunk_size), whole, **ROUNDING)


@given(drawn=layer_cases(), chunk_size=st.integers(1, 40))
def test_chunk_size_at_layers(drawn, chunk_size):
    case, place = drawn
    case["model"] = place.view(case["model"])
    whole = attribute(af.ig, case, n_steps=10)
    torch.testing.assert_close(attribute(af.ig, case, n_steps=10, chunk_size=chunk_size), whole, **ROUNDING)


@given(case=testing.cases(smooth=False))
def test_the_error_on_piecewise_linear_networks_is_within_its_bound(case):
    """The midpoint rule errs by at most half the width of a cell times the variation of the slope along the path."""
    cells, finer = 20, 16
    attributions = attribute(af.ig, case, n_steps=cells, method="riemann_middle")
    gap = attribute(af.completeness_gap, case, attributions=attributions)
    slopes = scores_on_the_way(case, cells * finer).diff(dim=0) * cells * finer
    variation = slopes.diff(dim=0).abs().sum(0)
    # The secants do not see what the slope does within one of their own, much finer cells.
    assert (gap.abs() <= variation / (2 * cells) * (1 + 2 / finer) + 1e-9).all()


def scores_on_the_way(case, steps):
    """Scores `(steps + 1, B)` at even distances, by calling the model and nothing else of the library's evaluation."""
    model, x, target, start = case["model"], case["x"], case["target"], start_of(case)
    with torch.no_grad():
        outputs = [model(torch.lerp(start, x, step / steps)) for step in range(steps + 1)]
    rows = range(len(x))
    return torch.stack([torch.stack([score_of(output, target, row) for row in rows]) for output in outputs])


@given(case=testing.cases())
def test_every_rule_converges_to_the_same(case):
    exact = attribute(af.ig, case, n_steps=STEPS)
    trapezoid = attribute(af.ig, case, n_steps=1200, method="riemann_trapezoid")
    torch.testing.assert_close(trapezoid, exact, rtol=1e-3, atol=1e-3)


@given(data=st.data())
def test_vmap_over_targets_is_a_loop(data):
    model = data.draw(testing.networks().filter(lambda network: len(network.outputs) == 1))
    x = data.draw(testing.inputs(model.shape))
    baseline = data.draw(testing.baselines(x))
    targets = torch.arange(model.outputs[0])
    mapped = vmap(lambda target: af.ig(model, x, baseline=baseline, target=target, n_steps=6))(targets)
    loop = torch.stack([af.ig(model, x, baseline=baseline, target=int(target), n_steps=6) for target in targets])
    torch.testing.assert_close(mapped, loop, **ROUNDING)
    for method in (af.saliency, af.input_x_gradient):
        mapped = vmap(lambda target, method=method: method(model, x, target=target))(targets)
        loop = torch.stack([method(model, x, target=int(target)) for target in targets])
        torch.testing.assert_close(mapped, loop, **ROUNDING)


@given(case=testing.cases())
def test_examples_are_independent(case):
    """Attributing the examples one by one gives the same."""
    model, x = case["model"], case["x"]
    whole = af.ig(model, x, target=testing.Total(), n_steps=6)
    alone = torch.cat([af.ig(model, one, target=testing.Total(), n_steps=6) for one in x.split(1)])
    torch.testing.assert_close(whole, alone, **ROUNDING)


@given(case=testing.cases())
def test_the_model_is_left_as_it_was(case):
    model = case["model"]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    x, shown = case["x"].clone(), repr(model)
    attribute(af.ig, case, n_steps=3)
    assert torch.equal(case["x"], x)
    assert repr(model) == shown
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
