"""What LRP refuses, and how it says so."""

import pytest
import torch
from torch import nn

import attrfunc as af

X = torch.ones(2, 3)
MODEL = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: af.rules.alpha_beta(2, 2),
            r"alpha_beta: argument `alpha`: got alpha=2 and beta=2; .*alpha - beta = 1",
        ),
        (lambda: af.rules.alpha_beta(0.5, -0.5), "alpha_beta: argument `beta`"),
        (lambda: af.rules.z_box(), r"z_box: argument `low`: got None; expected the bounds"),
        (lambda: af.rules.z_box(0.0), r"z_box: argument `high`: got None"),
        (lambda: af.rules.epsilon_gamma_box(), r"z_box: argument `low`"),
        (lambda: af.rules.epsilon(-1e-6), r"epsilon: argument `epsilon`: got float -1e-06; expected a number"),
        (lambda: af.rules.gamma("0.25"), r"gamma: argument `gamma`: got str '0.25'"),
        (lambda: af.rules.z_plus(epsilon=float("nan")), r"argument `epsilon`: got float nan"),
    ],
)
def test_rules_that_cannot_be_right(make, message):
    with pytest.raises(af.ArgumentError, match=message):
        make()


def test_relevance_that_is_not_finite():
    zero = nn.Linear(3, 2, bias=False)
    nn.init.zeros_(zero.weight)
    model = nn.Sequential(zero, nn.Sigmoid(), nn.Linear(2, 2))
    with pytest.raises(af.ModelError, match=r"lrp: the relevance is not finite .* epsilon above 0"):
        af.lrp(model, X, target=0, rules=af.rules.attn_lrp(0.0))
    assert af.lrp(model, X, target=0).isfinite().all()


def test_a_layer_that_is_not_there():
    with pytest.raises(af.ArgumentError, match=r"lrp: argument `rules`: got rules for a layer 'head'"):
        af.lrp(MODEL, X, target=0, rules={"head": {}})


def test_an_operation_without_a_rule():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x):
            return torch.linalg.cholesky(self.fc(x)[:, :, None] + torch.eye(3)).sum((1, 2))

    with pytest.raises(af.ModelError, match=r"lrp: there is no rule for the operation 'cholesky' \(in Net\)"):
        af.lrp(Net(), X)


def test_batch_norm_in_training_mode():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    with (
        pytest.warns(UserWarning, match="training mode"),
        pytest.raises(af.ModelError, match="no rule for the operation 'batch_norm_in_training'"),
    ):
        af.lrp(model, X, target=0)


def test_relevance_of_another_batch():
    with pytest.raises(af.ArgumentError, match=r"relevance_gap: argument `relevance`: got shapes \[\(3, 3\)\]"):
        af.relevance_gap(MODEL, X, torch.ones(3, 3), target=0)


def test_a_book_from_nothing_starts_at_the_score_too():
    book = af.rules.RuleBook({"linear": af.rules.epsilon(), "relu": af.rules.identity})
    torch.testing.assert_close(af.lrp(MODEL, X, target=0, rules=book), af.lrp(MODEL, X, target=0))


@pytest.mark.parametrize("name", ["alpha_beta", "gamma", "z_box", "flat"])
def test_the_model_is_untouched_by_an_error(name):
    state = {key: value.clone() for key, value in MODEL.state_dict().items()}
    rule = getattr(af.rules, name)(*((-1, 1) if name == "z_box" else ()))
    with pytest.raises(af.ArgumentError):
        af.lrp(MODEL, X, target=7, rules=af.rules.for_layers(rule))
    assert all(torch.equal(value, state[key]) for key, value in MODEL.state_dict().items())
    assert not any(module._forward_hooks or hasattr(module, "rule") for module in MODEL.modules())


WRONG = {
    "a bias that is no flag": (lambda: af.rules.epsilon(bias=3), r"epsilon: argument `bias`: got int 3; expected True"),
    "a flag for a size": (lambda: af.rules.gamma(True), r"gamma: argument `gamma`: got bool True"),
    "a negative share": (lambda: af.rules.alpha_beta(0.0, -1.0), r"alpha_beta: argument `beta`: got float -1.0"),
    "no number": (lambda: af.rules.alpha_beta("2", 1), r"alpha_beta: argument `alpha`: got str '2'"),
    "bounds the wrong way": (lambda: af.rules.z_box(1, -1), r"z_box: argument `low`: got low=int 1 and high=int -1"),
    "a bound that is no number": (lambda: af.rules.z_box("a", 1), r"z_box: argument `low`: got str 'a'"),
    "a bound that is not a number": (lambda: af.rules.z_box(float("nan"), 1), r"z_box: argument `low`.*nowhere above"),
    "a weight that is no function": (lambda: af.rules.reweighted(2.0), r"reweighted: argument `weight`: got float 2"),
    "a rule in a composite": (lambda: af.rules.epsilon_plus(-1.0), r"argument `epsilon`: got float -1.0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_arguments_of_rules(name):
    make, message = WRONG[name]
    with pytest.raises(af.ArgumentError, match=message):
        make()


def test_arguments_of_rules_that_show_at_a_layer():
    bounds = af.rules.for_layers(af.rules.z_box(torch.zeros(7), torch.ones(7)))
    with pytest.raises(af.ArgumentError, match=r"z_box: argument `low`.*broadcasts to the input's \(\d, \d\)"):
        af.lrp(MODEL, X, target=0, rules=bounds)
    halved = af.rules.for_layers(af.rules.reweighted(lambda w: w[:1]))
    with pytest.raises(af.ArgumentError, match=r"reweighted: argument `weight`: got a function that makes a tensor"):
        af.lrp(MODEL, X, target=0, rules=halved)


def test_what_makes_rules_is_no_rule():
    with pytest.raises(af.ArgumentError, match=r"got af.rules.epsilon itself.*Call it: af.rules.epsilon\(...\)"):
        af.lrp(MODEL, X, target=0, rules={"linear": af.rules.epsilon})
    with pytest.raises(af.ArgumentError, match=r"got the function attn_lrp; .*call it: attn_lrp\(\)"):
        af.lrp(MODEL, X, target=0, rules=af.rules.attn_lrp)
