"""The same computation in other forms: arguments by name, other norms, complex numbers, half precision, masks."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import attrfunc as af
from oracle_net import drawn

X, BASELINE = drawn(1, 3, 4, 6), drawn(2, 3, 4, 6)
WEIGHTS = drawn(3, 300)
ROTATION = torch.polar(torch.ones(3).double(), drawn(4, 3))
HOLE = torch.tensor([0.0, 0.0, -torch.inf, 0.0, 0.0, 0.0]).double()


def weighted(function):
    def model(x):
        out = function(x).reshape(len(x), -1)
        return (out * WEIGHTS[: out.shape[1]]).sum(1)

    return model


def turned(x):
    return torch.view_as_complex(x.unflatten(2, (3, 2)))


def flat(z):
    return torch.view_as_real(z).flatten(2)


def by_hand(x):
    """The rotation in real numbers."""
    pairs = x.unflatten(2, (3, 2))
    cos, sin = ROTATION.real, ROTATION.imag
    return torch.stack([pairs[..., 0] * cos - pairs[..., 1] * sin, pairs[..., 0] * sin + pairs[..., 1] * cos], -1)


def shifted_softmax(x):
    top = x.amax(2, keepdim=True)
    return (x - top).exp() / (x - top).exp().sum(2, keepdim=True)


COMPLETE = {
    "baddbmm by name": lambda x: torch.baddbmm(input=x[:, :, :4], batch1=x, batch2=x.mT),
    "addmm without its first": lambda x: torch.addmm(
        torch.full((3, 3), torch.inf).to(x), mat1=x.flatten(1), mat2=WEIGHTS[:72].view(24, 3), beta=0
    ),
    "prod by name": lambda x: torch.prod(input=x, dim=2),
    "variance by name": lambda x: torch.var(input=x, dim=2),
    "norm of order 3": lambda x: x.norm(p=3, dim=2),
    "least size": lambda x: torch.linalg.vector_norm(x, -torch.inf, dim=2),
    "matrix norm 1": lambda x: torch.linalg.norm(x, 1, dim=(1, 2)),
    "matrix norm of rows": lambda x: torch.linalg.norm(x, -torch.inf, dim=(2, 1), keepdim=True),
    "matrix norm": torch.linalg.matrix_norm,
    "sum of sizes of a matrix": lambda x: torch.norm(x, 1, dim=(1, 2)),
    "cross entropy": lambda x: F.cross_entropy(x[:, :, 0], torch.tensor([0, 1, 2]), reduction="none"),
    "largest where it is put": lambda x: (
        torch.zeros(3, 4, 2).to(x).scatter_reduce(2, torch.arange(6).expand(3, 4, 6) % 2, x, "amax", include_self=False)
    ),
    "a rotation": lambda x: flat(turned(x) * ROTATION),
    "a complex product": lambda x: flat(turned(x) * turned(x.tanh())),
    "parts": lambda x: turned(x).real * turned(x).imag,
    "a size by the conjugate": lambda x: (turned(x) * turned(x).conj()).real,
    "a filter": lambda x: torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(WEIGHTS[:6])),
    "a spectrum": lambda x: torch.view_as_real(torch.fft.fft2(x)),
    "softmax by hand": shifted_softmax,
    "a masked softmax by hand": lambda x: shifted_softmax(x + HOLE),
    "a masked maximum": lambda x: (x + HOLE).max(2).values,
    "a masked ReLU": lambda x: F.relu(x + HOLE),
}


@pytest.mark.parametrize("function", COMPLETE.values(), ids=COMPLETE)
def test_complete(function):
    model = weighted(function)
    found = af.deep_lift(model, X, baseline=BASELINE)
    torch.testing.assert_close(found.sum((1, 2)), model(X) - model(BASELINE))


REFUSED = {
    "norm' of order 0": lambda x: x.norm(p=0, dim=2),
    "norm' with p='nuc'": lambda x: torch.norm(x, "nuc", dim=(1, 2)),
    "matrix_norm' with ord=2": lambda x: torch.linalg.norm(x, 2, dim=(1, 2)),
    "abs' of complex numbers": lambda x: turned(x).abs(),
    "scatter_with_multiply'": lambda x: (
        torch.ones(3, 4, 6).to(x).scatter(2, torch.zeros(3, 4, 6).long(), x, reduce="multiply")
    ),
    "mode'": lambda x: x.mode(2).values,
}


@pytest.mark.filterwarnings("ignore:The reduce argument of torch.scatter")
@pytest.mark.parametrize(("name", "function"), REFUSED.items(), ids=REFUSED)
def test_refused_by_name(name, function):
    with pytest.raises(af.ModelError, match=f"deep_lift: there is no rule for the operation '{name}"):
        af.deep_lift(weighted(function), X, baseline=BASELINE)


def test_a_rotation_has_the_relevance_of_real_numbers():
    rules = af.rules.attn_lrp(1e-12)
    complex_one = weighted(lambda x: flat(turned(x) * ROTATION).square())
    real_one = weighted(lambda x: by_hand(x).flatten(2).square())
    torch.testing.assert_close(af.lrp(complex_one, X, rules=rules), af.lrp(real_one, X, rules=rules))
    product = weighted(lambda x: flat(turned(x) * turned(x.tanh())))
    torch.testing.assert_close(af.lrp(product, X, rules=rules).sum((1, 2)), product(X))
    conjugate = weighted(lambda x: flat(turned(x).conj().resolve_conj()))
    signs = torch.tensor([1.0, -1.0]).repeat(12) * WEIGHTS[:24]
    torch.testing.assert_close(af.lrp(conjugate, X, rules=rules), X * signs.view(4, 6))


@pytest.mark.parametrize("bias", [True, False])
def test_masks_leave_relevance_finite(bias):
    rules = af.rules.attn_lrp(1e-12, bias=bias)
    for function in (shifted_softmax, F.relu):
        found = af.lrp(weighted(lambda x, f=function: f(x + HOLE)), X, rules=rules)
        assert found.isfinite().all()
        assert not found[:, :, 2].any()
    torch.testing.assert_close(found, weighted_parts(F.relu(X + HOLE)))


def weighted_parts(values):
    return values * WEIGHTS[:24].view(4, 6)


@pytest.mark.parametrize("mask", ["causal", "padding"])
def test_masked_transformers_are_complete(mask):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True).double().eval()
    causal = nn.Transformer.generate_square_subsequent_mask(4, dtype=torch.float64)
    padded = torch.tensor([[False] * 4, [False] * 3 + [True], [False] * 2 + [True] * 2])
    options = {"src_mask": causal} if mask == "causal" else {"src_key_padding_mask": padded}

    def score(x, **kept):
        return layer(x, **kept)[:, 1 if mask == "causal" else 0, 0]

    found = af.deep_lift(score, X, baseline=BASELINE, kwargs=options)
    torch.testing.assert_close(found.sum((1, 2)), score(X, **options) - score(BASELINE, **options))
    if mask == "causal":
        found = af.deep_lift_shap(score, X, baselines=BASELINE[:2], kwargs=options)
        mean = score(BASELINE[:2], **options).mean()
        torch.testing.assert_close(found.sum((1, 2)), score(X, **options) - mean)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ["layer norm", "group norm", "norm", "variance"])
def test_what_is_opened_does_not_overflow_in_half_precision(kind, dtype):
    torch.manual_seed(0)
    functions = {
        "layer norm": nn.LayerNorm(32),
        "group norm": nn.Sequential(nn.Unflatten(1, (4, 8)), nn.GroupNorm(2, 4), nn.Flatten()),
        "norm": lambda x: x.norm(dim=1, keepdim=True).expand(-1, 32) / 64,
        "variance": lambda x: (x / 4).var(1, keepdim=True).expand(-1, 32) / 64,
    }
    body, head = functions[kind], nn.Linear(32, 1)
    x, baseline = (drawn(seed, 2, 32).to(dtype) for seed in (1, 2))
    x[:, 3], baseline[:, 3] = 400, 384

    def model(x, part=body, head=head):
        return head(part(x))[:, 0]

    exact = [copy.deepcopy(part).double() if isinstance(part, nn.Module) else part for part in (body, head)]
    half = [copy.deepcopy(part).to(dtype) if isinstance(part, nn.Module) else part for part in (body, head)]
    for method, options in ((af.deep_lift, {"baseline": baseline}), (af.lrp, {})):
        wide = {name: value.double() for name, value in options.items()}
        expected = method(lambda x: model(x, *exact), x.double(), **wide)
        found = method(lambda x: model(x, *half), x, **options)
        assert found.dtype == dtype
        tolerance = 0.05 if dtype == torch.float16 else 0.4
        assert (found.double() - expected).abs().max() <= tolerance * expected.abs().max()


CUTS = {
    "clamp with a tensor": lambda x: x.clamp(min=torch.tensor(0.0)),
    "clamp by name": lambda x: torch.clamp(x, min=torch.zeros(())),
    "clamp_min": lambda x: torch.clamp_min(x, torch.zeros(1)),
    "maximum": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "max of two": lambda x: torch.max(torch.zeros(()), x),
    "fmax": lambda x: torch.fmax(x, torch.tensor(0.0)),
    "relu": F.relu,
}


@pytest.mark.parametrize("rectify", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("method", [af.guided_backprop, af.deconvolution], ids=lambda method: method.__name__)
def test_rectifiers_in_every_form(method, rectify):
    x, weights = drawn(1, 3, 4).float(), torch.tensor([1.0, -1.0, 2.0, -2.0])
    found = method(lambda x: (rectify(x) * weights).sum(1), x)
    torch.testing.assert_close(found, method(lambda x: (F.relu(x) * weights).sum(1), x))
    assert not found[:, 1].any()


def test_what_cuts_elsewhere_keeps_its_gradient():
    x, weights = drawn(1, 3, 4).float(), torch.tensor([1.0, -1.0, 2.0, -2.0])
    for cut in (lambda x: x.clamp(min=torch.tensor(0.1)), lambda x: torch.maximum(x, torch.full_like(x, 0.1))):
        score = lambda x, f=cut: (f(x) * weights).sum(1)
        torch.testing.assert_close(af.guided_backprop(score, x), af.saliency(score, x, absolute=False))


def linear(seed, bias=False):
    layer = nn.Linear(3, 4, bias=bias).double()
    layer.weight.data = drawn(seed, 4, 3)
    return layer


def merged(weight, bias=None):
    layer = nn.Linear(3, 4, bias=bias is not None).double()
    layer.weight.data = weight.detach()
    if bias is not None:
        layer.bias.data = bias.detach()
    return layer


def revealed(function):
    score = lambda x: F.relu(function(x)).sum(1)
    return af.deep_lift(score, drawn(7, 2, 3), baseline=drawn(8, 2, 3), rules=af.REVEAL_CANCEL)


ONE, TWO, BIASED = linear(5), linear(6), linear(9, bias=True)
SAME = {
    "a difference": (lambda x: ONE(x) - TWO(x), merged(ONE.weight - TWO.weight)),
    "a sum": (lambda x: ONE(x) + TWO(x), merged(ONE.weight + TWO.weight)),
    "with a bias": (lambda x: ONE(x) - BIASED(x), merged(ONE.weight - BIASED.weight, -BIASED.bias)),
    "in place": (lambda x: ONE(x).add_(TWO(x)), merged(ONE.weight + TWO.weight)),
    "negated": (lambda x: -ONE(x), merged(-ONE.weight)),
    "by name": (lambda x: F.linear(weight=ONE.weight, input=x), ONE),
    "bias by name": (lambda x: F.linear(x, bias=BIASED.bias, weight=BIASED.weight), BIASED),
    "a product": (lambda x: x @ ONE.weight.T, ONE),
    "a constant taken off": (lambda x: BIASED(x) - 1, merged(BIASED.weight, BIASED.bias - 1)),
}


@pytest.mark.parametrize(("function", "same"), SAME.values(), ids=SAME)
def test_reveal_cancel_finds_contributions_in_every_form(function, same):
    torch.testing.assert_close(revealed(function), revealed(same))


def test_reveal_cancel_of_a_difference_of_two_inputs():
    """Each input's contributions to one layer: what lowers the second operand raises the difference."""
    x, baseline = drawn(7, 2, 6), drawn(8, 2, 6)
    apart = lambda x: F.relu(ONE(x[:, :3]) - TWO(x[:, 3:])).sum(1)
    joint = nn.Linear(6, 4, bias=False).double()
    joint.weight.data = torch.cat([ONE.weight, -TWO.weight], 1).detach()
    found, expected = (
        af.deep_lift(model, x, baseline=baseline, rules=af.REVEAL_CANCEL)
        for model in (apart, lambda x: F.relu(joint(x)).sum(1))
    )
    torch.testing.assert_close(found, expected)
