"""Rule books: rules for operations in any form, inside layers, for a user's own; and what bad input gets."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import attrfunc as af
from oracle_net import drawn

X, BASELINE = drawn(1, 4, 5), drawn(2, 4, 5)


def tripled(operation):
    """A rule that is easy to recognise."""
    return operation.value(), lambda gradient: [3 * gradient]


class Forms(nn.Module):
    """The same activation in every form."""

    def __init__(self, form):
        super().__init__()
        self.form, self.layer = form, nn.Linear(5, 5)

    def forward(self, x):
        return self.form(self.layer(x)).sum(1)


FORMS = {
    "module": nn.ReLU(),
    "module in place": nn.ReLU(inplace=True),
    "function": F.relu,
    "function in place": lambda x: F.relu(x, inplace=True),
    "torch": torch.relu,
    "torch in place": torch.relu_,
    "method": lambda x: x.relu(),
    "method in place": lambda x: x.relu_(),
    "aten": torch.ops.aten.relu,
}


@pytest.mark.filterwarnings("ignore:deep_lift. the attributions miss")  # which these rules make
@pytest.mark.parametrize("key", [torch.relu, F.relu, torch.Tensor.relu, torch.Tensor.relu_, "relu"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_rule_holds_for_every_form(form, key):
    torch.manual_seed(0)
    model = Forms(form).double()
    found = af.deep_lift(model, X, baseline=BASELINE, rules={key: tripled}, multiply_by_inputs=False)
    torch.testing.assert_close(found, (3 * model.layer.weight.detach().sum(0)).expand(4, 5))


@pytest.mark.filterwarnings("ignore:deep_lift. the attributions miss")
def test_rules_inside_layers():
    torch.manual_seed(0)
    block = lambda: nn.Sequential(nn.Linear(5, 5, bias=False), nn.Tanh())
    model = nn.Sequential(block(), block()).double()
    weights = [part[0].weight.detach() for part in model]
    found = af.deep_lift(
        model, X, target=0, rules={torch.tanh: tripled, "1": {torch.tanh: af.rules.natural}}, multiply_by_inputs=False
    )
    hidden = model[0](X)
    slopes = 1 - model[1][0](hidden).tanh()[:, :1] ** 2
    torch.testing.assert_close(found, slopes * 3 * (weights[1][0] @ weights[0]))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


class Straight(torch.autograd.Function):
    """Rounds, with the gradient of doing nothing."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x.round()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Rounded(nn.Module):
    def forward(self, x):
        return Straight.apply(4 * x).sum(1)


def slopes(operation):
    change = operation.inputs[0] - operation.there.inputs[0]
    multiplier = (operation.value() - operation.there.value()) / change
    return operation.value(), lambda gradient: [gradient * multiplier]


def test_an_autograd_function_of_the_users_own():
    found = af.deep_lift(Rounded(), X, baseline=BASELINE, rules={Straight: slopes})
    torch.testing.assert_close(found, (4 * X).round() - (4 * BASELINE).round())


def test_an_operation_of_the_users_own():
    calls = []

    @af.operation
    def swish(x):
        calls.append(x.shape)
        return x * torch.sigmoid(x)

    model = lambda x: swish(x).sum(1)
    exact = X * X.sigmoid() - BASELINE * BASELINE.sigmoid()
    # Without a rule its body is interpreted: a product, whose share of the sigmoid goes through the sigmoid's slope.
    opened = af.deep_lift(model, X, baseline=BASELINE)
    torch.testing.assert_close(opened, exact)
    torch.testing.assert_close(af.deep_lift(model, X, baseline=BASELINE, rules={swish: slopes}), exact)
    with pytest.warns(UserWarning, match="miss"):
        af.deep_lift(model, X, baseline=BASELINE, rules={swish: tripled})
    assert calls


def test_a_book_laid_over_another():
    plain = af.rules.RuleBook() | {torch.relu: af.rules.natural}
    assert plain.find("relu") is af.rules.natural
    assert (af.REVEAL_CANCEL | {torch.relu: tripled}).find("relu") is tripled
    assert af.REVEAL_CANCEL.find("relu") is not tripled


def raises(*parts, error=af.ModelError):
    return pytest.raises(error, match=".*".join(re.escape(part) for part in parts))


