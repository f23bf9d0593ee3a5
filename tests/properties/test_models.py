"""The checks take whatever the methods take: structures, callables, bound methods, views, bound tensors, float32."""

import functools

import pytest
import torch
from torch import nn

import attrfunc as af
from attrfunc import testing

STEPS = {"n_steps": 64}


class Pair(nn.Module):
    """Two inputs, an argument per example, one without, and outputs in a dict."""

    def __init__(self):
        super().__init__()
        self.first, self.second = testing.MLP((3,), (2,), seed=1), testing.MLP((2, 2), (2,), seed=2)

    def forward(self, one, two, weight, *, power):
        return {"logits": (self.first(one) * weight[:, None] + self.second(two)) ** power}

    def score(self, one, two, weight, *, power):
        return self(one, two, weight, power=power)["logits"]


X = (testing.normal((4, 3), seed=1), testing.normal((4, 2, 2), seed=2))
CALL = {"baseline": (0.5, testing.normal((1, 2, 2))), "args": (testing.normal((4,), seed=3),), "kwargs": {"power": 2}}


@pytest.mark.parametrize("place", [lambda method: method, testing.at_layer, testing.at_neuron])
@pytest.mark.parametrize("axiom", testing.AXIOMS)
def test_structures_of_inputs_and_outputs(axiom, place):
    testing.AXIOMS[axiom](place(af.ig), Pair(), X, target=lambda output: output["logits"][:, 1], **CALL, **STEPS)


@pytest.mark.parametrize("axiom", testing.AXIOMS)
def test_bound_methods_and_plain_callables(axiom):
    pair = Pair()
    for model in (pair.score, lambda *args, **kwargs: pair.score(*args, **kwargs), functools.partial(pair.score)):
        testing.AXIOMS[axiom](af.ig, model, X, target=[0, 1, 1, 0], **CALL, **STEPS)


@pytest.mark.parametrize("axiom", testing.AXIOMS)
def test_bound_tensors(axiom):
    model = testing.MLP((4,), (2,))
    view = af.bind(model, {"head.weight": 2 * model.head.weight.detach()})
    testing.AXIOMS[axiom](af.ig, view, testing.normal((3, 4)), target=0, **STEPS)


@pytest.mark.parametrize("axiom", testing.AXIOMS)
def test_methods_that_call_the_model_themselves(axiom):
    """Derived models are modules like any other."""

    def left_alone(model, x, *, baseline=0.0, target):
        path = [torch.lerp(torch.zeros_like(x) + baseline, x, (k + 0.5) / 100).requires_grad_() for k in range(100)]
        slopes = [torch.autograd.grad(model(point)[:, target].sum(), point)[0] for point in path]
        return torch.stack(slopes).mean(0) * (x - baseline)

    testing.AXIOMS[axiom](left_alone, testing.CNN((1, 4, 4), (2,)), testing.normal((2, 1, 4, 4)), target=0)


@pytest.mark.parametrize("kind", [testing.MLP, testing.CNN, testing.Residual])
@pytest.mark.parametrize("style", ["module", "functional", "inplace"])
def test_single_precision(kind, style):
    shape = (5,) if kind is testing.MLP else (2, 4, 4)
    model = kind(shape, (3,), activation="silu", style=style, dtype=torch.float32)
    x = testing.normal((3, *shape), dtype=torch.float32)
    testing.check_axioms(af.ig, model, x, baseline=-0.5, target=2, **STEPS)


def test_several_layers_and_joint_layers():
    model, x = testing.MLP((4,), (2,), hidden=(5, 3)), testing.normal((3, 4))
    for check in (testing.check_completeness, testing.check_linearity, testing.check_implementation_invariance):
        check(af.ig, af.layer(model, ["layers.0", "layers.1", "head"]), x, target=1, **STEPS)
        check(af.ig, af.layer(model, ["layers.1"], joint=True), x, target=1, **STEPS)


def test_rewritten_models_leave_the_user_s_alone():
    model = testing.MLP((4,), (2,), activation="relu")
    shown, types = repr(model), [type(module) for module in model.modules()]
    equal = testing.equal_models(model, testing.normal((1, 4)))
    assert [type(module) for module in model.modules()] == types
    assert repr(model) == shown
    copies = dict(equal["rewritten layers"].named_parameters())
    assert all(copies[name] is parameter for name, parameter in model.named_parameters())
    assert not any(type(module) in (nn.ReLU, nn.Linear) for module in equal["rewritten layers"].modules())
