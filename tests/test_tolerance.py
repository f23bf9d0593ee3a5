"""Integrals to a stated tolerance: reached, with no point evaluated twice, and none for an example that is done."""

import copy
import warnings

import pytest
import torch
from torch import nn

import attrfunc as af
from oracle_net import drawn, make, midpoints


@pytest.fixture
def net():
    return make()


@pytest.fixture
def x():
    return torch.cat([drawn(1, 3, 5), 6 * drawn(2, 2, 5)])  # the last two are harder


PLACES = {
    "input": lambda net: net,
    "layer": lambda net: af.layer(net, "embed"),
    "neuron": lambda net: af.neuron(net, "block", 2),
}


METHODS = [(af.ig, {}), (af.conductance, {"layer": "block"}), (af.internal_influence, {"layer": "block"})]


def target(place):
    return {} if place == "neuron" else {"target": 1}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("tolerance", [1e-2, 1e-5, 1e-9])
def test_every_gap_is_within_the_tolerance(place, tolerance, net, x):
    view = PLACES[place](net)
    found = af.ig(view, x, tolerance=tolerance, **target(place))
    assert af.completeness_gap(view, x, found, **target(place)).abs().max() <= tolerance
    fine = af.ig(view, x, n_steps=300, **target(place))
    assert (found - fine).abs().sum(1).max() <= 20 * tolerance


@pytest.mark.parametrize("tolerance", [1e-2, 1e-5, 1e-9])
def test_conductance_and_internal_influence(tolerance, net, x):
    options = {"layer": ["embed", "head"], "target": 1}
    change = af.score_change(net, x, target=1)
    for found in af.conductance(net, x, tolerance=tolerance, **options):
        assert (found.sum(1) - change).abs().max() <= tolerance
    fine = af.internal_influence(net, x, n_steps=300, **options)
    for found, expected in zip(af.internal_influence(net, x, tolerance=tolerance, **options), fine, strict=True):
        assert (found - expected).abs().max() <= 20 * tolerance


def test_a_bypassed_layer_stops_when_more_points_change_nothing(net, x):
    """Its gap cannot close, since part of the change flows around it."""
    found = af.conductance(net, x, layer="block", target=1, tolerance=1e-5)
    assert (found.sum(1) - af.score_change(net, x, target=1)).abs().max() > 1e-2
    torch.testing.assert_close(found, af.conductance(net, x, layer="block", target=1, n_steps=200), rtol=0, atol=1e-5)


def test_each_example_gets_the_points_that_it_needs_and_none_twice(net, x):
    points = []

    def watched(inputs):
        points.extend(map(tuple, inputs.tolist()))
        return net(inputs * 1)  # so that no leading linear layer is left out

    spent = []
    for i in range(len(x)):
        points.clear()
        af.ig(watched, x[i : i + 1], target=1, tolerance=1e-6)
        del points[:5]  # which tell how the points are best evaluated
        assert len(points) == len(set(points))
        spent.append(len(points) - 2)  # the score at both ends
    assert set(spent) <= {7, 15, 31, 63, 127}
    assert spent[0] < spent[-1]
    points.clear()
    together = af.ig(watched, x, target=1, tolerance=1e-6)
    del points[: 2 * len(x) + 4]  # the batch, four of its examples, and the search for a leading linear layer
    assert len(points) == len(set(points)) + len(x) - 1  # they share a baseline
    assert len(points) - 2 * len(x) == sum(spent)
    apart = [af.ig(net, x[i : i + 1], target=1, tolerance=1e-6) for i in range(len(x))]
    torch.testing.assert_close(together, torch.cat(apart))


@pytest.mark.parametrize("chunk_size", [1, 2, 7, 1000])
def test_chunks_do_not_matter(chunk_size, net, x):
    for method, options in ((af.ig, {}), (af.conductance, {"layer": "block"})):
        expected = method(net, x, target=1, tolerance=1e-4, **options)
        found = method(net, x, target=1, tolerance=1e-4, chunk_size=chunk_size, **options)
        torch.testing.assert_close(found, expected)


def test_a_tolerance_that_is_not_reached_is_a_warning_that_names_the_examples(net, x):
    with pytest.warns(UserWarning, match=r"integrated_gradients: .* 1e-12 is not reached with 15 points") as caught:
        found = af.ig(net, x, target=1, tolerance=1e-12, max_steps=30)
    (warning,) = caught
    assert warning.filename == __file__
    gaps = af.completeness_gap(net, x, found, target=1).abs()
    for number, gap in enumerate(gaps.tolist()):
        assert (f"{number}: {gap:.2g}" in str(warning.message)) == (gap > 1e-12)
    with pytest.warns(UserWarning, match=r"conductance: .* 7 points.*\{.*3: .* 4: ") as caught:
        af.conductance(net, x, layer="embed", target=1, tolerance=1e-12, max_steps=7)
    assert caught[0].filename == __file__


