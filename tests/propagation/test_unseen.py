"""What rules do not see, or may not trust: scripts, transforms inside models, opened operations, bad rules."""

import re
import threading

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn import functional as F

import attrfunc as af
from attrfunc.propagation.opened import OPENED
from attrfunc.propagation.rule_book import Opened
from oracle_net import drawn

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.*deprecated:DeprecationWarning")
X = drawn(1, 3, 4)
METHODS = [af.lrp, af.guided_backprop, af.deconvolution, af.deep_lift]


def body():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)).double().eval()


class Around(nn.Module):
    """A part between two layers that are seen."""

    def __init__(self, part):
        super().__init__()
        self.first, self.part, self.last = nn.Linear(4, 4).double(), part, nn.Linear(2, 1).double()

    def forward(self, x):
        return self.last(self.part(self.first(x)))[:, 0]


UNSEEN = {
    "scripted": lambda: torch.jit.script(body()),
    "traced": lambda: torch.jit.trace(body(), X),
}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
@pytest.mark.parametrize("make", UNSEEN.values(), ids=UNSEEN)
def test_what_no_mode_sees_is_refused(method, make):
    part = make()
    for model in (Around(part), lambda x: part(x)[:, 0]):
        for _ in range(3):  # scripts are compiled anew at their second run
            with pytest.raises(af.ModelError, match=rf"{method.__name__}: a part of the model runs where rules do not"):
                method(model, X)
    with pytest.raises(af.ModelError, match=r"scripted or traced: part"):
        method(Around(part), X)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_vmap_inside_a_model_is_refused(method):
    net = body()
    with pytest.raises(af.ModelError, match=r"inside torch\.vmap, which the model applies itself"):
        method(lambda x: torch.vmap(net)(x)[:, 0], X)


def kept_gradient(energy, x):
    y = x * 1
    y.retain_grad()
    energy(y).backward(create_graph=True)
    return y.grad


def dual(energy, x):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(energy(forward_ad.make_dual(x, torch.ones_like(x)))).tangent


def own_leaf(energy, x):
    with torch.enable_grad():
        y = x.detach().requires_grad_()
        return torch.autograd.grad(energy(y), y)[0]


class Forced(nn.Module):
    """Scores by the forces of an energy."""

    def __init__(self, derivative):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 5), nn.Softplus(), nn.Linear(5, 1)).double()
        self.derivative = derivative

    def forward(self, x):
        forces = self.derivative(lambda z: self.net(z).sum(), x)
        return forces.square().expand(len(x), 4).sum(1) + x.sum(1)


DERIVATIVES = {
    "autograd.grad": lambda energy, x: torch.autograd.grad(energy(x), x, create_graph=True)[0],
    "of a leaf of its own": own_leaf,
    "backward": kept_gradient,
    "autograd.functional": lambda energy, x: torch.autograd.functional.jacobian(energy, x, create_graph=True),
    "forward mode": dual,
    "grad": lambda energy, x: torch.func.grad(energy)(x),
    "vjp": lambda energy, x: torch.func.vjp(energy, x)[1](torch.ones((), dtype=x.dtype))[0],
    "jvp": lambda energy, x: torch.func.jvp(energy, (x,), (torch.ones_like(x),))[1],
    "mapped": lambda energy, x: torch.vmap(torch.func.grad(energy))(x),
}


@pytest.mark.filterwarnings("ignore:Using backward:UserWarning")
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
@pytest.mark.parametrize("derivative", DERIVATIVES.values(), ids=DERIVATIVES)
def test_derivatives_inside_a_model_are_refused(method, derivative):
    """They would go through rules, and so be no derivatives."""
    model = Forced(derivative).eval()
    with pytest.raises(af.ModelError, match=rf"{method.__name__}: the model takes a derivative while it runs"):
        method(model, X)


def test_derivatives_of_what_has_no_rule_are_right():
    """Guided backpropagation changes rectifiers alone; those behind the derivative are none of its business."""
    net, head = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1)).double(), body()
    force = lambda x: torch.autograd.grad(net(x).sum(), x, create_graph=True)[0]
    kept = force(X.clone().requires_grad_())
    behind = af.guided_backprop(lambda z: head(z)[:, 0], kept.detach())
    (expected,) = torch.autograd.functional.vjp(force, X, behind)[1:]
    torch.testing.assert_close(af.guided_backprop(lambda x: head(force(x))[:, 0], X), expected)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_what_depends_on_no_input_may_run_unseen(method):
    net, script = body(), torch.jit.trace(body(), X)
    mask = lambda: (torch.vmap(torch.relu)(X) > 0.1).to(X) + script(X)[:, :1].detach()
    kept = mask()
    torch.testing.assert_close(method(lambda x: net(x * mask())[:, 0], X), method(lambda x: net(x * kept)[:, 0], X))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_compiled_parts_run_as_they_are_written(method):
    net = body()
    compiled = torch.compile(net, backend="eager")
    torch.testing.assert_close(method(lambda x: compiled(x)[:, 0], X), method(lambda x: net(x)[:, 0], X))


