"""What classes hold for all of their instances, and what hooks of the user's keep."""

import copy

import pytest
import torch
from torch import nn

import attrfunc as af

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(1)).double()
METHODS = {
    "saliency": lambda model: af.saliency(model, X, target=1, absolute=False),
    "ig": lambda model: af.ig(model, X, target=1, n_steps=4),
    "ig at a layer": lambda model: af.ig(af.layer(model, "inner"), X, target=1, n_steps=4),
    "ablation": lambda model: af.feature_ablation(model, X, target=1),
    "lrp": lambda model: af.lrp(model, X, target=1),
}


def layers(net):
    torch.manual_seed(0)
    net.inner, net.head = nn.Linear(4, 3), nn.Linear(3, 2)
    return net.double().eval()


class ByClass(nn.Module):
    seen: list = []  # noqa: RUF012  # the point of it
    notes = {"calls": 0}  # noqa: RUF012
    total = torch.zeros(3).double()

    def __init__(self):
        super().__init__()
        layers(self)

    def forward(self, x):
        self.seen.append(1)
        self.notes["calls"] += 1
        self.total += 1
        return self.head(self.inner(x).tanh() * len(self.seen) * self.notes["calls"] * self.total)


class ByDefault(nn.Module):
    def __init__(self):
        super().__init__()
        layers(self)

    def forward(self, x, seen=[], *, cache={}):  # noqa: B006  # the point of it
        seen.append(1)
        cache["calls"] = cache.get("calls", 0) + 1
        return self.head(self.inner(x).tanh() * len(seen) * cache["calls"])


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", [ByClass, ByDefault])
def test_every_evaluation_starts_from_what_the_class_holds(kind, name):
    kind = type("Own", (kind,), {})
    net = kind()
    first = (
        copy.deepcopy(ByClass.seen),
        copy.deepcopy(ByClass.notes),
        ByClass.total.clone(),
        ByDefault.forward.__defaults__,
    )
    found = METHODS[name](net)
    torch.testing.assert_close(METHODS[name](net), found)
    assert (ByClass.seen, ByClass.notes) == first[:2]
    assert torch.equal(ByClass.total, first[2])
    assert ByDefault.forward.__defaults__ == ([],)
    assert ByDefault.forward.__kwdefaults__ == {"cache": {}}
    calm = layers(nn.Module())
    if kind.__mro__[1] is ByClass and name in ("saliency", "ig"):
        calm.forward = lambda x: calm.head(calm.inner(x).tanh())
        torch.testing.assert_close(found, METHODS[name](calm))


KEPT: dict = {}


class Tapped(nn.Module):
    """Reads a layer only by what a hook has kept of it."""

    def __init__(self):
        super().__init__()
        layers(self)
        self.inner.register_forward_hook(lambda module, args, out: KEPT.update(inner=out))

    def forward(self, x):
        self.inner(x)
        return self.head(KEPT["inner"].tanh())


class Steered(nn.Module):
    """A hook makes another output of a layer's."""

    def __init__(self):
        super().__init__()
        layers(self)
        self.inner.register_forward_hook(lambda module, args, out: 2 * out)

    def forward(self, x):
        return self.head(self.inner(x).tanh())


class Plain(nn.Module):
    def __init__(self, factor=1.0):
        super().__init__()
        layers(self)
        self.factor = factor

    def forward(self, x):
        return self.head((self.factor * self.inner(x)).tanh())


AT_LAYER = {
    "saliency": lambda model: af.saliency(af.layer(model, "inner"), X, target=1, absolute=False),
    "ig": lambda model: af.ig(af.layer(model, "inner"), X, target=1, n_steps=4),
    "ablation": lambda model: af.feature_ablation(af.layer(model, "inner"), X, target=1),
    "conductance": lambda model: af.conductance(model, X, layer="inner", target=1, n_steps=4),
}


@pytest.mark.parametrize("name", AT_LAYER)
def test_hooks_keep_what_goes_on(name):
    net, expected = Tapped(), AT_LAYER[name](Plain())
    torch.testing.assert_close(AT_LAYER[name](net), expected)
    assert expected.abs().min() > 0
    assert len(net.inner._forward_hooks) == 1


