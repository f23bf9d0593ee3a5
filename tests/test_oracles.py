"""Each method against its paper's formula, written out literally, slowly, one example at a time, in float64."""

import pytest
import torch
from torch import nn

import attrfunc as af
from oracle_net import drawn, make, slope

RIEMANN = ["riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"]
# Both ends of a trapezoid are nodes: it has no rule of one.
SIZES = [(rule, n) for rule in ["gausslegendre", *RIEMANN] for n in (1, 2, 10, 50) if (rule, n) != (RIEMANN[-1], 1)]


@pytest.fixture
def net():
    return make()


@pytest.fixture
def x():
    return drawn(1, 3, 5)


@pytest.fixture
def baseline():
    return drawn(2, 3, 5)


def riemann(method, n):
    """The rules as textbooks state them: cells of equal width, one sample each; the trapezoid averages both ends."""
    width = 1 / n
    if method == "riemann_left":
        return [(k * width, width) for k in range(n)]
    if method == "riemann_right":
        return [((k + 1) * width, width) for k in range(n)]
    if method == "riemann_middle":
        return [((k + 0.5) * width, width) for k in range(n)]
    cells = n - 1
    ends = [(k / cells, (k + 1) / cells) for k in range(cells)]
    sums = {}
    for left, right in ends:
        for node in (left, right):
            sums[round(node * cells)] = sums.get(round(node * cells), 0) + (right - left) / 2
    return [(k / cells, sums[k]) for k in range(n)]


def simpson(cells):
    """Far finer than any rule that is tested: parabolas through the ends and the middle of each cell."""
    marks = [(1 if k in (0, 2 * cells) else 2 + 2 * (k % 2)) for k in range(2 * cells + 1)]
    return [(k / (2 * cells), mark / (6 * cells)) for k, mark in enumerate(marks)]


def path_integral(function, start, end, rule):
    total = torch.zeros_like(end)
    for node, weight in rule:
        total += weight * slope(function, start + node * (end - start))
    return (end - start) * total


@pytest.mark.parametrize("method", RIEMANN)
def test_integrated_gradients_by_riemann_sums(method, net, x, baseline):
    result = af.ig(net, x, baseline=baseline, target=2, n_steps=7, method=method)
    for one, start, attribution in zip(x, baseline, result, strict=True):
        expected = path_integral(lambda z: net(z[None])[0, 2], start, one, riemann(method, 7))
        torch.testing.assert_close(attribution, expected)


def test_integrated_gradients_converge_to_the_integral(net, x, baseline):
    result = af.ig(net, x, baseline=baseline, target=2, n_steps=20)
    for one, start, attribution in zip(x, baseline, result, strict=True):
        fine = path_integral(lambda z: net(z[None])[0, 2], start, one, simpson(200))
        torch.testing.assert_close(attribution, fine, rtol=1e-7, atol=1e-8)


def test_integrated_gradients_at_a_layer(net, x, baseline):
    """The activation moves; what bypasses the layer stays as it is at the input."""
    result = af.ig(af.layer(net, "block"), x, baseline=baseline, target=1, n_steps=9, method="riemann_middle")
    for one, start, attribution in zip(x, baseline, result, strict=True):
        expected = path_integral(
            lambda a, one=one: net.behind(one[None], a[None])[0, 1],
            net.before(start[None])[0],
            net.before(one[None])[0],
            riemann("riemann_middle", 9),
        )
        torch.testing.assert_close(attribution, expected)


def test_integrated_gradients_of_a_neuron(net, x, baseline):
    result = af.ig(af.neuron(net, "block", 3), x, baseline=baseline, n_steps=9, method="riemann_left")
    for one, start, attribution in zip(x, baseline, result, strict=True):
        expected = path_integral(lambda z: net.before(z[None])[0, 3], start, one, riemann("riemann_left", 9))
        torch.testing.assert_close(attribution, expected)