class Network(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.inner = nn.Module()
        self.inner.forward = function
        self.layer = nn.Linear(5, 5)

    def forward(self, x):
        return self.inner(self.layer(x)).sum(1)


def test_an_operation_without_a_rule():
    model = Network(lambda x: torch.cumprod(x, 1)).double()
    with raises("deep_lift: there is no rule for the operation 'cumprod'", "Module 'inner'", "rules={'cumprod': rule}"):
        af.deep_lift(model, X)
    with raises("deep_lift_shap:", "'cumprod'"):
        af.deep_lift_shap(model, X, baselines=X)
    with raises("the operation Straight (in Rounded)", "rules={Straight: rule}"):
        af.deep_lift(Rounded(), X)
    with raises("'pow'", "2 values that depend on the input"):
        af.deep_lift(lambda x: torch.pow(x.exp(), x).sum(1), X)


def test_an_operation_without_a_rule_on_what_does_not_depend_on_the_input():
    weights = torch.linspace(1, 2, 5).double()
    found = af.deep_lift(lambda x: (x * torch.cumprod(weights, 0)).sum(1), X)
    torch.testing.assert_close(found, X * weights.cumprod(0))


def test_rules_that_are_none():
    model = Network(torch.relu).double()
    with raises("deep_lift:", "`rules`", "layer 'inne'", "Near matches: 'inner'", error=af.ArgumentError):
        af.deep_lift(model, X, rules={"inne": {torch.relu: af.rules.natural}})
    with raises("deep_lift:", "`rules`", "int 3", "rule", error=af.ArgumentError):
        af.deep_lift(model, X, rules={torch.relu: 3})
    with raises("deep_lift:", "`rules`", "a dictionary", error=af.ArgumentError):
        af.deep_lift(model, X, rules="rescale")


class Partly(nn.Module):
    """Runs one of two layers on the input, and another one on a constant."""

    def __init__(self):
        super().__init__()
        self.used, self.unused, self.constant = (nn.Linear(5, 3).double() for _ in range(3))
        self.activation = nn.ReLU()
        self.attention = nn.MultiheadAttention(3, 1, batch_first=True).double()

    def forward(self, x):
        y = self.activation(self.used(x))[:, None] + self.constant(torch.ones_like(x))[:, None]
        return self.attention(y, y, y)[0][:, 0, 0]


METHODS = [af.lrp, af.deep_lift, af.guided_backprop, af.deconvolution]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_rules_that_nothing_uses(method):
    """A rule that is given and not used would be a silent mistake."""
    model, rules = Partly(), {F.linear: af.rules.epsilon()}
    for name in ("unused", "constant", "attention.out_proj"):
        with raises(f"rules for the layer '{name}'", "nothing runs on what depends on", error=af.ArgumentError):
            method(model, X, rules={name: rules, "used": rules})
    with raises("rules for 'linear' in the layer 'activation'", "only 'relu'", error=af.ArgumentError):
        method(model, X, rules={"activation": rules})


@pytest.mark.filterwarnings("ignore:deep_lift. the attributions miss")
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_rules_before_a_layer_may_stay(method):
    """Other places of one model take the same rules."""
    model, rules = Partly(), {F.linear: af.rules.epsilon(0.5)}
    plain = method(af.layer(model, "activation"), X)
    torch.testing.assert_close(method(af.layer(model, "activation"), X, rules={"used": rules}), plain)
    method(af.neuron(model, "used", 0), X, rules={"used": rules, "unused": rules})


def test_baselines_of_another_shape():
    model = Network(torch.relu).double()
    with raises("deep_lift:", "`baseline`", "(4, 6)", error=af.ArgumentError):
        af.deep_lift(model, X, baseline=torch.zeros(4, 6))
    with raises("deep_lift_shap:", "`baselines`", "samples (N, *S)", error=af.ArgumentError):
        af.deep_lift_shap(model, X, baselines=torch.zeros(4, 6))


def test_a_model_that_runs_other_operations_at_the_baseline():
    def model(x):
        return (x.tanh() if x.detach().sum() > 0 else x.sigmoid()).sum(1)

    with raises("deep_lift:", "does not run the same operations"):
        af.deep_lift(model, X.abs(), baseline=-X.abs())


def test_what_goes_on_without_a_gradient_is_told():
    with pytest.warns(UserWarning, match=r"deep_lift: the attributions miss .*\(detach\(\)"):
        af.deep_lift(lambda x: (x * x.detach()).sum(1) + x.detach().sum(1), X)


def test_a_score_that_is_not_finite():
    with raises("deep_lift:", "not finite"):
        af.deep_lift(lambda x: (x - x).log().sum(1), X)


def test_a_multiplier_that_is_not_finite():
    with raises("deep_lift:", "multipliers are not finite", "Choose another baseline"):
        af.deep_lift(lambda x: x.sqrt().sum(1), torch.zeros(2, 3))


def test_the_model_is_untouched_by_what_fails():
    model = Network(lambda x: torch.cumprod(x, 1)).double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(af.ModelError):
        af.deep_lift(model, X, rules={"inner": {torch.relu: af.rules.natural}})
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
