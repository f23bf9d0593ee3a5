"""Every operation under the Rescale book: multipliers are slopes, and everything adds up, in float64."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import attrfunc as af
from attrfunc.propagation.names import words

GENERATOR = torch.Generator().manual_seed(0)
X, BASELINE = torch.randn(2, 3, 4, 6, dtype=torch.float64, generator=GENERATOR).unbind(0)
WEIGHTS = torch.randn(1000, dtype=torch.float64, generator=GENERATOR)

OF_NN = words(
    """
    relu relu6 elu selu celu gelu silu mish hardsigmoid hardswish hardtanh leaky_relu logsigmoid softplus softsign
    tanhshrink softshrink hardshrink
    """
)
OF_TORCH = words("sigmoid tanh exp exp2 expm1 sin cos atan sinh cosh asinh erf erfc square abs sinc")

ELEMENTWISE = {
    **{name: getattr(F, name) for name in OF_NN},
    **{name: getattr(torch, name) for name in OF_TORCH},
    "gelu, tanh": lambda x: F.gelu(x, approximate="tanh"),
    "threshold": lambda x: F.threshold(x, 0.3, -1.0),
    "prelu": lambda x: F.prelu(x, torch.tensor([0.3], dtype=x.dtype)),
    "power": lambda x: x**3,
    "power of a constant": lambda x: 2**x,
    "logarithm": lambda x: torch.log(x + 5),
    "root": lambda x: (x + 5).sqrt(),
    "reciprocal root": lambda x: torch.rsqrt(x + 5),
    "reciprocal": lambda x: 1 / (x + 5),
    "divided": lambda x: x.sigmoid() / 3,
    "clamp": lambda x: x.clamp(-0.3, 0.5),
    "floor": lambda x: torch.floor(2 * x),
    "mask": lambda x: x * (x > 0.1),
    "where": lambda x: torch.where(x > 0.1, x, 0.3),
    "masked_fill": lambda x: x.masked_fill(x < 0, -0.2),
    "in place": lambda x: F.relu((x + 0).sub_(0.1), inplace=True),
    "method in place": lambda x: (x + 0).relu_(),
    "maximum of a constant": lambda x: torch.maximum(x, torch.full_like(x, 0.2)),
    "expit": torch.special.expit,
}


@pytest.mark.parametrize("function", ELEMENTWISE.values(), ids=ELEMENTWISE)
def test_elementwise_multipliers_are_slopes(function):
    slopes = (function(X) - function(BASELINE)) / (X - BASELINE)
    found = af.deep_lift(lambda x: function(x).flatten(1).sum(1), X, baseline=BASELINE, multiply_by_inputs=False)
    torch.testing.assert_close(found, slopes)


@pytest.mark.parametrize("function", [F.gelu, torch.tanh, F.relu, torch.exp], ids=lambda f: f.__name__)
def test_where_nothing_changes_the_multiplier_is_the_derivative(function):
    start = X + 1e-13 * BASELINE
    found = af.deep_lift(lambda x: function(x).flatten(1).sum(1), X, baseline=start, multiply_by_inputs=False)
    torch.testing.assert_close(found, af.saliency(lambda x: function(x).flatten(1).sum(1), X, absolute=False))


class Stack(nn.Module):
    """Layers on top of each other, and a weighted sum of what comes out."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        out = self.layers(x).flatten(1)
        return (out * WEIGHTS[: out.shape[1]]).sum(1)


def weighted(function):
    def model(x):
        out = function(x).reshape(x.shape[0], -1)
        return (out * WEIGHTS[: out.shape[1]]).sum(1)

    return model


