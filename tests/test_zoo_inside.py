"""Methods that name a layer, and those that draw samples, on every architecture of the zoo, in float64."""

import pytest
import torch
from torch.utils import _pytree as pytree

import attrfunc as af
from test_zoo import a_place_each, call, close, leaves
from zoo import CASES


def start(case):
    """Where the path begins: the input, or the first layer of a model that takes integers."""
    return None if case.differentiable else case.layers[0]


# Parallel to the layer where the path begins.
BESIDE = ("model.bert.embeddings.word_embeddings", "position")
INSIDE = [
    pytest.param(case, layer, id=f"{case}-{layer}")
    for case in CASES
    for layer in case.layers
    if layer != start(case) and layer not in BESIDE
]
every_layer = pytest.mark.parametrize(("case", "layer"), INSIDE)
# The last one of every network.
a_layer_each = pytest.mark.parametrize(("case", "layer"), {str(p.values[0]): p for p in INSIDE}.values())
BESIDE_CASES = [case for case in CASES if set(case.layers) & set(BESIDE)]


def other_examples(x):
    """Another example as the baseline: a zero one is a singular point of networks that normalise their input."""
    return pytree.tree_map(lambda leaf: leaf.flip(0), x)


def inside(case, layer, **options):
    """A view whose path begins at the input if it can, its input, and the options of a call."""
    return call(case, start(case), layer=layer, baseline=other_examples, **options)


@every_layer
def test_conductance_is_that_of_the_plainest_rule(case, layer):
    view, x, options = inside(case, layer)
    found = leaves(af.conductance(view, x, **options))
    many = leaves(af.conductance(view, x, n_steps=400, method="riemann_middle", **options))
    for ours, theirs in zip(found, many, strict=True):
        assert (ours - theirs).abs().sum() < 2e-2 * theirs.abs().sum()


@a_layer_each
def test_chunks_do_not_matter(case, layer):
    view, x, options = inside(case, layer, n_steps=5)
    for method in (af.conductance, af.internal_influence):
        expected = method(view, x, **options)
        for chunk_size in (1, 4, 100):
            close(method(view, x, chunk_size=chunk_size, **options), expected)


@pytest.mark.parametrize("case", BESIDE_CASES, ids=str)
def test_layers_beside_the_path(case):
    (layer,) = set(case.layers) & set(BESIDE)
    view, x, options = inside(case, layer)
    for method in (af.conductance, af.internal_influence):
        with pytest.raises(af.ModelError, match=f"'{layer}' does not depend on the point"):
            method(view, x, **options)


@pytest.mark.parametrize("case", [case for case in CASES if case.neuron and not callable(case.neuron[1])], ids=str)
def test_neuron_conductance_sums_to_conductance(case):
    layer, neuron = case.neuron
    view, x, options = inside(case, layer, n_steps=100, method="riemann_middle")
    through = sum(leaf.flatten(1).sum(1) for leaf in leaves(af.neuron_conductance(view, x, neuron=neuron, **options)))
    units = af.conductance(view, x, **options)
    chosen = units[(slice(None), *(neuron if isinstance(neuron, tuple) else (neuron,)))]
    expected = chosen.flatten(1).sum(1) if chosen.dim() > 1 else chosen
    # One differentiates the unit, the other takes its differences.
    assert (through - expected).abs().max() < 2e-2 * units.abs().flatten(1).sum(1).max()


@a_place_each
def test_samples(case, place):
    """Chunks do not matter, and the gaps tell what the attributions miss."""
    background = lambda x: pytree.tree_map(lambda leaf: torch.cat([leaf.flip(0), leaf[:1]]), x)
    view, x, options = call(case, place, baselines=background, n_samples=4)
    options["stdev"] = pytree.tree_map(lambda leaf: 0.1 * leaf.is_floating_point(), x)
    seeded = lambda: torch.Generator().manual_seed(0)
    expected = af.gradient_shap(view, x, generator=seeded(), **options)
    for chunk_size in (1, 6, 100):
        close(af.gradient_shap(view, x, generator=seeded(), chunk_size=chunk_size, **options), expected)
    # Without noise and with one baseline for each example, the mean change is that from baseline to input.
    options |= {"baselines": lambda x: pytree.tree_map(lambda leaf: leaf[:1], x), "stdev": 0.0}
    total = sum(leaf.flatten(1).sum(1) for leaf in leaves(af.gradient_shap(view, x, generator=seeded(), **options)))
    gaps = af.gradient_shap_gap(view, x, generator=seeded(), chunk_size=6, **options)
    del options["baselines"], options["n_samples"], options["stdev"]
    first = lambda x: pytree.tree_map(lambda leaf: leaf[:1].expand_as(leaf), x)
    change = af.score_change(view, x, baseline=first, **options)
    torch.testing.assert_close(total - change, gaps.mean(0))


@a_place_each
def test_smooth(case, place):
    """Larger batches give what one sample after the other gives."""
    view, x, options = call(case, place)
    stdev = pytree.tree_map(lambda leaf: 0.1 * leaf.is_floating_point(), x)
    found = []
    for chunk_size in (1, 6, None):
        generator = torch.Generator().manual_seed(0)
        smoothed = af.smooth(af.input_x_gradient, n_samples=4, stdev=stdev, generator=generator, chunk_size=chunk_size)
        found.append(smoothed(view, x, **options))
    close(found[1], found[0])
    close(found[2], found[0])
