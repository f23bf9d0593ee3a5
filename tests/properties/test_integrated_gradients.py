"""Integrated gradients fulfil all the axioms: at the input, at layers and for neurons."""

import pytest
from drawn import STEPS, STRICT
from hypothesis import given

import attrfunc as af
from attrfunc import testing

EXACT = [check for name, check in testing.AXIOMS.items() if name != "completeness"]
PLACES = {"input": af.ig, "layer": testing.at_layer(af.ig), "neuron": testing.at_neuron(af.ig)}


@pytest.mark.parametrize("place", PLACES)
@given(case=testing.cases())
def test_completeness(place, case):
    testing.check_completeness(PLACES[place], **case, rtol=STRICT, n_steps=STEPS)


# The other axioms hold for any number of points, whatever the error of the quadrature: few points keep these fast.
@pytest.mark.parametrize("check", EXACT, ids=lambda check: check.__name__)
@pytest.mark.parametrize("place", PLACES)
@given(case=testing.cases())
def test_the_other_axioms(place, check, case):
    check(PLACES[place], **case, n_steps=6)