class Attended(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.options = options

    def forward(self, x):
        return self.attention(x, x.flip(1), x, **self.options)[0]


class Rolled(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.net = kind(6, 5, batch_first=True, **options)

    def forward(self, x):
        return self.net(x)[0]


class TimeFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.LSTM(6, 5)

    def forward(self, x):
        return self.net(x.transpose(0, 1))[1][1].transpose(0, 1)


torch.manual_seed(0)
RECURRENT = [
    Rolled(nn.LSTM),
    Rolled(nn.LSTM, num_layers=2, bidirectional=True),
    Rolled(nn.LSTM, proj_size=3),
    Rolled(nn.LSTM, bias=False, proj_size=3),
    Rolled(nn.GRU, num_layers=2, bidirectional=True),
    Rolled(nn.GRU, bias=False),
    Rolled(nn.RNN),
    Rolled(nn.RNN, nonlinearity="relu", bidirectional=True),
    TimeFirst(),
]
MODULES = [
    nn.Conv1d(4, 3, 3),
    nn.ConvTranspose1d(4, 3, 3),
    nn.BatchNorm1d(4),
    nn.LayerNorm(6),
    nn.LayerNorm((4, 6), elementwise_affine=False),
    nn.RMSNorm(6),
    nn.GroupNorm(2, 4),
    nn.InstanceNorm1d(4),
    nn.InstanceNorm1d(4, affine=True, track_running_stats=True),
    nn.LocalResponseNorm(2),
    nn.Softmax(-1),
    nn.Softmin(-1),
    nn.LogSoftmax(1),
    nn.Softmax2d(),
    nn.GLU(),
    nn.MaxPool1d(2),
    nn.AdaptiveMaxPool1d(4),
    nn.AvgPool1d(2),
    nn.AdaptiveAvgPool1d(4),
    nn.LPPool1d(2, 2),
    nn.Upsample(scale_factor=2, mode="linear"),
    nn.PixelShuffle(2),
    nn.Dropout(0.5),
    Attended(need_weights=False),
    Attended(attn_mask=torch.ones(4, 4, dtype=torch.bool).triu(1)),
    *RECURRENT,
]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_modules_are_complete(module):
    model = Stack(module).double().eval()
    x, baseline = X, BASELINE
    if isinstance(module, nn.PixelShuffle):
        x, baseline = x[:, :, None], baseline[:, :, None]
    elif isinstance(module, nn.Softmax2d):
        x, baseline = x[..., None], baseline[..., None]
    with torch.no_grad():
        model(x)
    attributions = af.deep_lift(model, x, baseline=baseline)
    gap = af.completeness_gap(model, x, attributions, baseline=baseline)
    assert gap.abs().max() < 1e-12 * attributions.abs().sum()


@pytest.mark.parametrize("module", [*RECURRENT, MODULES[-len(RECURRENT) - 1]], ids=str)
def test_what_is_opened_computes_the_same(module):
    """Layers that are interpreted as what they compute: a rule that changes nothing gives the plain gradient."""
    model = Stack(module).double().eval()
    plain = lambda operation: (operation.value(), af.propagation.natural_rule.gradient_rule(operation)[1])
    names = ("sigmoid", "tanh", "relu", "mul", "softmax", "matmul", "bmm", "baddbmm", "linear")
    found = af.deep_lift(model, X, baseline=X, rules=dict.fromkeys(names, plain), multiply_by_inputs=False)
    torch.testing.assert_close(found, af.saliency(model, X, absolute=False))


FUNCTIONS = {
    "product": lambda x: x[:, :2] * x[:, 2:],
    "square": lambda x: x * x,
    "in place product": lambda x: (x + 0).mul_(x.tanh()),
    "quotient": lambda x: x[:, :2] / (x[:, 2:] + 5),
    "matmul": lambda x: x @ x.mT,
    "einsum": lambda x: torch.einsum("bij,bkj->bik", x, x.tanh()),
    "bilinear": lambda x: F.bilinear(x, x.sin(), WEIGHTS[:108].view(3, 6, 6)),
    "maximum": lambda x: torch.maximum(x[:, :2], x[:, 2:]),
    "minimum": lambda x: torch.min(x[:, :2], x[:, 2:]),
    "amax": lambda x: x.amax((1, 2)),
    "max": lambda x: x.max(2).values,
    "median": lambda x: x.median(2).values,
    "sorted": lambda x: x.sort(2).values,
    "topk": lambda x: x.topk(3, 2).values,
    "chosen": lambda x: torch.where(x[:, :2] > 0, x[:, :2], x[:, 2:]),
    "logsumexp": lambda x: x.logsumexp((1, 2)),
    "logaddexp": lambda x: torch.logaddexp(x[:, :2], x[:, 2:]),
    "norm": lambda x: x.norm(dim=2),
    "sum of sizes": lambda x: torch.linalg.vector_norm(x, 1, 2),
    "largest size": lambda x: torch.linalg.vector_norm(x, torch.inf, 2),
    "normalized": lambda x: F.normalize(x, dim=2),
    "variance": lambda x: x.var(2),
    "standard deviation": lambda x: torch.std(x, 2, correction=0),
    "variance and mean": lambda x: torch.stack(torch.var_mean(x, 2), -1),
    "variance and mean of all": lambda x: torch.stack(torch.var_mean(x.flatten(1), [1], keepdim=True), -1),
    "deviation and mean": lambda x: torch.stack(torch.std_mean(x, dim=2, correction=0), -1),
    "least and largest": lambda x: torch.stack(torch.aminmax(x, dim=2), -1),
    "the larger end": lambda x: torch.aminmax(x, dim=1, keepdim=True).max.flatten(1),
    "product of all": lambda x: x.prod(2),
    "addcmul": lambda x: torch.addcmul(x, x.tanh(), x.sin(), value=0.5),
    "addcdiv": lambda x: torch.addcdiv(x, x.tanh(), x + 5),
    "lerp": lambda x: torch.lerp(x, x.flip(1), x.sigmoid()),
    "cosine similarity": lambda x: F.cosine_similarity(x[:, :2], x[:, 2:], -1),
    "pairwise distance": lambda x: F.pairwise_distance(x[:, 0], x[:, 1]),
    "attention": lambda x: F.scaled_dot_product_attention(x, x.flip(1), x, is_causal=True),
    "weights that depend on the input": lambda x: torch.stack([F.linear(one, one.tanh()) for one in x]),
    "weights of embeddings": lambda x: F.embedding_bag(
        torch.arange(24).expand(len(x), 24) % 5,
        WEIGHTS[:30].view(5, 6),
        per_sample_weights=x.tanh().flatten(1),
        mode="sum",
    ),
    "concatenated": lambda x: torch.cat([x.tanh(), x, x.relu()], 1)[:, ::2],
    "written into": lambda x: torch.zeros_like(x).index_copy(2, torch.tensor([1, 3]), x[:, :, :2].tanh()),
    "overwritten after it was read": lambda x: _overwritten(x),
}


def _overwritten(x):
    hidden = x * 2
    squashed = hidden.tanh()
    hidden += 1
    return squashed * hidden


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_are_complete(function):
    model = weighted(function)
    attributions = af.deep_lift(model, X, baseline=BASELINE)
    gap = af.completeness_gap(model, X, attributions, baseline=BASELINE)
    assert gap.abs().max() < 1e-12 * attributions.abs().sum()


POOLS = {
    "2d": (lambda x: F.max_pool2d(x, 2), (2, 3, 6, 6)),
    "2d with indices": (lambda x: F.max_pool2d(x, 3, stride=1, return_indices=True)[0], (2, 3, 6, 6)),
    "3d": (lambda x: F.max_pool3d(x, 2), (2, 2, 4, 4, 4)),
    "adaptive 2d": (lambda x: F.adaptive_max_pool2d(x, 2), (2, 3, 5, 5)),
    "adaptive 3d": (lambda x: F.adaptive_max_pool3d(x, 2), (2, 2, 4, 4, 4)),
    "convolution 2d": (lambda x: F.conv2d(x, WEIGHTS[:54].view(2, 3, 3, 3)).relu(), (2, 3, 6, 6)),
    "transposed convolution 2d": (lambda x: F.conv_transpose2d(x, WEIGHTS[:54].view(3, 2, 3, 3)).relu(), (2, 3, 4, 4)),
}


@pytest.mark.parametrize(("function", "shape"), POOLS.values(), ids=POOLS)
def test_images_and_volumes_are_complete(function, shape):
    x, baseline = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    model = weighted(function)
    attributions = af.deep_lift(model, x, baseline=baseline)
    gap = af.completeness_gap(model, x, attributions, baseline=baseline)
    assert gap.abs().max() < 1e-12 * attributions.abs().sum()


@pytest.mark.parametrize("function", [lambda x: x.amax(1), lambda x: F.max_pool1d(x[:, None], 6)[:, 0, 0]])
def test_the_chosen_numbers_share_the_change_of_a_maximum(function):
    """The one that is largest at the input, and the one that is at the baseline; no one else."""
    x = torch.tensor([[3.0, 1.0, 0.0, 0.5, 0.2, 0.1]], dtype=torch.float64)
    baseline = torch.tensor([[1.0, 2.0, 0.0, 1.5, 0.3, 0.1]], dtype=torch.float64)
    # The maximum rises by 3 - 2 = 1, its numbers by 2 and -1: two thirds of the one and a third of the other.
    found = af.deep_lift(function, x, baseline=baseline, multiply_by_inputs=False)
    torch.testing.assert_close(found, torch.tensor([[2 / 3, 1 / 3, 0, 0, 0, 0]], dtype=torch.float64))


@pytest.mark.parametrize("scale", [1.0, 30.0, 3000.0])
def test_softmax_is_stable(scale):
    """By the definition: exp and log rescaled, with everything else linear, in high precision."""
    x, baseline = scale * X[:1, 0], scale * BASELINE[:1, 0]
    lift = lambda x, b: af.deep_lift(lambda x: x.softmax(1)[:, 2], x, baseline=b)
    exact = lift(x, baseline)
    torch.testing.assert_close(exact.sum(1), x.softmax(1)[:, 2] - baseline.softmax(1)[:, 2], rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(lift(x.float(), baseline.float()).double(), exact, rtol=1e-3, atol=1e-5)


def logarithmic_means(x, baseline):
    """The slopes of exp between two log softmaxes."""
    logs = [torch.log_softmax(z, 1) for z in (x, baseline)]
    return (x.softmax(1) - baseline.softmax(1)) / (logs[0] - logs[1])


def test_softmax_by_its_definition():
    """exp is rescaled; log sum exp is what keeps the exponentials' sum at one."""
    x, baseline = X[:1, 0], BASELINE[:1, 0]
    mean = logarithmic_means(x, baseline)
    expected = -mean[:, 2] * mean / mean.sum(1)
    expected[:, 2] += mean[:, 2]
    found = af.deep_lift(lambda x: x.softmax(1)[:, 2], x, baseline=baseline, multiply_by_inputs=False)
    torch.testing.assert_close(found, expected)


SHIFT_INVARIANT = {
    "softmax": lambda x: x.softmax(1)[:, 2],
    "log softmax": lambda x: x.log_softmax(1)[:, 2],
    "softmin": lambda x: F.softmin(x, 1)[:, 0],
    "cross entropy": lambda x: F.cross_entropy(x, torch.zeros(len(x), dtype=torch.long), reduction="none"),
    "log sum exp, less a logit": lambda x: x.logsumexp(1) - x[:, 0],
    "log sum exp of two": lambda x: torch.logaddexp(x[:, 0], x[:, 1]) - x[:, 1],
}


@pytest.mark.parametrize("function", SHIFT_INVARIANT.values(), ids=SHIFT_INVARIANT)
def test_what_all_logits_have_in_common_gets_nothing(function):
    found = af.deep_lift(function, X[:, 0], baseline=BASELINE[:, 0], multiply_by_inputs=False)
    assert found.sum(1).abs().max() < 1e-14
    shifted = X[:, 0].float() + 1e5
    with pytest.warns(UserWarning, match="the attributions cancel"):
        attributions = af.deep_lift(function, shifted, baseline=X[:, 0].float())
    assert attributions.sum(1).abs().max() < 0.1  # of a change that is rounding alone


def test_a_masked_softmax_has_no_share_of_what_is_masked():
    mask = torch.tensor([0.0, -torch.inf, 0.0, -torch.inf, 0.0, 0.0], dtype=torch.float64)
    found = af.deep_lift(lambda x: (x + mask).softmax(1)[:, 2], X[:, 0], baseline=BASELINE[:, 0])
    assert not found[:, [1, 3]].any()
    torch.testing.assert_close(
        found.sum(1), (X[:, 0] + mask).softmax(1)[:, 2] - (BASELINE[:, 0] + mask).softmax(1)[:, 2]
    )
