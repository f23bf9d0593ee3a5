"""The strategies draw what they promise, deterministically, and print it so that a person can make it again."""

import re
import subprocess
import sys

import pytest
import torch
from drawn import attribute
from hypothesis import find, given, settings
from hypothesis import strategies as st
from torch import Tensor

import attrfunc as af
from attrfunc import testing

PUBLIC = {**{name: getattr(testing, name) for name in testing.__all__}, "torch": torch}


@given(network=testing.networks(), data=st.data())
def test_a_network_prints_as_the_call_that_rebuilds_it(network, data):
    again = eval(repr(network), PUBLIC)
    x = data.draw(testing.inputs(network.shape))
    assert network(x.clone()).shape == (len(x), *network.outputs)
    assert torch.equal(network(x.clone()), again(x.clone()))
    assert not network.training


@given(network=testing.networks(dtype=torch.float32, smooth=False))
def test_dtype(network):
    again = eval(repr(network), PUBLIC)
    assert {tensor.dtype for tensor in again.parameters()} == {torch.float32}


def test_a_falsifying_example_can_be_typed_again():
    @settings(derandomize=True, database=None)
    @given(case=testing.cases(kinds=[testing.CNN]))
    def failing(case):
        assert case["x"].sum() < 0.5

    with pytest.raises(AssertionError) as caught:
        failing()
    note = "\n".join(caught.value.__notes__)
    text = re.search(r"case=(\{.*\})", note, re.DOTALL)[1]
    case = eval(text, PUBLIC)
    with pytest.raises(AssertionError):
        failing.hypothesis.inner_test(case)
    assert attribute(af.ig, case, n_steps=2).shape == case["x"].shape


def test_the_user_s_random_state_is_not_touched():
    state = torch.get_rng_state()

    @settings(max_examples=20, database=None)
    @given(case=testing.cases())
    def draw(case):
        assert torch.equal(torch.get_rng_state(), state)

    draw()
    assert torch.equal(torch.get_rng_state(), state)


FORMS_OF_TARGET = {
    (): [lambda t: t is None, callable],
    (3,): [
        lambda t: isinstance(t, int),
        lambda t: isinstance(t, Tensor) and t.dim() == 0,
        lambda t: isinstance(t, Tensor) and t.shape == (2,),
        lambda t: isinstance(t, list),
        lambda t: isinstance(t, tuple),
        lambda t: isinstance(t, testing.LogProbability),
        lambda t: isinstance(t, testing.Contrast),
    ],
    (2, 3): [
        lambda t: isinstance(t, tuple) and all(isinstance(part, int) for part in t),
        lambda t: isinstance(t, tuple) and any(isinstance(part, slice) for part in t),
        lambda t: isinstance(t, tuple) and any(isinstance(part, Tensor) for part in t),
        lambda t: isinstance(t, list) and isinstance(t[0], tuple),
        callable,
    ],
}
FORMS_OF_BASELINE = [
    lambda b: b is None,
    lambda b: isinstance(b, float),
    lambda b: isinstance(b, int),
    lambda b: isinstance(b, Tensor) and b.dim() == 0,
    lambda b: isinstance(b, Tensor) and b.shape == (3,),
    lambda b: isinstance(b, Tensor) and b.shape == (1, 3),
    lambda b: isinstance(b, Tensor) and b.shape == (2, 3),
    callable,
]


@pytest.mark.parametrize(
    ("outputs", "form"), [(shape, form) for shape in FORMS_OF_TARGET for form in FORMS_OF_TARGET[shape]]
)
def test_every_form_of_target_is_drawn(outputs, form):
    found = find(testing.targets(outputs, 2), form)
    model = testing.MLP((3,), outputs)
    assert af.ig(model, torch.ones(2, 3).double(), target=found, n_steps=2).shape == (2, 3)


@pytest.mark.parametrize("form", FORMS_OF_BASELINE)
def test_every_form_of_baseline_is_drawn(form):
    x = testing.normal((2, 3))
    found = find(testing.baselines(x), form)
    assert af.ig(testing.MLP((3,), ()), x, baseline=found, n_steps=2).shape == (2, 3)


@given(x=testing.inputs({"one": (3,), "two": ((2, 2), ())}, batch=2, bounds=(-1, 2)), data=st.data())
def test_structures_of_inputs(x, data):
    assert [x["one"].shape, *(part.shape for part in x["two"])] == [(2, 3), (2, 2, 2), (2,)]
    assert all(part.min() >= -1 and part.max() <= 2 for part in (x["one"], *x["two"]))
    baseline = data.draw(testing.baselines(x))
    assert baseline is None or isinstance(baseline, (int, float)) or baseline.keys() == x.keys()


def test_kinds_that_are_not_piecewise_linear_are_refused():
    with pytest.raises(ValueError, match="got kinds \\['Attention'\\]"):
        testing.networks(smooth=False, kinds=[testing.Attention])
    with pytest.raises(ValueError, match="no activation 'elu'"):
        testing.MLP((3,), (2,), activation="elu")


@given(case=testing.cases(smooth=False))
def test_piecewise_linear_networks_are_so(case):
    """Straight on both sides of a point, but for the rare kink: a second difference of zero."""
    model, x = case["model"], case["x"]
    step = 1e-7 * testing.normal(tuple(x.shape), seed=1)
    middle, ends = model(x.clone()), (model(x + step) + model(x - step)) / 2
    straight = (middle - ends).abs() < 1e-12
    kinked = (x == 0).any()  # a network has kinks where inputs vanish or are equal
    assert straight.all() or kinked


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_only_attrfunc_testing_needs_hypothesis_and_says_so():
    done = run("import sys; sys.modules['hypothesis'] = None; import attrfunc; print('fine'); import attrfunc.testing")
    assert done.stdout == "fine\n"
    assert "ModuleNotFoundError: attrfunc.testing needs hypothesis" in done.stderr
    assert "pip install 'attrfunc[testing]'" in done.stderr
