"""Integrated gradients fulfil all the axioms: at the input, at layers and for neurons."""

import pytest
from drawn import STEPS, STRICT
from hypothesis import given, settings
from hypothesis import strategies as st

import attrfunc as af
from attrfunc import testing

EXACT = [check for name, check in testing.AXIOMS.items() if name != "completeness"]
PLACES = {"input": af.ig, "layer": testing.at_layer(af.ig), "neuron": testing.at_neuron(af.ig)}


@settings(max_examples=50)
@given(place=st.sampled_from(sorted(PLACES)), case=testing.cases())
def test_completeness(place, case):
    # Layer norm of a narrow encoder is nearly singular on some paths, where 64 points leave 5e-7.
    testing.check_completeness(PLACES[place], **case, rtol=STRICT, n_steps=3 * STEPS)


# The other axioms hold for any number of points, whatever the error of the quadrature: few points keep these fast.
@pytest.mark.parametrize("check", EXACT, ids=lambda check: check.__name__)
@given(place=st.sampled_from(sorted(PLACES)), case=testing.cases())
def test_the_other_axioms(check, place, case):
    check(PLACES[place], **case, n_steps=6)
