"""Every rule of LRP against its formula, written out for one output and one input at a time."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import attrfunc as af

EPSILON = 0.01


def sign(z):
    return 1 if z >= 0 else -1


def stable(z):
    return z + EPSILON * sign(z)


def positive(z):
    return max(z, 0.0)


def negative(z):
    return min(z, 0.0)


# Each rule: the share of input i in output j. x, w are the inputs and weights of one output, b its bias.


def epsilon(x, w, b, i):
    return x[i] * w[i] / stable(sum(x[k] * w[k] for k in range(len(x))) + b)


def gamma(x, w, b, i):
    z = sum(x[k] * w[k] for k in range(len(x))) + b
    part = positive if z > 0 else negative
    weigh = lambda v: v + 0.5 * part(v)
    return weigh(x[i] * w[i]) / stable(sum(weigh(x[k] * w[k]) for k in range(len(x))) + weigh(b))


def alpha_beta(x, w, b, i):
    shares = []
    for part in (positive, negative):
        shares.append(part(x[i] * w[i]) / stable(sum(part(x[k] * w[k]) for k in range(len(x))) + part(b)))
    return 2 * shares[0] - shares[1]


def z_plus(x, w, b, i):
    return positive(x[i] * w[i]) / stable(sum(positive(x[k] * w[k]) for k in range(len(x))) + positive(b))


def z_box(x, w, b, i):
    term = lambda k: x[k] * w[k] - LOW * positive(w[k]) - HIGH * negative(w[k])
    return term(i) / stable(sum(term(k) for k in range(len(x))))


def w_square(x, w, b, i):
    return w[i] ** 2 / stable(sum(w[k] ** 2 for k in range(len(x))) + b**2)


def flat(x, w, b, i):
    connected = [float(w[k] != 0) for k in range(len(x))]
    return connected[i] / stable(sum(connected))


def halved(x, w, b, i):
    return x[i] * w[i] / 2 / stable(sum(x[k] * w[k] / 2 for k in range(len(x))))


LOW, HIGH = -2.5, 3.0
RULES = {
    "epsilon": (af.rules.epsilon(EPSILON), epsilon),
    "gamma": (af.rules.gamma(0.5, epsilon=EPSILON), gamma),
    "alpha_beta": (af.rules.alpha_beta(2, 1, epsilon=EPSILON), alpha_beta),
    "z_plus": (af.rules.z_plus(epsilon=EPSILON), z_plus),
    "z_box": (af.rules.z_box(LOW, HIGH, epsilon=EPSILON), z_box),
    "w_square": (af.rules.w_square(epsilon=EPSILON), w_square),
    "flat": (af.rules.flat(epsilon=EPSILON), flat),
    "reweighted": (af.rules.reweighted(lambda w: w / 2, lambda b: None, epsilon=EPSILON), halved),
}
BIASED = ["epsilon", "gamma", "alpha_beta", "z_plus", "w_square"]

LAYERS = {
    "linear": (lambda: nn.Linear(5, 4), (5,)),
    "conv1d": (lambda: nn.Conv1d(2, 3, 3, padding=1), (2, 5)),
    "conv2d": (lambda: nn.Conv2d(4, 4, 2, stride=2, groups=2, padding=1), (4, 3, 3)),
    "conv3d": (lambda: nn.Conv3d(1, 2, 2), (1, 2, 3, 2)),
    "conv_transpose1d": (lambda: nn.ConvTranspose1d(2, 3, 2, stride=2), (2, 3)),
    "conv_transpose2d": (lambda: nn.ConvTranspose2d(4, 2, 2, groups=2), (4, 2, 2)),
    "conv_transpose3d": (lambda: nn.ConvTranspose3d(1, 2, 2), (1, 2, 1, 2)),
}


def randn(*shape):
    return torch.randn(*shape, dtype=torch.float64)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def dense(layer, shape):
    """The matrix and the bias of a layer as one from all inputs to all outputs."""
    zero = torch.zeros(shape, dtype=torch.float64)
    matrix = torch.autograd.functional.jacobian(lambda x: layer(x[None])[0].flatten(), zero).flatten(1)
    return matrix.detach().tolist(), layer(zero[None])[0].flatten().tolist()


def shared_out(share, x, matrix, bias, relevance):
    """What a rule makes of the relevance of all outputs, for one example."""
    x = x.flatten().tolist()
    return [sum(share(x, matrix[j], bias[j], i) * relevance[j] for j in range(len(matrix))) for i in range(len(x))]


def check(model, layer, shape, rule, share, matrix, bias, name="0"):
    """Compare at a layer that two others follow: an elementwise function and a linear layer with the score."""
    x = randn(2, *shape)
    head = model[-1]
    found = af.lrp(model, x, target=1, rules=af.rules.attn_lrp(EPSILON) | {name: af.rules.for_layers(rule)})
    for one, result in zip(x, found, strict=True):
        hidden = torch.tanh(layer(one[None])).flatten()
        score = model(one[None])[0, 1].item()
        relevance = shared_out(epsilon, hidden, head.weight[1:2].tolist(), [head.bias[1].item()], [score])
        expected = torch.tensor(shared_out(share, one, matrix, bias, relevance), dtype=torch.float64)
        torch.testing.assert_close(result.flatten(), expected)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("name", RULES)
def test_rules(name, kind):
    make, shape = LAYERS[kind]
    layer = make().double()
    matrix, bias = dense(layer, shape)
    rule, share = RULES[name]
    model = nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.Linear(len(matrix), 3).double())
    check(model, layer, shape, rule, share, matrix, bias)


@pytest.mark.parametrize("name", BIASED)
def test_without_the_share_of_biases(name):
    layer = nn.Linear(5, 4).double()
    matrix, bias = dense(layer, (5,))
    options = {"epsilon": (EPSILON,), "gamma": (0.5,)}.get(name, ())
    rule = getattr(af.rules, name)(*options, **({} if name == "epsilon" else {"epsilon": EPSILON}), bias=False)
    share = lambda x, w, b, i: RULES[name][1](x, w, 0.0, i)
    if name == "gamma":  # the sign is that of the output itself
        bias = [0.0] * 4
        with torch.no_grad():
            layer.bias.zero_()
    model = nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.Linear(4, 3).double())
    check(model, layer, (5,), rule, share, matrix, bias)


@pytest.mark.parametrize("kind", ["linear", "conv2d", "conv_transpose1d", "conv_transpose2d"])
@pytest.mark.parametrize("name", RULES)
def test_batch_norm_is_folded_into_the_layer_before_it(name, kind):
    make, shape = LAYERS[kind]
    layer = make()
    channels = layer(torch.zeros(1, *shape)).shape[1]
    norm = (nn.BatchNorm2d if kind.endswith("2d") else nn.BatchNorm1d)(channels)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    both = nn.Sequential(layer, norm).double().eval()
    matrix, bias = dense(both, shape)
    rule, share = RULES[name]
    model = nn.Sequential(layer, norm, nn.Tanh(), nn.Flatten(), nn.Linear(len(matrix), 3)).double().eval()
    check(model, both, shape, rule, share, matrix, bias)
    x = randn(2, *shape)
    at_layer, at_norm = af.lrp(af.layer(model, ["0", "1"]), x, target=1, rules={"0": af.rules.for_layers(rule)})
    torch.testing.assert_close(at_layer, at_norm)
    inside = af.lrp(model, x, target=1, rules={"0": af.rules.for_layers(rule)})
    tapped = af.lrp(af.layer(model, ["0"], side="input"), x, target=1, rules={"0": af.rules.for_layers(rule)})
    torch.testing.assert_close(tapped[0], inside)


def test_a_batch_norm_that_stands_alone():
    norm = nn.BatchNorm1d(5)
    norm.running_mean.normal_()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    norm = norm.double().eval()
    matrix, bias = dense(norm, (5,))
    model = nn.Sequential(norm, nn.Tanh(), nn.Linear(5, 3).double())
    check(model, norm, (5,), af.rules.epsilon(EPSILON), epsilon, matrix, bias)


PLAIN = af.rules.attn_lrp(1e-12)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.AvgPool2d(2, stride=1, padding=1), (1, 3, 3)),
        (nn.AdaptiveAvgPool1d(2), (1, 5)),
        (nn.Upsample(scale_factor=2, mode="bilinear"), (1, 2, 2)),
        (nn.Fold((3, 3), 2), (4, 4)),
        (lambda x: x.cumsum(1), (5,)),
        (lambda x: torch.einsum("bi,ij->bj", x, torch.arange(10.0, dtype=x.dtype).view(5, 2)), (5,)),
        (lambda x: torch.addmm(torch.ones(2).to(x), x, torch.arange(10.0, dtype=x.dtype).view(5, 2)), (5,)),
        (lambda x: x.flip(1) * 3 + 2, (5,)),
        (lambda x: F.pad(x, (1, 1), "reflect").unfold(1, 3, 1).sum(2), (5,)),
    ],
)
def test_linear_operations_share_out_by_contribution(layer, shape):
    matrix, bias = dense(layer, shape)
    x = randn(2, *shape)
    weights = torch.arange(1.0, len(matrix) + 1).double()
    found = af.lrp(lambda x: (layer(x).flatten(1) * weights).sum(1), x, rules=PLAIN)
    for one, result in zip(x, found, strict=True):
        relevance = (layer(one[None]).flatten() * weights).tolist()
        exact = lambda x, w, b, i: x[i] * w[i] / (sum(x[k] * w[k] for k in range(len(x))) + b)
        expected = shared_out(exact, one, matrix, bias, relevance)
        torch.testing.assert_close(result.flatten(), torch.tensor(expected, dtype=torch.float64))


def test_the_largest_takes_all():
    x = randn(2, 6)
    found = af.lrp(lambda x: F.max_pool1d(x[:, None], 2)[:, 0].sum(1), x, rules=PLAIN)
    for one, result in zip(x, found, strict=True):
        for pair in ((0, 1), (2, 3), (4, 5)):
            winner = max(pair, key=lambda i: one[i])
            for i in pair:
                torch.testing.assert_close(result[i], one[i] if i == winner else torch.zeros_like(one[i]))


@pytest.mark.parametrize(
    "name", ["relu", "gelu", "silu", "tanh", "sigmoid", "exp", "square", "abs", "softplus", "leaky_relu", "elu"]
)
def test_elementwise_functions_let_relevance_through(name):
    function = getattr(F, name, None) or getattr(torch, name)
    x = randn(2, 6)
    torch.testing.assert_close(af.lrp(lambda x: function(x).sum(1), x, rules=PLAIN), function(x))


def test_a_composite_gives_the_first_layer_its_own_rule():
    model = nn.Sequential(nn.Conv1d(1, 2, 2), nn.ReLU(), nn.Conv1d(2, 2, 2), nn.Flatten(), nn.Linear(6, 3)).double()
    x = randn(2, 1, 5)
    conv = F.conv1d
    by_name = {
        "0": {conv: af.rules.z_box(-3, 3)},
        "2": {conv: af.rules.gamma(0.25)},
    }
    book = af.rules.epsilon_gamma_box(-3, 3)
    torch.testing.assert_close(af.lrp(model, x, target=1, rules=book), af.lrp(model, x, target=1, rules=by_name))
    plus = {"0": {conv: af.rules.flat()}, "2": {conv: af.rules.z_plus()}}
    book = af.rules.epsilon_plus_flat()
    torch.testing.assert_close(af.lrp(model, x, target=1, rules=book), af.lrp(model, x, target=1, rules=plus))
    at_relu = [af.lrp(af.layer(model, "1"), x, target=1, rules=rules) for rules in (book, plus)]
    torch.testing.assert_close(*at_relu)
