"""Every architecture of the zoo, at its input and its layers, in float64: what must hold whatever the network."""

import zlib

import pytest
import torch
from torch.utils import _pytree as pytree

import attrfunc as af
from zoo import CASES

# torch's LSTM has no batching rule: torch says that it loops, and the result is right.
LOOPS = "ignore:There is a performance drop"


def places(case):
    return ([None] if case.differentiable else []) + list(case.layers)


PLACES = [pytest.param(case, place, id=f"{case}-{place}") for case in CASES for place in places(case)]
every_place = pytest.mark.parametrize(("case", "place"), PLACES)


def a_place_each(test):
    """Run a test at one place of every network, another one in every test, so that all are tried by some test."""
    turn = zlib.crc32(test.__name__.encode())
    chosen = [(case, places(case)[(turn + number) % len(places(case))]) for number, case in enumerate(CASES)]
    params = [pytest.param(case, place, id=f"{case}-{place}") for case, place in chosen]
    return pytest.mark.parametrize(("case", "place"), params)(test)


def call(case, place, **options):
    """A view of the case's model in float64, its input, and the options of a call."""
    model = case.make(torch.float64)
    double = lambda leaf: leaf.double() if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() else leaf
    x, args, kwargs = pytree.tree_map(double, (case.inputs, case.args, dict(case.kwargs)))
    view = model if place is None else af.layer(model, place)
    return view, x, {"args": args, "kwargs": kwargs, "target": case.target} | options


def leaves(result):
    return [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()]


def close(found, expected):
    scale = max(leaf.abs().max() for leaf in leaves(expected))
    for ours, theirs in zip(leaves(found), leaves(expected), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10 * float(scale))


@every_place
def test_the_gap_closes_with_more_points(case, place):
    """Smooth networks close it fast, and ReLU networks with the number of points."""
    view, x, options = call(case, place)
    # Another example as the baseline: a zero one is a singular point of networks that normalise their input.
    options["baseline"] = lambda x: pytree.tree_map(lambda leaf: leaf.flip(0), x)
    total = af.score_change(view, x, **options)
    gap = af.completeness_gap(view, x, af.ig(view, x, n_steps=300, **options), **options)
    assert gap.abs().max() < 3e-3 * total.abs().max().clamp(min=1e-3)


@a_place_each
def test_chunks_do_not_matter(case, place):
    view, x, options = call(case, place, n_steps=6)
    expected = af.ig(view, x, **options)
    for chunk_size in (1, 4, 100):
        close(af.ig(view, x, chunk_size=chunk_size, **options), expected)


@pytest.mark.parametrize(("case", "place"), [p for p in PLACES if isinstance(p.values[0].target, int)])
@pytest.mark.filterwarnings(LOOPS)
def test_vmap_over_targets(case, place):
    view, x, options = call(case, place)
    targets = torch.tensor([0, case.target])
    for method, extra in ((af.ig, {"n_steps": 4}), (af.input_x_gradient, {})):
        one = lambda t, method=method, extra=extra: method(view, x, **(options | extra | {"target": t}))
        mapped = torch.vmap(lambda t, one=one: tuple(leaves(one(t))))(targets)
        for number, target in enumerate(targets.tolist()):
            close([leaf[number] for leaf in mapped], one(target))


@every_place
def test_the_model_is_untouched_and_nothing_has_a_graph(case, place):
    view, x, options = call(case, place)
    model = view if place is None else view.model
    values = {name: value.clone() for name, value in model.state_dict().items()}
    attributes = {name: dict(module.__dict__) for name, module in model.named_modules()}
    copies = pytree.tree_map(lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf, (x, options))
    result = af.ig(view, x, n_steps=4, **options)
    assert not any(leaf.requires_grad for leaf in leaves(result))
    assert all(torch.equal(value, values[name]) for name, value in model.state_dict().items())
    for name, module in model.named_modules():
        assert module.__dict__.keys() == attributes[name].keys()
        assert all(module.__dict__[key] is value for key, value in attributes[name].items())
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    for before, after in zip(pytree.tree_leaves(copies), pytree.tree_leaves((x, options)), strict=True):
        assert torch.equal(before, after) if isinstance(before, torch.Tensor) else before == after


@a_place_each
@pytest.mark.filterwarnings(LOOPS)
def test_parameter_gradients(case, place):
    """Along a random direction in the space of all parameters, against central differences."""
    view, x, options = call(case, place)
    model = view if place is None else view.model
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    ways = {
        name: torch.randn(p.shape, generator=generator, dtype=p.dtype).to(p.device) * p.std(correction=0)
        for name, p in parameters.items()
    }

    def loss(step):
        moved = {name: p + step * ways[name] for name, p in parameters.items()}
        bound = af.bind(view, moved)
        return sum(leaf.square().sum() for leaf in leaves(af.input_x_gradient(bound, x, **options)))

    zero = torch.zeros_like(next(iter(ways.values())).sum())
    found = torch.func.grad(loss)(zero)
    # Llama's norms compute in float32 whatever the model's dtype, so that smaller steps measure their rounding.
    step, rtol = (3e-4, 1e-3) if case.name.startswith("llama") else (1e-6, 1e-5)
    expected = (loss(zero + step) - loss(zero - step)) / (2 * step)
    torch.testing.assert_close(found, expected, rtol=rtol, atol=1e-2 * rtol * float(loss(zero)))