def test_joint_layers_move_together(x):
    """Two parallel embeddings, as of words and positions."""

    class Parallel(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(5, 4), nn.Linear(5, 4)

        def forward(self, x):
            return (self.a(x) * self.b(x)).tanh().sum(1)

    torch.manual_seed(0)
    net = Parallel().double()
    view = af.layer(net, ["a", "b"], joint=True)
    first, second = af.ig(view, x, n_steps=9, method="riemann_middle")
    for one, result_a, result_b in zip(x, first, second, strict=True):
        function = lambda z: (z[:4] * z[4:]).tanh().sum()
        start, end = (torch.cat([net.a(z), net.b(z)]) for z in (torch.zeros_like(one), one))
        expected = path_integral(function, start, end, riemann("riemann_middle", 9))
        torch.testing.assert_close(torch.cat([result_a, result_b]), expected)
    gap = af.completeness_gap(view, x, af.ig(view, x))
    torch.testing.assert_close(gap, torch.zeros_like(gap), rtol=0, atol=1e-12)


def test_average_gradient_without_multiplication(net, x, baseline):
    options = {"baseline": baseline, "target": 0, "n_steps": 5}
    average = af.ig(net, x, multiply_by_inputs=False, **options)
    torch.testing.assert_close(average * (x - baseline), af.ig(net, x, **options))


@pytest.mark.parametrize("absolute", [True, False])
def test_saliency(absolute, net, x):
    result = af.saliency(net, x, target=1, absolute=absolute)
    for one, attribution in zip(x, result, strict=True):
        expected = slope(lambda z: net(z[None])[0, 1], one)
        torch.testing.assert_close(attribution, expected.abs() if absolute else expected)


def test_input_x_gradient(net, x):
    result = af.input_x_gradient(net, x, target=1)
    for one, attribution in zip(x, result, strict=True):
        torch.testing.assert_close(attribution, one * slope(lambda z: net(z[None])[0, 1], one))


@pytest.mark.parametrize("method", [af.saliency, af.input_x_gradient])
def test_gradients_at_several_layers(method, net, x):
    results = method(af.layer(net, ["block", "embed"]), x, target=1)
    for one, at_block, at_embed in zip(x, *results, strict=True):
        embedded, activation = net.embed(one), net.before(one[None])[0]
        block = slope(lambda a, one=one: net.behind(one[None], a[None])[0, 1], activation)
        embed = slope(lambda e: net.head((e.tanh() + net.block(e.tanh())).sigmoid())[1], embedded)
        factors = (activation, embedded) if method is af.input_x_gradient else (1, 1)
        expected = [gradient * factor for gradient, factor in zip((block, embed), factors, strict=True)]
        expected = [e.abs() for e in expected] if method is af.saliency else expected
        torch.testing.assert_close(at_block, expected[0])
        torch.testing.assert_close(at_embed, expected[1])


def test_completeness_gap(net, x, baseline):
    attributions = torch.randn_like(x)
    gap = af.completeness_gap(net, x, attributions, baseline=baseline, target=1)
    torch.testing.assert_close(gap, attributions.sum(1) - (net(x) - net(baseline))[:, 1])
    attributions = torch.randn(3, 4, dtype=x.dtype)
    gap = af.completeness_gap(af.layer(net, "block"), x, attributions, baseline=baseline, target=1)
    change = (net.behind(x, net.before(x)) - net.behind(x, net.before(baseline)))[:, 1]
    torch.testing.assert_close(gap, attributions.sum(1) - change)


@pytest.mark.parametrize(("method", "n"), SIZES)
def test_nodes_lie_on_the_path_and_weights_sum_to_one(method, n):
    seen = []

    def model(x):
        seen.append(x.detach())
        return x.sum(1)

    x = torch.ones(1, 1, dtype=torch.float64)
    torch.testing.assert_close(af.ig(model, x, n_steps=n, method=method, chunk_size=1), x)
    nodes = torch.cat(seen).unique()
    assert 0 <= nodes.min() <= nodes.max() <= 1
    assert n <= len(nodes) <= n + 2  # and the ends, where the library looks


@pytest.mark.parametrize("n", [1, 2, 5, 20])
def test_gauss_legendre_is_exact_for_polynomials(n):
    x = torch.ones(1, 1, dtype=torch.float64)
    for degree in range(1, 2 * n + 1):
        torch.testing.assert_close(af.ig(lambda x, k=degree: x[:, 0] ** k, x, n_steps=n), x, rtol=1e-10, atol=0)
