"""The stateless call reaches every reference to a part of the model, or says that it does not."""

import functools

import pytest
import torch
from alike import drawn, same
from torch import nn

import attrfunc as af

ONES = {"head.weight": torch.ones(1, 6, dtype=torch.float64)}


class Referring(nn.Module):
    """Calls its head by something else that refers to it."""

    def __init__(self, make):
        super().__init__()
        self.head = nn.Linear(6, 1)
        self.way = make(self)

    def forward(self, x):
        return self.way(x)


class Caller:
    """No module, but holds one."""

    def __init__(self, module):
        self.module = module

    def __call__(self, x):
        return self.module(x)


class Slotted:
    __slots__ = ("module",)

    def __init__(self, module):
        self.module = module

    def __call__(self, x):
        return self.module(x)


def in_a_container(container, key):
    """A function of the model that looks its head up."""

    def make(model):
        model.parts = container(model.head)
        return functools.partial(looked_up, model, key)

    return make


def looked_up(model, key, x):
    part = model.parts[key]
    return part[0](x) if isinstance(part, list) else part(x)


WAYS = {
    "bound forward": lambda model: model.head.forward,
    "method of the model": lambda model: functools.partial(type(model).by_name, model),
    "partial": lambda model: functools.partial(nn.functional.linear, weight=model.head.weight, bias=model.head.bias),
    "partial of a module": lambda model: functools.partial(model.head),
    "closure": lambda model: lambda x: model.head(x),
    "closure over the part": lambda model: (lambda head: lambda x: head(x))(model.head),
    "object": lambda model: Caller(model.head),
    "object with slots": lambda model: Slotted(model.head),
    "list": in_a_container(lambda head: [head], 0),
    "tuple": in_a_container(lambda head: (None, head), 1),
    "dict": in_a_container(lambda head: {"a": head}, "a"),
    "list in a dict": lambda model: (
        setattr(model, "parts", {"a": [model.head]})
        or functools.partial(lambda model, x: model.parts["a"][0](x), model)
    ),
    "second name": lambda model: model.head,
}
Referring.by_name = lambda self, x: self.head(x)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_bound_is_read(way):
    net, x = Referring(WAYS[way]).double(), drawn(5, 6)
    weight = net.head.weight.detach()
    same(af.saliency(net, x, absolute=False), weight.expand(5, 6))
    view = af.bind(net, ONES)
    same(af.saliency(view, x, absolute=False), torch.ones_like(x))
    same(af.ig(view, x), x)
    same(af.feature_ablation(view, x), x)
    assert net.head.weight.detach() is not weight
    same(net.head.weight.detach(), weight)


@pytest.mark.parametrize("way", WAYS)
def test_layers_are_found_behind_references(way):
    net, x = Referring(WAYS[way]).double(), drawn(5, 6)
    try:
        found = af.ig(af.layer(net, "head"), x)
    except af.ModelError as error:
        assert way in ("bound forward", "partial")  # which run no module
        assert "'head' does not run" in str(error)  # noqa: PT017
    else:
        same(found, net.head(x).detach() - net.head(torch.zeros_like(x)).detach())


APART = nn.Linear(6, 1).double()


class Global(nn.Module):
    """Reads its head by a name of the file, which no copy of the model can reach."""

    def __init__(self):
        super().__init__()
        self.head = APART

    def forward(self, x):
        return APART(x)


@pytest.mark.parametrize("method", [af.saliency, af.ig, af.deep_lift, af.lrp, af.shapley_values])
def test_what_no_copy_reaches_is_an_error(method):
    net, x = Global(), drawn(2, 6)
    method(net, x)  # right, since nothing is replaced
    with pytest.raises(af.ModelError, match=r"head\.weight"):
        method(af.bind(net, ONES), x)


