"""What a model may do without a rule minding it, and what it is told where a rule does."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import attrfunc as af
from oracle_net import drawn

X = drawn(1, 3, 4)
METHODS = [af.lrp, af.guided_backprop, af.deconvolution, af.deep_lift]
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)


def body():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)).double().eval()


HOOKS = {
    "full": lambda layer, hook: layer.register_full_backward_hook(hook),
    "before": lambda layer, hook: layer.register_full_backward_pre_hook(lambda module, grads: hook(module, grads, 0)),
}


@every_method
@pytest.mark.parametrize("register", HOOKS.values(), ids=HOOKS)
def test_backward_hooks_of_modules_are_passed_by(method, register):
    """What goes back is no gradient, which is what they are for."""
    net, seen = body(), []
    expected = method(net, X, target=0)
    for layer in net:
        register(layer, lambda module, grads, _: seen.append(grads) or (2 * grads[0],))
    hooks = [(dict(layer._backward_hooks), dict(layer._backward_pre_hooks)) for layer in net]
    torch.testing.assert_close(method(net, X, target=0), expected)
    torch.testing.assert_close(method(af.layer(net, "1"), X, target=0), method(af.layer(body(), "1"), X, target=0))
    torch.testing.assert_close(torch.vmap(lambda x: method(net, x[None], target=0)[0])(X), expected)
    assert not seen
    assert hooks == [(dict(layer._backward_hooks), dict(layer._backward_pre_hooks)) for layer in net]
    net(X.clone().requires_grad_()).sum().backward()
    assert len(seen) == 3  # and they still are where they were


@every_method
def test_arguments_by_name(method):
    """What a call copies or overwrites may be named, wherever its name stands."""
    named = {
        "in place": lambda x: F.relu(inplace=True, input=2 * x),
        "a copy": lambda x: F.relu(torch.clone(input=x)) * 2,
        "out of place": lambda x: torch.relu(input=x) * 2,
    }
    expected = method(lambda x: (F.relu(x) * 2).sum(1), X)
    for model in named.values():
        torch.testing.assert_close(method(lambda x, model=model: model(x).sum(1), X), expected)


@pytest.mark.filterwarnings("ignore:deep_lift. the score of an example depends:UserWarning")
@every_method
@pytest.mark.parametrize("by", ["module", "function"])
def test_fused_attention_with_a_learned_mask(method, by):
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.mask = nn.Parameter(drawn(2, 3, 3))
            self.attention = F.scaled_dot_product_attention

        def forward(self, x):
            x = x[:, None, :, None] * torch.linspace(1, 2, 3).double()
            return self.attention(x[..., :3, :], x[..., 1:, :], x[..., :3, :], self.mask).sum((1, 2, 3))

    def by_hand(q, k, v, mask):
        return torch.softmax(q @ k.transpose(-1, -2) / 3**0.5 + mask, -1) @ v

    model, plain = Masked(), Masked()
    plain.attention = by_hand
    found = method(model if by == "module" else lambda x: model(x), X)
    torch.testing.assert_close(found, method(plain, X))


SEVERAL = {
    "aminmax": (lambda x: torch.aminmax(x, dim=1), lambda x: (x.amin(1), x.amax(1))),
    "aminmax of all": (lambda x: torch.aminmax(x), lambda x: (x.amin(), x.amax())),
    "var_mean": (lambda x: torch.var_mean(x, dim=1), lambda x: (x.var(1), x.mean(1))),
    "var_mean of all": (lambda x: torch.var_mean(x, unbiased=False), lambda x: (x.var(unbiased=False), x.mean())),
    "std_mean": (lambda x: torch.std_mean(x, 1, keepdim=True), lambda x: (x.std(1, keepdim=True), x.mean(1)[:, None])),
    "std_mean biased": (lambda x: torch.std_mean(x, 1, False), lambda x: (x.std(1, False), x.mean(1))),
    "corrected": (lambda x: torch.var_mean(x, dim=(0, 1), correction=0), lambda x: (x.var(correction=0), x.mean())),
}


@pytest.mark.filterwarnings("ignore:deep_lift. the score of an example depends:UserWarning")
@every_method
@pytest.mark.parametrize("name", SEVERAL)
def test_reductions_that_give_two_tensors(method, name):
    together, apart = SEVERAL[name]
    score = lambda pair, x: (3 * pair[0] + pair[1]).reshape(-1, 1).expand(len(x), 1)[:, 0] + x[:, 0]
    baseline = {"baseline": 0.1 * drawn(4, 3, 4)} if method is af.deep_lift else {}
    found, expected = (
        method(lambda x, function=function: score(function(x), x), X, **baseline) for function in (together, apart)
    )
    torch.testing.assert_close(found, expected)
    assert torch.aminmax(X, dim=1).max.equal(X.amax(1))


def test_the_fields_of_what_is_opened():
    for method in METHODS:
        model, plain = (lambda x: torch.aminmax(x, dim=1).max), (lambda x: x.amax(1))
        torch.testing.assert_close(method(model, X), method(plain, X))


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(x):
        return 2 * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


class OldStyle(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


class Calling(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x).sum(1)


def twice(operation):
    return operation.value(), lambda gradient: [2 * gradient]


def test_advice_that_can_be_followed():
    """What an error tells to pass is written as it has to be passed."""
    with pytest.raises(af.ModelError, match=r"no rule for the operation Doubled \(in Calling\).*rules={Doubled: rule}"):
        af.deep_lift(Calling(Doubled.apply), X)
    torch.testing.assert_close(af.deep_lift(Calling(Doubled.apply), X, rules={Doubled: twice}), 2 * X)
    with pytest.raises(af.ModelError, match=r"the autograd.Function 'OldStyle' in Calling.*Split its forward"):
        af.deep_lift(Calling(OldStyle.apply), X)

    def sign(x):
        return torch.linalg.slogdet(x[:, :, None] * x[:, None] + torch.eye(4))[1][:, None]

    with pytest.raises(af.ModelError, match=r"'slogdet'.*gives several tensors.*function = af.operation\(function\)"):
        af.lrp(Calling(sign), X)
    sign = af.operation(sign)
    spread = lambda operation: (operation.value(), lambda relevance: [(relevance / 4).expand(3, 4)])
    torch.testing.assert_close(
        af.lrp(Calling(sign), X, rules={sign: spread}).sum(1), sign(X)[:, 0], rtol=1e-5, atol=1e-5
    )


class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.last = body(), nn.Linear(2, 1).double()

    def forward(self, x):
        return self.last(checkpoint(self.inner, x, use_reentrant=True))[:, 0]


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")
@pytest.mark.parametrize("method", [*METHODS, af.saliency, af.ig], ids=lambda method: method.__name__)
def test_layers_inside_reentrant_checkpoints(method):
    with pytest.raises(af.ModelError, match=r"reentrant *gradient checkpointing"):
        method(af.layer(Checkpointed(), "inner.0"), X)
    with pytest.raises(af.ModelError, match="checkpointing"):
        method(af.layer(Checkpointed(), "inner.2"), X)
    method(af.layer(Checkpointed(), "last"), X)
