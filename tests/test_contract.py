"""The contract: every promise that all methods make, tested with every row of the table in `contract_table`."""

import copy
import inspect
import threading

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, stack_module_state, vmap
from torch.utils import _pytree as pytree

import attrfunc as af
from contract import VIEWS, Net, change_along, each_cell, each_method, free, targeted
from contract_table import EXEMPT, METHODS, flat

# A neuron has no target to go through.
TARGETED = ("input", "layer", "layer input", "layers")


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = Net().double()
    net(torch.randn(20, 2, 6).double())  # running statistics that are not trivial
    return net.eval()


@pytest.fixture
def x():
    return torch.randn(4, 2, 6, generator=torch.Generator().manual_seed(1)).double()


def drawn(x, seed=2):
    """A direction for each tensor of a structure, to compare derivatives along."""
    generator = torch.Generator().manual_seed(seed)
    return pytree.tree_map(lambda leaf: torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype), x)


def product(left, right):
    return sum((a * b).sum() for a, b in zip(*map(pytree.tree_leaves, (left, right)), strict=True))


def moved(x, way):
    return pytree.tree_map(torch.add, x, way)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


@each_cell()
def test_shapes_dtypes_and_no_graph(method, view, net, x):
    model, options = targeted(view, net.float())
    for result in (
        flat(method(model, x.float(), **options)),
        flat(method(model, x.float().requires_grad_(False), **options)),
    ):
        assert result.dtype == torch.float32
        assert not result.requires_grad
        assert result.abs().sum() > 0


@each_method(lambda method: free(method) and method.mirrors)
def test_structures_are_mirrored(method):
    x = {"a": torch.ones(2, 3), "b": [torch.ones(2, 4), torch.ones(2)]}
    result = method(lambda d: d["a"].prod(1) + d["b"][0].prod(1) * d["b"][1], x)
    assert result["a"].shape == (2, 3)
    assert [leaf.shape for leaf in result["b"]] == [(2, 4), (2,)]
    first, second = method(lambda a, b: (a * b).sum(1), (torch.ones(2, 3), torch.ones(2, 3)))
    assert first.shape == second.shape == (2, 3)


@each_cell(lambda method: not method.random, most=2)  # draws are those of a batch
def test_examples_are_independent(method, view, net, x):
    model, options = targeted(view, net)
    whole = method(model, x, **options)
    single = method(model, x[1:2], **options)
    for batch, one in zip(*map(pytree.tree_leaves, (whole, single)), strict=True):
        torch.testing.assert_close(batch[1:2], one)


@each_cell(views=TARGETED, most=2)
def test_vmap_over_targets(method, view, net, x):
    model = VIEWS[view](net)
    mapped = vmap(lambda t: flat(method(model, x, target=t)))(torch.arange(3))
    for target in range(3):
        torch.testing.assert_close(mapped[target], flat(method(model, x, target=target)))


@each_cell(views=("input", "layer", "layers"), most=2)
def test_every_target_shares_the_forward_passes(method, view, net, x):
    counts = []
    net.register_forward_hook(lambda *args: counts.append(1))
    model = VIEWS[view](net)
    options = {"chunk_size": 8}
    method(model, x, target=0, **options)
    alone = len(counts)
    vmap(lambda t: flat(method(model, x, target=t, **options)))(torch.arange(3))
    assert len(counts) == 2 * alone


@each_cell(lambda method: method.baseline, most=2)
def test_vmap_over_baselines(method, view, net, x):
    model, options = targeted(view, net)
    baselines = torch.randn(3, *x.shape, dtype=x.dtype)
    mapped = vmap(lambda b: flat(method(model, x, baseline=b, **options)))(baselines)
    for baseline, result in zip(baselines, mapped, strict=True):
        torch.testing.assert_close(result, flat(method(model, x, baseline=baseline, **options)))


@each_cell(most=2)
def test_vmap_over_inputs(method, view, net, x):
    model, options = targeted(view, net)
    mapped = vmap(lambda one: flat(method(model, one, **options)))(torch.stack([x, 2 * x]))
    torch.testing.assert_close(mapped[1], flat(method(model, 2 * x, **options)))


@each_cell(most=2)
def test_derivatives_with_respect_to_the_input(method, view, net, x):
    """Along a random direction, against central differences."""
    model, options = targeted(view, net)
    x = x[:2]
    weights = torch.linspace(-1, 1, flat(method(model, x, **options)).numel()).double()
    loss = lambda x: (weights * flat(method(model, x, **options))).sum()
    way = drawn(x)
    expected = change_along(lambda step: loss(x + step), way)
    close(product(grad(loss)(x), way), expected)
    close(jvp(loss, (x,), (way,))[1], expected)
    leaf = x.clone().requires_grad_()
    loss(leaf).backward()
    close(product(leaf.grad, way), expected)


@each_method()
def test_jacobians(method, net, x):
    function = lambda x: method(net, x, target=1)
    torch.testing.assert_close(jacrev(function)(x[:2]), jacfwd(function)(x[:2]))


@each_cell(most=2)
def test_derivatives_with_respect_to_parameters(method, view, net, x):
    parameters = {name: p.detach() for name, p in net.named_parameters()}

    def loss(parameters):
        model, options = targeted(view, af.bind(net, parameters))
        return flat(method(model, x[:2], **options)).square().sum()

    way = drawn(parameters)
    close(product(grad(loss)(parameters), way), change_along(lambda step: loss(moved(parameters, step)), way))