@pytest.mark.parametrize("name", AT_LAYER)
def test_a_hook_may_make_another_output(name):
    """Then that is the layer's."""
    net, plain = Steered(), Plain()
    with torch.no_grad():
        plain.inner.weight.mul_(2)
        plain.inner.bias.mul_(2)
    torch.testing.assert_close(AT_LAYER[name](net), AT_LAYER[name](plain))


class Mapped(nn.Module):
    def __init__(self):
        super().__init__()
        layers(self)

    def forward(self, x):
        return self.head(torch.vmap(self.inner)(x).tanh())


def test_a_layer_inside_a_transform_of_the_models_is_refused():
    for method in (af.saliency, af.feature_ablation, af.input_x_gradient):
        with pytest.raises(af.ModelError, match=r"layer 'inner' runs inside a transform.*Choose a layer outside"):
            method(af.layer(Mapped(), "inner"), X, target=1)
    torch.testing.assert_close(af.saliency(Mapped(), X, target=1), af.saliency(Plain(), X, target=1))


class Fingers(nn.Module):
    """Writes a buffer where no operation shows."""

    def __init__(self):
        super().__init__()
        layers(self)
        self.register_buffer("scale", torch.ones(3).double())

    def forward(self, x):
        self.scale.numpy()[:] += 1
        return self.head(self.inner(x).tanh() * self.scale)


def test_numpy_writes_into_copies():
    net = Fingers()
    for method in METHODS.values():
        torch.testing.assert_close(method(net), method(net))
        assert net.scale.eq(1).all()


torch.manual_seed(0)
GLOBAL = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 2)).double()
COUNT = [0]


def by_name(x):
    return GLOBAL(x)


def by_another(x):
    COUNT[0] += 1
    return by_name(x) if COUNT[0] >= 0 else by_another(x)


@pytest.mark.filterwarnings("ignore:.*(training mode|depends on the batch|relevance|in-place)")
@pytest.mark.parametrize("call", [lambda x: GLOBAL(x), by_name, by_another], ids=["lambda", "function", "functions"])
@pytest.mark.parametrize("training", [False, True])
def test_models_that_functions_know_by_a_global_name(call, training):
    """As in a notebook, where every name is global."""
    GLOBAL.train(training)
    state, calls = copy.deepcopy(GLOBAL.state_dict()), COUNT[0]
    for name in ("saliency", "ig", "ablation"):
        torch.testing.assert_close(METHODS[name](call), METHODS[name](GLOBAL))
        torch.testing.assert_close(METHODS[name](call), METHODS[name](call))
    found = af.saliency(af.layer(call, GLOBAL[0]), X, target=1)
    torch.testing.assert_close(found, af.saliency(af.layer(GLOBAL, "0"), X, target=1))
    assert all(torch.equal(state[key], held) for key, held in GLOBAL.state_dict().items())
    assert (COUNT[0] > calls) == (call is by_another)


def test_full_backward_hooks_see_gradients_and_no_relevance():
    net, seen = Plain(), []
    expected = {name: METHODS[name](net) for name in ("saliency", "lrp")}
    net.inner.register_full_backward_hook(lambda module, given, gradient: seen.append(gradient[0]))
    net.head.register_full_backward_pre_hook(lambda module, gradient: seen.append(gradient[0]))
    for name, found in expected.items():
        seen.clear()
        torch.testing.assert_close(METHODS[name](net), found)
        assert len(seen) == (2 if name == "saliency" else 0)
    torch.testing.assert_close(af.deep_lift(net, X, target=1), af.deep_lift(Plain(), X, target=1))
    torch.testing.assert_close(af.guided_backprop(net, X, target=1), af.guided_backprop(Plain(), X, target=1))


@pytest.mark.filterwarnings("ignore:.*(training mode|depends on|attributions miss)")
def test_statistics_of_what_a_function_calls_stay_under_rules():
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)).double()
    before = copy.deepcopy(net.state_dict())
    found = af.guided_backprop(lambda x: net(x), X, target=1)
    torch.testing.assert_close(found, af.guided_backprop(net, X, target=1))
    torch.testing.assert_close(dict(net.state_dict()), dict(before), rtol=0, atol=0)