def test_threads_leave_the_compiler_on():
    """What a method sets for its own runs is not left behind for the process."""
    net = body()
    torch.compile(net, backend="eager")(X)
    threads = [threading.Thread(target=lambda: [af.lrp(net, X, target=0) for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch._dynamo.eval_frame._stance.stance == "default"


def test_an_opened_operation_that_computes_something_else_is_refused(monkeypatch):
    wrong = Opened(lambda x, *args, **kwargs: 1.01 * OPENED["softmin"].function(x, *args, **kwargs))
    model = lambda x: F.softmin(x, 1)[:, 0]
    for method in (af.lrp, af.deep_lift):
        with pytest.raises(af.ModelError, match=r"'softmin', called with .* another value than torch does"):
            method(model, X, rules={"softmin": wrong})
        method(model, X)


KINDS = {
    "a vector of another shape": lambda relevance: [relevance.sum()],
    "none": lambda relevance: [],
    "nothing": lambda relevance: None,
    "too many": lambda relevance: [relevance, relevance],
    "no list": lambda relevance: relevance,
    "a number": lambda relevance: [1.0],
}


@pytest.mark.parametrize("pull", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("method", [af.lrp, af.deep_lift, af.guided_backprop], ids=lambda method: method.__name__)
def test_what_a_rule_gives_back_is_checked(method, pull):
    rule = lambda operation: (operation.value(), pull)
    with pytest.raises(af.ArgumentError, match=r"from the pull of the rule for 'relu'; expected a list of tensors of"):
        method(body(), X, target=0, rules={F.relu: rule})


@pytest.mark.parametrize("given", [None, 3.0, (1, 2), [torch.ones(1), sum]], ids=str)
def test_what_a_rule_is_has_two_parts(given):
    with pytest.raises(af.ArgumentError, match="from the rule for 'relu'; expected a value"):
        af.lrp(body(), X, target=0, rules={F.relu: lambda operation: given})


def doubled(operation):
    return operation.value(), lambda gradient: [2 * gradient]


def test_a_module_class_stands_for_its_operation():
    pairs = [
        (nn.ReLU, "relu"),
        (nn.LeakyReLU, "leaky_relu"),
        (nn.Conv2d, "conv2d"),
        (nn.ConvTranspose1d, "conv_transpose1d"),
        (nn.BatchNorm2d, "batch_norm"),
        (nn.LayerNorm, "layer_norm"),
        (nn.Softmax, "softmax"),
        (nn.LSTM, "lstm"),
        (nn.MultiheadAttention, "multi_head_attention_forward"),
    ]
    for kind, name in pairs:
        assert af.rules.RuleBook({kind: doubled}).rules == {name: doubled}
    found, plain = (af.guided_backprop(body(), X, target=0, rules=rules) for rules in ({nn.ReLU: doubled}, None))
    torch.testing.assert_close(found, af.guided_backprop(body(), X, target=0, rules={"relu": doubled}))
    assert not torch.equal(found, plain)


def gelu(x):
    """A function of the user's that has the name of one of torch's."""
    return x * torch.sigmoid(1.7 * x)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("rellu", "'rellu'; .* Near matches: .*'relu'"),
        ("0", r"'0'; .* For one layer give a dictionary: rules={'0'"),
        (nn.ReLU(), r"ReLU\(\); .* give its name: rules={'layer': {'relu': rule}}"),
        (nn.Sequential, "torch.nn.functional.gelu: rule"),
        (gelu, "af.operation"),
        (3, "int 3; expected operations of torch"),
        (None, "NoneType None; expected operations of torch"),
        ("flatten", "'flatten', which only moves numbers around"),
        (torch.Tensor.view, "'view', which only moves numbers around"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_rules_for_nothing_are_refused(key, message):
    for method in (af.lrp, af.guided_backprop):
        with pytest.raises(af.ArgumentError, match=rf"{method.__name__}: argument `rules`: got a rule for .*{message}"):
            method(body(), X, target=0, rules={key: doubled})
    with pytest.raises(af.ArgumentError, match="expected the name of a layer"):
        af.lrp(body(), X, target=0, rules={key if key != "0" else "7": {"relu": doubled}})


def test_errors_name_what_is_unseen():
    script = torch.jit.trace(lambda z: z * z, X)
    with pytest.raises(af.ModelError, match=re.escape("runs after 'tanh' and before 'sinh'")):
        af.deep_lift(lambda x: torch.sinh(script(torch.tanh(x))).sum(1), X)
