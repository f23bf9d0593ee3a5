"""The contract: every promise that all methods make, tested with every row of the table in `contract_table`."""

import copy
import threading

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, jacfwd, jacrev, stack_module_state, vmap
from torch.utils import _pytree as pytree

import attrfunc as af
from contract_table import VIEWS, Net, every_free_method, every_method, every_view, flat, numeric_gradient, targeted


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = Net().double()
    net(torch.randn(20, 2, 6).double())  # running statistics that are not trivial
    return net.eval()


@pytest.fixture
def x():
    return torch.randn(4, 2, 6, generator=torch.Generator().manual_seed(1)).double()


@every_method
@every_view
def test_shapes_dtypes_and_no_graph(method, view, net, x):
    model, options = targeted(view, net.float())
    for result in (
        flat(method(model, x.float(), **options)),
        flat(method(model, x.float().requires_grad_(False), **options)),
    ):
        assert result.dtype == torch.float32
        assert not result.requires_grad
        assert result.abs().sum() > 0


@every_free_method
def test_structures_are_mirrored(method):
    if not method.mirrors:
        return
    x = {"a": torch.ones(2, 3), "b": [torch.ones(2, 4), torch.ones(2)]}
    result = method(lambda d: d["a"].prod(1) + d["b"][0].prod(1) * d["b"][1], x)
    assert result["a"].shape == (2, 3)
    assert [leaf.shape for leaf in result["b"]] == [(2, 4), (2,)]
    first, second = method(lambda a, b: (a * b).sum(1), (torch.ones(2, 3), torch.ones(2, 3)))
    assert first.shape == second.shape == (2, 3)


@every_method
@every_view
def test_examples_are_independent(method, view, net, x):
    if method.random:
        return  # draws are those of a batch
    model, options = targeted(view, net)
    whole = method(model, x, **options)
    single = method(model, x[1:2], **options)
    for batch, one in zip(*map(pytree.tree_leaves, (whole, single)), strict=True):
        torch.testing.assert_close(batch[1:2], one)


@every_method
@pytest.mark.parametrize("view", ["input", "layer", "layer input", "layers"])
def test_vmap_over_targets(method, view, net, x):
    model = VIEWS[view](net)
    mapped = vmap(lambda t: flat(method(model, x, target=t)))(torch.arange(3))
    for target in range(3):
        torch.testing.assert_close(mapped[target], flat(method(model, x, target=target)))


@every_method
@pytest.mark.parametrize("view", ["input", "layer", "layers"])
def test_every_target_shares_the_forward_passes(method, view, net, x):
    counts = []
    net.register_forward_hook(lambda *args: counts.append(1))
    model = VIEWS[view](net)
    options = {"chunk_size": 8} if method.chunks else {}
    method(model, x, target=0, **options)
    alone = len(counts)
    vmap(lambda t: flat(method(model, x, target=t, **options)))(torch.arange(3))
    assert len(counts) == 2 * alone


@every_method
@every_view
def test_vmap_over_baselines(method, view, net, x):
    if not method.baseline:
        return
    model, options = targeted(view, net)
    baselines = torch.randn(3, *x.shape, dtype=x.dtype)
    mapped = vmap(lambda b: flat(method(model, x, baseline=b, **options)))(baselines)
    for baseline, result in zip(baselines, mapped, strict=True):
        torch.testing.assert_close(result, flat(method(model, x, baseline=baseline, **options)))


@every_method
@every_view
def test_vmap_over_inputs(method, view, net, x):
    model, options = targeted(view, net)
    mapped = vmap(lambda one: flat(method(model, one, **options)))(torch.stack([x, 2 * x]))
    torch.testing.assert_close(mapped[1], flat(method(model, 2 * x, **options)))


