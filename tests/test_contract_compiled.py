"""The contract: every method compiles as a whole, and gives then what it gives otherwise."""

import pytest
import torch

from contract import VIEWS, Net, each_cell, each_method, free, of_a_kind, targeted


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = Net().double()
    net(torch.randn(20, 2, 6).double())  # running statistics that are not trivial
    return net.eval()


@pytest.fixture
def x():
    return torch.randn(4, 2, 6, generator=torch.Generator().manual_seed(1)).double()


@each_cell(lambda method: method.compiles, most=1)
def test_compile(method, view, net, x):
    check(method, view, net, x)


@each_method(lambda method: not method.compiles)
def test_what_does_not_compile_says_so(method, net, x):
    torch.compiler.reset()
    with pytest.raises(Exception, match=rf"Call {method.call.__name__} outside of torch.compile"):
        torch.compile(method.compiled(net, target=1), fullgraph=True, backend="aot_eager")(x)


# A path, an interpreter of rules, and a game.
@each_cell(
    lambda method: (
        method.call.__name__ in ("integrated_gradients", "guided_backprop", "shapley_sampling") and not method.variant
    ),
    views=[view for view in VIEWS if view != "input"],
)
def test_compile_at_views(method, view, net, x):
    check(method, view, net, x)


def check(method, view, net, x):
    model, options = targeted(view, net)
    torch.compiler.reset()
    plain = method.compiled(model, **options)
    torch.manual_seed(0)
    result = torch.compile(plain, fullgraph=True, backend="aot_eager")(x)
    torch.manual_seed(0)
    torch.testing.assert_close(result, plain(x))
    assert not result.requires_grad


@each_method(lambda method: free(method) and of_a_kind(method))
def test_compile_a_closure(method, net, x):
    torch.compiler.reset()
    plain = method.compiled(lambda x: net(x).sin(), target=1)
    torch.manual_seed(0)
    result = torch.compile(plain, fullgraph=True, backend="aot_eager")(x)
    torch.manual_seed(0)
    torch.testing.assert_close(result, plain(x))


@each_method(of_a_kind)
def test_compile_with_inductor(method, net, x):
    torch.compiler.reset()
    plain = method.compiled(net, target=1)
    torch.manual_seed(0)
    with torch._inductor.config.patch(fallback_random=True):  # inductor's own generator draws other numbers
        result = torch.compile(plain, fullgraph=True)(x)
    torch.manual_seed(0)
    torch.testing.assert_close(result, plain(x))
