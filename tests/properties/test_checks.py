"""The checks fail on methods that break an axiom, and only on these."""

import re

import pytest
import torch
from torch import nn

import attrfunc as af
from attrfunc import testing

MODEL = testing.MLP((4,), (3,), hidden=(6, 5), activation="tanh", seed=3)
X = testing.normal((3, 4), seed=1)


def score(model, x, target):
    return model(x)[:, target]


def gradient(model, x, target):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(score(model, x, target).sum(), x)[0]


def change(model, x, baseline, target):
    with torch.no_grad():
        return (score(model, x, target) - score(model, torch.zeros_like(x) + baseline, target)).unsqueeze(1)


def nothing(model, x, *, baseline=0.0, target):
    """Zeros."""
    return torch.zeros_like(x)


def gradient_times_way(model, x, *, baseline=0.0, target):
    """Not the average gradient of the path, but the one at its end."""
    return gradient(model, x, target) * (x - baseline)


def even_split(model, x, *, baseline=0.0, target):
    """Gives each feature the same, whether it matters or not."""
    return change(model, x, baseline, target).expand(x.shape) / x.shape[1]


def normalised(model, x, *, baseline=0.0, target):
    """Splits the change of the score by absolute gradients."""
    weight = (gradient(model, x, target) * (x - baseline)).abs()
    return change(model, x, baseline, target) * weight / weight.sum(1, keepdim=True).clamp_min(1e-30)


def one_by_one(model, x, *, baseline=0.0, target):
    """Moves the features from the baseline to the input one after the other, the first one first."""
    point, parts = torch.zeros_like(x) + baseline, []
    with torch.no_grad():
        for feature in range(x.shape[1]):
            before = score(model, point, target)
            point = point.clone()
            point[:, feature] = x[:, feature]
            parts.append(score(model, point, target) - before)
    return torch.stack(parts, 1)


def by_modules(model, x, *, baseline=0.0, target):
    """Integrated gradients of the score, more or less of them as the network is built."""
    activations = sum(isinstance(module, nn.Tanh) for module in model.modules())
    return (1 + activations) * af.ig(model, x, baseline=baseline, target=target)


# What each of these methods breaks; it must pass every other check.
BREAKS = {
    nothing: {"completeness", "sensitivity"},
    gradient_times_way: {"completeness"},
    even_split: {"dummy"},
    normalised: {"linearity"},
    one_by_one: {"symmetry"},
    by_modules: {"completeness", "implementation_invariance"},
}


def pairs(broken):
    """Methods and axioms that they break, or keep."""
    found = [(method, axiom) for method in BREAKS for axiom in testing.AXIOMS if (axiom in BREAKS[method]) is broken]
    return pytest.mark.parametrize(("method", "axiom"), [pytest.param(*p, id=f"{p[0].__name__}-{p[1]}") for p in found])


@pairs(broken=False)
def test_a_check_passes_where_its_axiom_holds(method, axiom):
    testing.AXIOMS[axiom](method, MODEL, X, baseline=0.25, target=1)


@pairs(broken=True)
def test_a_check_fails_where_its_axiom_does_not_hold(method, axiom):
    with pytest.raises(AssertionError) as caught:
        testing.AXIOMS[axiom](method, MODEL, X, baseline=0.25, target=1)
    message = str(caught.value)
    name = "sensitivity" if axiom == "dummy" else axiom.replace("_", " ")
    assert message.startswith(f"{name} does not hold for {method.__name__}: ")
    assert re.search(r"worst: example \d", message)
    assert re.search(r"feature \(\d+,\)", message)
    assert re.search(r"tolerance: .*\d", message)


def test_every_axiom_is_broken_by_some_method():
    assert set().union(*BREAKS.values()) == set(testing.AXIOMS)


def test_saturation_breaks_sensitivity_of_gradients():
    """The example of Sundararajan et al.: 1 - relu(1 - x) goes from 0 to 1, and is flat at 2."""

    def model(x):
        return 1 - torch.relu(1 - x)

    x = torch.full((1, 1), 2.0)
    with pytest.raises(AssertionError, match=r"example 0, feature \(0,\): it gets 0, while the score goes from 0 to 1"):
        testing.check_sensitivity(gradient_times_way_of_all, model, x)
    testing.check_sensitivity(af.ig, model, x)


def gradient_times_way_of_all(model, x, *, baseline):
    return gradient(lambda x: model(x), x, target=0) * (x - baseline)


def test_guided_backprop_breaks_implementation_invariance():
    """As commonly written, by hooks on the ReLU modules: a network that calls F.relu gets something else."""

    def guided(model, x, *, target):
        hooks = [
            module.register_full_backward_hook(lambda module, incoming, outgoing: (incoming[0].clamp_min(0),))
            for module in model.modules()
            if isinstance(module, nn.ReLU)
        ]
        try:
            return gradient(model, x, target)
        finally:
            for hook in hooks:
                hook.remove()

    model = testing.MLP((4,), (3,), activation="relu")
    with pytest.raises(AssertionError, match="rewritten layers computes the same function"):
        testing.check_implementation_invariance(guided, model, X, target=1)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
@pytest.mark.parametrize("axiom", testing.AXIOMS)
def test_numbers_that_are_not_finite_never_pass(axiom, wrong):
    with pytest.raises(AssertionError):
        testing.AXIOMS[axiom](lambda model, x, baseline=0, target=0: torch.full_like(x, wrong), MODEL, X, target=1)


@pytest.mark.parametrize("axiom", ["completeness", "sensitivity", "dummy", "symmetry"])
def test_attributions_of_another_shape_never_pass(axiom):
    def summed(model, x, *, baseline=0.0, target):
        return af.ig(model, x, baseline=baseline, target=target).sum(1)

    with pytest.raises(AssertionError, match=r"summed returned attributions of shapes \[\(3,\)\]"):
        testing.AXIOMS[axiom](summed, MODEL, X, target=1)


def test_completeness_sees_the_error_of_a_coarse_quadrature():
    with pytest.raises(AssertionError, match=r"tolerance: .* = rtol 1e-07 x"):
        testing.check_completeness(af.ig, MODEL, X, target=1, n_steps=20, method="riemann_left", rtol=1e-7)


@pytest.mark.parametrize("name", ["check_sensitivity", "check_dummy", "check_symmetry"])
def test_a_check_that_needs_the_input_says_so_for_a_layer(name):
    with pytest.raises(af.ArgumentError, match=rf"{name}: argument `model`: .*at_layer"):
        getattr(testing, name)(af.ig, af.layer(MODEL, "layers.0"), X, target=1)


def test_linearity_says_what_to_do_about_neurons_and_other_models():
    with pytest.raises(af.ArgumentError, match=r"check_linearity: .*at_neuron"):
        testing.check_linearity(af.ig, af.neuron(MODEL, "layers.0", 1), X)
    with pytest.raises(af.ArgumentError, match=r"check_linearity: argument `other`"):
        testing.check_linearity(af.ig, af.layer(MODEL, "layers.0"), X, target=1, other=MODEL)


def test_models_that_are_not_equal_are_refused():
    another = testing.MLP((4,), (3,), seed=4)
    with pytest.raises(af.ArgumentError, match=r"check_implementation_invariance: argument `equal`.*'another'"):
        testing.check_implementation_invariance(af.ig, MODEL, X, target=1, equal={"another": another})


def test_generators_are_set_back_between_the_calls_of_a_check():
    def noisy(model, x, *, target, generator):
        return gradient(model, x + torch.randn(x.shape, generator=generator, dtype=x.dtype), target)

    testing.check_linearity(noisy, MODEL, X, target=1, generator=torch.Generator())
