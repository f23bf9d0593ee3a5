"""Where the score has no way for its gradient, zeros would be wrong: an error says so. What is not used has zeros."""

import pytest
import torch
from alike import drawn, same
from torch import nn

import attrfunc as af

TABLE = nn.Embedding(9, 3).double()


@torch.no_grad()
def frozen(x):
    return x.square().sum(1)


@torch.inference_mode()
def inferred(x):
    return x.square().sum(1)


class Hard(torch.autograd.Function):
    """A step function, which says that it has no gradient."""

    @staticmethod
    def forward(ctx, x):
        ctx.mark_non_differentiable(x)
        return (x > 0).to(x)

    @staticmethod
    def backward(ctx, grad):
        return None


CUT = {
    "no_grad": frozen,
    "inference_mode": inferred,
    "detach": lambda x: x.detach().square().sum(1),
    "data": lambda x: x.data.square().sum(1),
    "argmax": lambda x: x.argmax(1).to(x),
    "comparison": lambda x: (x > 0).to(x).sum(1),
    "cast to integers": lambda x: x.mul(10).long().to(x).sum(1),
    "embedding of a cast": lambda x: TABLE(x.abs().long().clamp(max=8)).sum((1, 2)),
    "numpy": lambda x: torch.from_numpy(x.detach().numpy() ** 2).sum(1),
    "cut in the middle": lambda x: TABLE.weight[0].sum() * (x * 2).detach().square().sum(1),
}
METHODS = {
    "ig": af.ig,
    "saliency": af.saliency,
    "input_x_gradient": af.input_x_gradient,
    "gradient_shap": lambda f, x: af.gradient_shap(f, x, baselines=torch.zeros_like(x), n_samples=3),
    "smooth": lambda f, x: af.smooth(af.saliency, n_samples=3, stdev=0.1)(f, x),
    "lrp": af.lrp,
    "guided_backprop": af.guided_backprop,
    "deconvolution": af.deconvolution,
    "deep_lift": lambda f, x: af.deep_lift(f, x, baseline=-0.5 * x.flip(0)),
}


@pytest.mark.parametrize("cut", CUT)
@pytest.mark.parametrize("name", METHODS)
def test_a_cut_is_refused(name, cut):
    x = 3 * drawn(4, 3)
    with pytest.raises(af.ModelError, match=r"gradient|no_grad|detach") as told:
        METHODS[name](CUT[cut], x)
    assert "feature_ablation" in str(told.value) or name == "deep_lift"  # the way out, which works:
    score = CUT[cut]
    gone = x.clone()
    gone[:, 0] = 0
    same(af.feature_ablation(score, x)[:, 0], (score(x) - score(gone)).detach())


class Blocks(nn.Module):
    """Cut between two layers, or at the head."""

    def __init__(self, cut):
        super().__init__()
        self.first, self.second, self.head, self.cut = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 1), cut

    def forward(self, x):
        h = self.first(x)
        h = h.detach() if self.cut else h
        return self.head(self.second(h).tanh())


def test_layers_behind_a_cut_have_attributions():
    net, x = Blocks(True).double(), drawn(4, 3)
    open_net = Blocks(False).double()
    open_net.load_state_dict(net.state_dict())
    for layer in ("second", "head"):
        same(af.ig(af.layer(net, layer), x), af.ig(af.layer(open_net, layer), x))
    for call in (lambda: af.ig(net, x), lambda: af.ig(af.layer(net, "first"), x)):
        with pytest.raises(af.ModelError, match=r"gradient"):
            call()
    for method in (af.conductance, af.internal_influence):
        with pytest.raises(af.ModelError, match=r"'second' does not depend|gradient"):
            method(net, x, layer="second")


OPERATIONS = {
    "bessel": lambda x: torch.special.bessel_j0(x).sum(1),
    "zeta": lambda x: torch.special.zeta(x.abs() + 2, x.abs() + 1).sum(1),
    "argsort": lambda x: x.argsort(1)[:, 0].to(x),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("method", [af.ig, af.saliency, af.input_x_gradient], ids=lambda method: method.__name__)
def test_operations_without_a_derivative_are_refused(method, name):
    with pytest.raises(af.ModelError, match=rf"{method.__name__}: .*(gradient|{name}.*derivative)"):
        method(OPERATIONS[name], drawn(2, 3))


@pytest.mark.parametrize("name", [name for name in METHODS if name != "gradient_shap"])
def test_what_is_not_used_has_zeros_beside_what_is(name):
    options = {"baseline": 0.5} if name == "deep_lift" else {}
    method = af.deep_lift if name == "deep_lift" else METHODS[name]
    used, unused = method(lambda a, b: (a * a).sum(1), (drawn(4, 3), drawn(4, 2)), **options)
    assert used.abs().sum() > 0
    assert not unused.any()
    # Read, but of no effect: what it does is known, not guessed.
    used, unused = method(lambda a, b: (a * a).sum(1) + 0 * b.detach().sum(1), (drawn(4, 3), drawn(4, 2)), **options)
    assert not unused.any()


@pytest.mark.parametrize("name", ["ig", "saliency", "input_x_gradient"])
def test_a_constant_score_is_not_a_cut(name):
    """Nothing changes it, so that zeros are right."""
    assert not METHODS[name](lambda x: torch.ones(len(x), dtype=x.dtype), drawn(4, 3)).any()