@each_method(free)
def test_gradients_through_functional_call_and_vmap(method, net, x):
    """A batched tensor hides that an outer transform differentiates it: the graph must be kept all the same."""
    parameters = {name: p.detach() for name, p in net.named_parameters()}

    def loss(parameters):
        model = lambda x: functional_call(net, parameters, (x,))
        return vmap(lambda t: flat(method(model, x, target=t)))(torch.arange(3)).square().sum()

    way = drawn(parameters)
    close(product(grad(loss)(parameters), way), change_along(lambda step: loss(moved(parameters, step)), way))


@each_cell(most=2)
def test_ensembles(method, view, net, x):
    others = [copy.deepcopy(net) for _ in range(3)]
    for i, other in enumerate(others):
        with torch.no_grad():
            other.conv.weight += i
    parameters, buffers = stack_module_state(others)
    skeleton = copy.deepcopy(net).to("meta")

    def one(parameters, buffers):
        model, options = targeted(view, af.bind(skeleton, {**parameters, **buffers}))
        return flat(method(model, x, **options))

    together = vmap(one)(parameters, buffers)
    for other, result in zip(others, together, strict=True):
        model, options = targeted(view, other)
        torch.testing.assert_close(result, flat(method(model, x, **options)))


@each_cell(most=2)
def test_chunks_do_not_matter(method, view, net, x):
    model, options = targeted(view, net)
    expected = flat(method(model, x, **options))
    for chunk_size in (1, 3, 4, 8, 1000):
        result = flat(method(model, x, chunk_size=chunk_size, **options))
        torch.testing.assert_close(result, expected)


@each_cell(most=2)
def test_the_model_is_untouched(method, view, net, x):
    net.head.weight.grad = torch.ones_like(net.head.weight)
    net.mix.weight.requires_grad_(False)
    net.conv.register_forward_hook(lambda *args: None)
    before = {name: dict(module.__dict__) for name, module in net.named_modules()}
    tables = {name: {k: dict(v) for k, v in state.items() if isinstance(v, dict)} for name, state in before.items()}
    values = {name: value.clone() for name, value in net.state_dict().items()}
    model, options = targeted(view, net)
    method(model, x, **options)
    for name, module in net.named_modules():
        assert module.__dict__.keys() == before[name].keys()
        assert all(module.__dict__[key] is value for key, value in before[name].items())
        assert all(
            dict(module.__dict__[key]) == table for key, table in tables[name].items() if not key.startswith("_pa")
        )
        for key, parameter in tables[name]["_parameters"].items():
            assert module._parameters[key] is parameter
    assert all(torch.equal(value, values[name]) for name, value in net.state_dict().items())
    assert net.head.weight.grad.eq(1).all()
    assert not net.mix.weight.requires_grad


@each_method(free)
def test_threads_on_one_model(method, net, x):
    calls = [(net, x), (net, 2 * x), (af.layer(lambda x: net(x), net.mix), 3 * x)]
    expected = [method(*call, target=1) for call in calls]
    failures = []

    def work(number):
        try:
            for _ in range(5):
                torch.testing.assert_close(method(*calls[number], target=1), expected[number])
        except BaseException as error:  # a thread must hand its failure over
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in net.modules())


@each_method()
def test_low_precision(method, net, x):
    exact = flat(method(net, x, target=1))
    result = flat(method(copy.deepcopy(net).bfloat16(), x.bfloat16(), target=1))
    assert result.dtype == torch.bfloat16
    assert (result - exact).norm() < method.loss * exact.norm()


@each_method(lambda method: free(method) and method.mirrors and method.exact)
def test_unused_inputs_and_layers_get_zeros(method, net, x):
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x, y):
            self.net(x)
            return y.square().sum((1, 2))

    result = method(af.layer(Unused(), "net.mix"), (x, x))
    assert result.shape == (4, 4, 6)
    assert not result.any()
    unused, used = method(lambda x, y: y.square().sum((1, 2)), (x, x))
    assert used.any()
    assert unused.abs().max() <= (1e-12 * used.abs().max() if method.fitted else 0)


@each_method(free)
def test_gradients_to_a_closure_are_kept(method, net, x):
    """A plain callable is an ordinary differentiable function: what it closes over is not cut off."""
    flat(method(lambda x: net(x), x, target=1)).square().sum().backward()
    bias = net.mix.bias.detach()
    loss = lambda step: flat(method(af.bind(net, {"mix.bias": bias + step}), x, target=1)).square().sum()
    way = drawn(bias)
    close(product(net.mix.bias.grad, way), change_along(loss, way))
    with torch.no_grad():
        assert not flat(method(lambda x: net(x), x, target=1)).requires_grad


def test_every_public_name_has_a_row_or_a_reason():
    public = {name: id(getattr(af, name)) for name in af.__all__}
    tried = {id(inspect.unwrap(method.call, stop=lambda call: id(call) in public.values())) for method in METHODS}
    assert tried <= set(public.values()), "a row is of no public name"
    rows = [name for name in public if public[name] in tried]
    exempt = [name for names in EXEMPT.values() for name in names]
    assert sorted([*rows, *exempt]) == sorted(public)
