"""Methods that look at a layer while the input moves, against their papers' formulas, one example at a time."""

import pytest
import torch
from torch import nn

import attrfunc as af
from attrfunc.core.loops.quadrature import increments, nested, quadrature
from oracle_net import drawn, jacobian, make, midpoints, slope


@pytest.fixture
def net():
    return make()


@pytest.fixture
def x():
    return drawn(1, 3, 5)


@pytest.fixture
def baseline():
    return drawn(2, 3, 5)


def along(net, x, baseline, cells=600):
    """For each cell of the path: its width, the point, and the score's gradient at the block's output there."""
    for node, width in midpoints(cells):
        point = baseline + node * (x - baseline)
        yield width, point, slope(lambda a, point=point: net.behind(point, a)[2], net.before(point))


def test_conductance_is_the_integral_of_gradient_times_derivative(net, x, baseline):
    """Dhamdhere et al., equation 2: the chain rule through the unit, integrated along the path."""
    result = af.conductance(net, x, layer="block", baseline=baseline, target=2, n_steps=25)
    for one, start, found in zip(x, baseline, result, strict=True):
        expected = torch.zeros(4, dtype=x.dtype)
        for width, point, gradient in along(net, one, start):
            expected += width * gradient * (jacobian(net.before, point) @ (one - start))
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_conductance_by_riemann_rules_is_a_sum_over_cells(net, x, baseline):
    """The gradient at the cell's node times the activation's change across the cell."""
    cells = {"riemann_left": 0.0, "riemann_right": 1.0}
    for method, shift in cells.items():
        result = af.conductance(net, x, layer="block", baseline=baseline, target=2, n_steps=7, method=method)
        for one, start, found in zip(x, baseline, result, strict=True):
            at = lambda t, one=one, start=start: start + t * (one - start)
            expected = torch.zeros(4, dtype=x.dtype)
            for k in range(7):
                node = at((k + shift) / 7)
                gradient = slope(lambda a, node=node: net.behind(node, a)[2], net.before(node))
                expected += gradient * (net.before(at((k + 1) / 7)) - net.before(at(k / 7)))
            torch.testing.assert_close(found, expected)


def test_neuron_conductance(net, x, baseline):
    result = af.neuron_conductance(net, x, layer="block", neuron=3, baseline=baseline, target=2, n_steps=25)
    average = af.neuron_conductance(
        net, x, layer="block", neuron=3, baseline=baseline, target=2, n_steps=25, multiply_by_inputs=False
    )
    torch.testing.assert_close(average * (x - baseline), result)
    for one, start, found in zip(x, baseline, result, strict=True):
        expected = torch.zeros(5, dtype=x.dtype)
        for width, point, gradient in along(net, one, start):
            expected += width * gradient[3] * jacobian(net.before, point)[3] * (one - start)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_neuron_conductance_adds_up(net, x, baseline):
    """Over inputs to the neuron's conductance, over the neurons of a cut to integrated gradients."""
    options = {"baseline": baseline, "target": 1, "n_steps": 25}
    parts = torch.stack([af.neuron_conductance(net, x, layer="block", neuron=i, **options) for i in range(4)])
    torch.testing.assert_close(parts.sum(2).T, af.conductance(net, x, layer="block", **options))
    chosen = af.neuron_conductance(net, x, layer="block", neuron=(slice(1, 3),), **options)
    torch.testing.assert_close(chosen, parts[1:3].sum(0))
    chosen = af.neuron_conductance(net, x, layer="block", neuron=lambda a: 2 * a[:, 0], **options)
    torch.testing.assert_close(chosen, 2 * parts[0])
    chosen = af.neuron_conductance(net, x, layer="block", neuron=torch.tensor([0, 3, 1]), **options)
    torch.testing.assert_close(chosen, torch.stack([parts[0, 0], parts[3, 1], parts[1, 2]]))
    whole = [af.neuron_conductance(net, x, layer="head", neuron=i, **options) for i in range(3)]
    torch.testing.assert_close(sum(whole), af.ig(net, x, **options))


def test_internal_influence(net, x, baseline):
    result = af.internal_influence(net, x, layer="block", baseline=baseline, target=2, n_steps=25)
    for one, start, found in zip(x, baseline, result, strict=True):
        expected = sum(width * gradient for width, _, gradient in along(net, one, start))
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_the_path_may_begin_at_a_layer(net, x, baseline):
    """What bypasses the beginning of the path stays as it is at the input."""
    view = af.layer(net, "embed")
    result = af.conductance(view, x, layer="block", baseline=baseline, target=2, n_steps=25)
    influence = af.internal_influence(view, x, layer="block", baseline=baseline, target=2, n_steps=25)
    for one, start, found, mean in zip(x, baseline, result, influence, strict=True):
        low, high = net.embed(start), net.embed(one)
        expected, average = torch.zeros(4, dtype=x.dtype), torch.zeros(4, dtype=x.dtype)
        for node, width in midpoints(600):
            embedded = (low + node * (high - low)).tanh()
            gradient = slope(lambda a, e=embedded: net.head((e + a).sigmoid())[2], net.block(embedded))
            moved = net.block.weight.detach() @ ((1 - embedded**2) * (high - low))
            expected += width * gradient * moved
            average += width * gradient
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(mean, average, rtol=1e-6, atol=1e-8)


def test_twenty_points_complete_a_smooth_network():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 3)).double()
    x = drawn(3, 4, 6)
    change = af.score_change(net, x, target=1)
    units = af.conductance(net, x, layer=[str(i) for i in range(5)], target=1, n_steps=20)
    for found in units:
        assert (found.sum(1) - change).abs().max() < 1e-6 * change.abs().min()


def test_conductance_is_exact_where_the_head_is_linear():
    """However rough the network before the layer: the changes of its activation telescope."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 30), nn.ReLU(), nn.Linear(30, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    x = drawn(3, 4, 6)
    expected = net[4].weight[1] * (net[:4](x) - net[:4](torch.zeros_like(x)))
    for n_steps in (2, 5, 50):
        torch.testing.assert_close(af.conductance(net, x, layer="3", target=1, n_steps=n_steps), expected.detach())


@pytest.mark.parametrize("n", [1, 2, 3, 10, 50, 300])
def test_increments_are_exact_for_polynomials(n):
    """`g dy` for a linear g and the highest power y that the values determine; and the whole change for any y."""
    nodes, weights = quadrature("gausslegendre", n)
    matrix = torch.tensor(increments(nodes, weights, smooth=True), dtype=torch.float64)
    at = torch.tensor([0.0, *nodes, 1.0], dtype=torch.float64)
    torch.testing.assert_close((matrix @ drawn(0, n + 2)[:, None]).sum(), drawn(0, n + 2)[-1] - drawn(0, n + 2)[0])
    degree = min(n + 1, 2 * n - 1, 20)
    found = (at[1:-1] * (matrix @ at**degree)).sum()
    if n > 1:  # one point integrates g times a constant only
        torch.testing.assert_close(found, torch.tensor(degree / (degree + 1), dtype=torch.float64))


def test_nested_points():
    for level in range(6):
        nodes, weights = map(torch.tensor, nested(level))
        assert len(nodes) == 2 ** (level + 3) - 1
        assert weights.min() > 0
        if level:
            torch.testing.assert_close(nodes[1::2], torch.tensor(nested(level - 1)[0]))
        for degree in range(0, len(nodes) + 1, max(1, len(nodes) // 7)):
            torch.testing.assert_close((weights * nodes**degree).sum(), torch.tensor(1 / (degree + 1)))
