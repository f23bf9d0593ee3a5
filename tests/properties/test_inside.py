"""Methods that name a layer, and those that draw samples, on drawn networks."""

import pytest
import torch
from drawn import STEPS, STRICT, layer_cases, start_of
from hypothesis import given
from torch import nn

import attrfunc as af
from attrfunc import testing
from attrfunc.testing.wrappers import Around

SAME_DRAWS = [testing.check_linearity, testing.check_dummy, testing.check_implementation_invariance]


def conductance_of_the_input(model, x, **options):
    """At a layer in front of the model, units are inputs and conductance is integrated gradients."""
    point = nn.Identity()
    return af.conductance(Around(model, x, before=point), x, layer=point, **options)


def gradient_shap(model, x, *, baseline=None, **options):
    """With a single baseline for all examples, and the same draws at every call."""
    samples = start_of({"x": x, "baseline": baseline})[:1].to(x.dtype)
    generator = torch.Generator().manual_seed(0)
    return af.gradient_shap(model, x, baselines=samples, n_samples=3, generator=generator, **options)


def smoothed(model, x, **options):
    smooth = af.smooth(af.ig, n_samples=3, stdev=0.1, generator=torch.Generator().manual_seed(0))
    return smooth(model, x, n_steps=6, **options)


@given(case=testing.cases())
def test_conductance_is_complete(case):
    testing.check_completeness(conductance_of_the_input, **case, rtol=STRICT, n_steps=STEPS)


@given(case=testing.cases())
def test_conductance_of_the_input_is_integrated_gradients(case):
    model, x = case.pop("model"), case.pop("x")
    expected = af.ig(model, x, n_steps=6, **case)
    torch.testing.assert_close(conductance_of_the_input(model, x, n_steps=6, **case), expected)


@given(drawn=layer_cases())
def test_conductance_and_internal_influence_by_two_rules(drawn):
    """Inside the network, whatever bypasses the layer: the rules agree on what the integral is."""
    case, place = drawn
    model, x = case.pop("model"), case.pop("x")
    options = {"layer": place.name, "side": place.side, "call": place.call, **case}
    for method in (af.conductance, af.internal_influence):
        fine = method(model, x, n_steps=STEPS, **options)
        nested = method(model, x, tolerance=1e-9, **options)
        pairs = zip(*(torch.utils._pytree.tree_leaves(result) for result in (nested, fine)), strict=True)
        for found, expected in pairs:
            assert (found - expected).abs().max() < STRICT * max(1, expected.abs().max())


@pytest.mark.parametrize("method", [gradient_shap, smoothed], ids=["gradient_shap", "smooth"])
@pytest.mark.parametrize("check", SAME_DRAWS, ids=lambda check: check.__name__)
@given(case=testing.cases())
def test_axioms_that_hold_for_every_draw(method, check, case):
    check(method, **case)


@given(case=testing.cases())
def test_no_noise_smooths_nothing(case):
    model, x = case.pop("model"), case.pop("x")
    smoothed = af.smooth(af.ig, n_samples=2, stdev=0.0)
    torch.testing.assert_close(smoothed(model, x, n_steps=6, **case), af.ig(model, x, n_steps=6, **case))
    squared = af.smooth(af.ig, n_samples=2, stdev=0.0, kind="vargrad")(model, x, n_steps=6, **case)
    torch.testing.assert_close(squared, torch.zeros_like(x), rtol=0, atol=1e-12)
