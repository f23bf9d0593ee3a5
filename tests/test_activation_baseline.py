"""A baseline of the activation itself, for layer views."""

import pytest
import torch

import attrfunc as af
from oracle_net import drawn, make

METHODS = {"ig": af.ig, "ablation": af.feature_ablation, "smooth": af.smooth(af.ig, n_samples=2, stdev=0.0)}
# A combined method calls a callable with the samples behind each other.
FORMS = [(name, form) for name in METHODS for form in ("tensor", "callable") if (name, form) != ("smooth", "callable")]


@pytest.fixture
def net():
    return make()


@pytest.fixture
def x():
    return drawn(1, 3, 5)


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_what_is_given_at_the_layer_is_the_baseline(name, form, net, x):
    """The activation at some input, given at the layer, is what that input gives."""
    method, start, view = METHODS[name], drawn(2, 3, 5), af.layer(net, "block")
    value = net.before(start) if form == "tensor" else lambda activation: net.before(start) + 0 * activation
    found = method(view, x, baseline=af.activation_baseline(value), target=1)
    torch.testing.assert_close(found, method(view, x, baseline=start, target=1))


def test_zeros_by_default(net, x):
    view = af.layer(net, "block")
    found = af.ig(view, x, baseline=af.activation_baseline(), target=1)
    torch.testing.assert_close(found, af.ig(view, x, baseline=af.activation_baseline(0.0), target=1))
    gap = af.completeness_gap(view, x, found, baseline=af.activation_baseline(), target=1)
    assert gap.abs().max() < 1e-9


def test_a_list_of_layers(net, x):
    views = [af.layer(net, name) for name in ("embed", "block")]
    several = af.feature_ablation(af.layer(net, ["embed", "block"]), x, baseline=af.activation_baseline(0.3), target=1)
    for view, found in zip(views, several, strict=True):
        expected = af.feature_ablation(view, x, baseline=af.activation_baseline(0.3), target=1)
        torch.testing.assert_close(found, expected)


def test_a_shape_that_does_not_fit(net, x):
    with pytest.raises(af.ArgumentError, match=r"integrated_gradients: argument `baseline`.*\(3, 4\)"):
        af.ig(af.layer(net, "block"), x, baseline=af.activation_baseline(torch.zeros(3, 5)), target=1)


@pytest.mark.parametrize("method", [af.ig, af.feature_ablation])
def test_the_input_is_no_layer(method, net, x):
    with pytest.raises(af.ArgumentError, match=r"`baseline`.*activation_baseline.*af\.layer"):
        method(net, x, baseline=af.activation_baseline(), target=1)