@every_method
@every_view
def test_derivatives_with_respect_to_the_input(method, view, net, x):
    model, options = targeted(view, net)
    x = x[:2]
    weights = torch.linspace(-1, 1, flat(method(model, x, **options)).numel()).double()
    loss = lambda x: (weights * flat(method(model, x, **options))).sum()
    expected = numeric_gradient(loss, x)
    torch.testing.assert_close(grad(loss)(x), expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(jacfwd(loss)(x), expected, rtol=1e-6, atol=1e-7)
    leaf = x.clone().requires_grad_()
    loss(leaf).backward()
    torch.testing.assert_close(leaf.grad, expected, rtol=1e-6, atol=1e-7)


@every_method
def test_jacobians(method, net, x):
    function = lambda x: method(net, x, target=1)
    torch.testing.assert_close(jacrev(function)(x[:2]), jacfwd(function)(x[:2]))


@every_method
@every_view
def test_derivatives_with_respect_to_parameters(method, view, net, x):
    parameters = {name: p.detach() for name, p in net.named_parameters()}

    def loss(parameters):
        model, options = targeted(view, af.bind(net, parameters))
        return flat(method(model, x[:2], **options)).square().sum()

    gradients = grad(loss)(parameters)
    for name in ("conv.weight", "norm.weight", "mix.bias"):
        expected = numeric_gradient(lambda p, name=name: loss({**parameters, name: p}), parameters[name])
        torch.testing.assert_close(gradients[name], expected, rtol=1e-6, atol=1e-7)


@every_free_method
def test_gradients_through_functional_call_and_vmap(method, net, x):
    """A batched tensor hides that an outer transform differentiates it: the graph must be kept all the same."""
    parameters = {name: p.detach() for name, p in net.named_parameters()}

    def loss(parameters):
        model = lambda x: functional_call(net, parameters, (x,))
        return vmap(lambda t: flat(method(model, x, target=t)))(torch.arange(3)).square().sum()

    expected = numeric_gradient(lambda p: loss({**parameters, "mix.bias": p}), parameters["mix.bias"])
    torch.testing.assert_close(grad(loss)(parameters)["mix.bias"], expected, rtol=1e-6, atol=1e-7)


@every_method
@every_view
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


@every_method
@every_view
def test_compile(method, view, net, x):
    model, options = targeted(view, net)
    torch.compiler.reset()
    plain = method.compiled(model, **options)
    torch.manual_seed(0)
    result = torch.compile(plain, fullgraph=True, backend="aot_eager")(x)
    torch.manual_seed(0)
    torch.testing.assert_close(result, plain(x))
    assert not result.requires_grad


@every_free_method
def test_compile_a_closure(method, net, x):
    torch.compiler.reset()
    plain = method.compiled(lambda x: net(x).sin(), target=1)
    torch.manual_seed(0)
    result = torch.compile(plain, fullgraph=True, backend="aot_eager")(x)
    torch.manual_seed(0)
    torch.testing.assert_close(result, plain(x))


@every_method
def test_compile_with_inductor(method, net, x):
    torch.compiler.reset()
    plain = method.compiled(net, target=1)
    torch.manual_seed(0)
    with torch._inductor.config.patch(fallback_random=True):  # inductor's own generator draws other numbers
        result = torch.compile(plain, fullgraph=True)(x)
    torch.manual_seed(0)
    torch.testing.assert_close(result, plain(x))


@every_method
@every_view
def test_chunks_do_not_matter(method, view, net, x):
    if not method.chunks:
        return
    model, options = targeted(view, net)
    expected = flat(method(model, x, **options))
    for chunk_size in (1, 2, 3, 4, 5, 8, 1000):
        result = flat(method(model, x, chunk_size=chunk_size, **options))
        torch.testing.assert_close(result, expected)


@every_method
@every_view
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


@every_free_method
@pytest.mark.parametrize("closure", [False, True])
@pytest.mark.parametrize("view", ["input", "layer"])
def test_two_threads_on_one_model(method, view, closure, net, x):
    outer = (lambda x: net(x)) if closure else net
    model = outer if view == "input" else af.layer(outer, net.mix)
    inputs = [x, 2 * x, 3 * x]
    expected = [method(model, one, target=1) for one in inputs]
    failures = []

    def work(number):
        try:
            for _ in range(10):
                torch.testing.assert_close(method(model, inputs[number], target=1), expected[number])
        except BaseException as error:  # a thread must hand its failure over
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in net.modules())


@every_method
def test_low_precision(method, net, x):
    exact = flat(method(net, x, target=1))
    result = flat(method(copy.deepcopy(net).bfloat16(), x.bfloat16(), target=1))
    assert result.dtype == torch.bfloat16
    assert (result - exact).norm() < method.loss * exact.norm()


@every_free_method
@every_view
def test_unused_inputs_and_layers_get_zeros(method, view, net, x):
    if not method.mirrors or not method.exact:
        return

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


@every_free_method
def test_gradients_to_a_closure_are_kept(method, net, x):
    """A plain callable is an ordinary differentiable function: what it closes over is not cut off."""
    flat(method(lambda x: net(x), x, target=1)).square().sum().backward()
    bias = net.mix.bias.detach()
    loss = lambda b: flat(method(af.bind(net, {"mix.bias": b}), x, target=1)).square().sum()
    torch.testing.assert_close(net.mix.bias.grad, numeric_gradient(loss, bias), rtol=1e-6, atol=1e-7)
    with torch.no_grad():
        assert not flat(method(lambda x: net(x), x, target=1)).requires_grad
