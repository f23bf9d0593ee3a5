"""Views of real layers, inside the drawn networks."""

from dataclasses import replace

import torch
from drawn import STEPS, STRICT, layer_cases, neuron_cases
from hypothesis import given

import attrfunc as af
from attrfunc import testing
from attrfunc.core.score.places import AtLayers


@given(drawn=layer_cases())
def test_completeness_at_layers(drawn):
    case, place = drawn
    case["model"] = place.view(case["model"])
    testing.check_completeness(af.ig, **case, rtol=STRICT, n_steps=STEPS)


@given(drawn=layer_cases())
def test_linearity_at_layers(drawn):
    case, place = drawn
    case["model"] = place.view(case["model"])
    testing.check_linearity(af.ig, **case, n_steps=6)


@given(drawn=layer_cases())
def test_implementation_invariance_at_layers(drawn):
    case, place = drawn
    case["model"] = place.view(case["model"])
    testing.check_implementation_invariance(af.ig, **case, n_steps=6)


@given(drawn=neuron_cases())
def test_completeness_for_neurons(drawn):
    case, place, index = drawn
    case["model"] = af.neuron(case["model"], place.name, index, call=place.call)
    testing.check_completeness(af.ig, **case, rtol=STRICT, n_steps=STEPS)


@given(drawn=neuron_cases())
def test_symmetry_for_neurons(drawn):
    case, place, index = drawn
    case["model"] = af.neuron(case["model"], place.name, index, call=place.call)
    testing.check_symmetry(af.ig, **case, n_steps=6)


@given(drawn=layer_cases())
def test_layers_of_a_list_are_attributed_one_by_one(drawn):
    case, place = drawn
    view, x = place.view(case.pop("model")), case.pop("x")
    twice = replace(view, place=AtLayers(view.sites * 2, several=True))
    alone, pair = af.ig(view, x, **case, n_steps=6), af.ig(twice, x, **case, n_steps=6)
    for each in pair:
        torch.testing.assert_close(each, alone, rtol=0, atol=0)