def test_views_of_views():
    net, x = nn.Sequential(nn.Linear(6, 3), nn.Tanh(), nn.Linear(3, 1)).double(), drawn(5, 6)
    new = {name: drawn(*value.shape, seed=number) for number, (name, value) in enumerate(net.named_parameters())}
    whole = af.bind(net, new)
    view = net
    for name, value in new.items():
        view = af.bind(view, {name: value})
    same(af.ig(view, x), af.ig(whole, x))
    same(af.ig(af.layer(view, "0"), x), af.ig(af.layer(whole, "0"), x))
    again = af.bind(whole, {"2.weight": new["2.weight"] * 2})
    same(af.saliency(again, x), 2 * af.saliency(whole, x))


def plain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2)).double().eval()


def compiled_in_place():
    net = plain()
    net.compile(backend="eager")
    return net


def with_a_compiled_part():
    net = plain()
    net[0] = torch.compile(net[0], backend="eager")
    return net


MADE = {
    "compiled": lambda: torch.compile(plain(), backend="eager"),
    "compiled in place": compiled_in_place,
    "compiled in part": with_a_compiled_part,
    "traced by fx": lambda: torch.fx.symbolic_trace(plain()),
    "exported": lambda: torch.export.export(plain(), (drawn(2, 6),)).module(),
    "parametrized": lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(plain()[0]), nn.Tanh(), plain()[2]),
    "with an empty part": lambda: nn.Sequential(plain(), nn.Sequential(), nn.ModuleList()[:0] or nn.Identity()),
}
METHODS = [af.ig, af.saliency, af.deep_lift, af.lrp, af.guided_backprop, af.feature_ablation]


@pytest.mark.parametrize("kind", MADE)
def test_modules_that_are_made(kind):
    """Each gives what the plain network gives; at its first layer too, where it has one."""
    net, x = MADE[kind](), drawn(2, 6)
    for method in METHODS:
        same(method(net, x, target=0), method(plain(), x, target=0))
    doubled = {name: 2 * value.detach() for name, value in net.named_parameters()}
    reference = plain()
    if kind != "parametrized":  # whose direction has no length
        for mine, theirs in zip(reference.parameters(), doubled.values(), strict=True):
            mine.data.copy_(theirs)
        same(af.ig(af.bind(net, doubled), x, target=0), af.ig(reference, x, target=0))


@pytest.mark.parametrize("part", ["", "0"])
@pytest.mark.parametrize("method", METHODS)
def test_what_is_compiled_in_place_runs_as_it_is_written(method, part):
    """A compiler takes its time for each new shape, and looks at what it should not."""
    calls = []
    net, x = plain(), drawn(2, 6)
    module = net.get_submodule(part)
    module.compile(backend="eager")
    own = module._call_impl
    module._compiled_call_impl = lambda *args: calls.append(args) or own(*args)
    same(method(net, x, target=0), method(plain(), x, target=0))
    assert not calls


@pytest.mark.parametrize(
    ("kind", "name"),
    [("compiled", "_orig_mod.0"), ("compiled in place", "0"), ("compiled in part", "0"), ("traced by fx", "0")],
)
def test_layers_of_modules_that_are_made(kind, name):
    net, x = MADE[kind](), drawn(2, 6)
    same(af.ig(af.layer(net, name), x, target=0), af.ig(af.layer(plain(), "0"), x, target=0))
    same(af.conductance(net, x, layer=name, target=0), af.conductance(plain(), x, layer="0", target=0))


def test_a_layer_that_only_a_hook_reads():
    """What a hook of the user's keeps of a layer is the layer's activation."""

    class Saving(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(6, 4), nn.Linear(4, 1)
            self.body.register_forward_hook(self.save)

        def save(self, module, args, out):
            self.feature = out

        def forward(self, x):
            self.body(x)
            return self.head(self.feature)

    net, x = Saving().double(), drawn(5, 6)
    net(x)
    before = net.feature
    same(af.saliency(net, x, absolute=False), (net.head.weight @ net.body.weight).detach().expand(5, 6))
    assert net.feature is before