def test_vmap_over_targets(net, x):
    for method, options in (
        (af.ig, {}),
        (af.conductance, {"layer": "block"}),
        (af.internal_influence, {"layer": "block"}),
    ):
        mapped = torch.vmap(lambda t, m=method, o=options: m(net, x, target=t, tolerance=1e-7, **o))(torch.arange(3))
        for number in range(3):
            expected = method(net, x, target=number, n_steps=200, **options)
            torch.testing.assert_close(mapped[number], expected, rtol=0, atol=1e-6)


def test_derivatives(net, x):
    """Of the rule with the points that were taken: a small step does not change their number."""
    for method, options in (
        (af.ig, {}),
        (af.conductance, {"layer": "block"}),
        (af.internal_influence, {"layer": "block"}),
    ):
        loss = lambda x, m=method, o=options: m(net, x, target=1, tolerance=1e-4, **o).square().sum()
        step = 1e-6 * drawn(9, *x.shape)
        expected = (loss(x + step) - loss(x - step)) / 2
        for gradient in (torch.func.grad(loss)(x), torch.func.jacfwd(loss)(x)):
            torch.testing.assert_close((gradient * step).sum(), expected, rtol=1e-5, atol=0)

        def moved(size, m=method, o=options):
            bound = af.bind(net, {"block.weight": net.block.weight.detach() + size * drawn(8, 4, 4)})
            return m(bound, x, target=1, tolerance=1e-4, **o).square().sum()

        zero = torch.zeros((), dtype=x.dtype)
        expected = (moved(zero + 1e-6) - moved(zero - 1e-6)) / 2e-6
        torch.testing.assert_close(torch.func.grad(moved)(zero), expected, rtol=1e-5, atol=0)


def test_single_precision(net, x):
    net, x = copy.deepcopy(net).float(), x.float()
    found = af.ig(net, x, target=1, tolerance=1e-4)
    assert found.dtype == torch.float32
    assert af.completeness_gap(net, x, found, target=1).abs().max() <= 1.1e-4


def test_the_affine_prefix_is_left_out_here_too():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(50, 30), nn.Tanh(), nn.Linear(30, 3)).double()
    products = []
    net[0].register_forward_hook(lambda module, args, output: products.append(len(output)))
    x = drawn(0, 4, 50)
    found = af.ig(net, x, target=1, tolerance=1e-8)
    assert sum(products) < 60  # the ends, the search for the layer, and once for each chunk; not 4 times 15 or 31
    torch.testing.assert_close(found, af.ig(lambda x: net(x), x, target=1, n_steps=200), rtol=0, atol=1e-6)


@pytest.mark.parametrize("tolerance", [0, -1.0, float("nan"), "small"])
def test_a_tolerance_that_cannot_be(tolerance, net, x):
    for method, options in ((af.ig, {}), (af.conductance, {"layer": "block"})):
        with pytest.raises(af.ArgumentError, match=rf"{method.__name__}: argument `tolerance`.*above 0"):
            method(net, x, target=1, tolerance=tolerance, **options)


def test_other_bad_arguments(net, x):
    with pytest.raises(af.ArgumentError, match="`max_steps`: got 3; expected at least 7"):
        af.ig(net, x, target=1, tolerance=1e-3, max_steps=3)
    with pytest.raises(af.ArgumentError, match="`method`: got 'riemann_left' with a tolerance"):
        af.ig(net, x, target=1, tolerance=1e-3, method="riemann_left")
    positions = nn.Embedding(5, 4).double()
    view = af.layer(lambda x: (positions(torch.arange(5)) * x[..., None]).sum((1, 2)), positions)
    with pytest.raises(af.ArgumentError, match=r"`tolerance`.*dimension 0.*Pass n_steps"):
        af.ig(view, x[:3], tolerance=1e-3)
    torch.compiler.reset()
    with pytest.raises(torch._dynamo.exc.Unsupported):  # which does not show the ArgumentError's text
        torch.compile(lambda x: af.ig(net, x, target=1, tolerance=1e-3), backend="eager", fullgraph=True)(x)


def test_an_easy_example_raises_no_warning(net, x):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        af.ig(net, torch.zeros_like(x), target=1, tolerance=1e-12)  # nothing to attribute


def test_midpoints_agree(net, x):
    """With the plainest rule there is."""
    found = af.ig(net, x, target=1, tolerance=1e-8)
    points = [(node, width) for node, width in midpoints(1000)]
    gradient = sum(width * torch.func.grad(lambda z: net(z)[:, 1].sum())(node * x) for node, width in points)
    torch.testing.assert_close(found, (x * gradient).detach(), rtol=0, atol=1e-5)
