"""A score is a function of the point, whatever the model keeps; and what the user has stays hers, to the bit."""

import copy
from collections import deque

import pytest
import torch
from alike import drawn, same
from torch import nn

import attrfunc as af
from contract import Net, each_method, free
from contract_table import METHODS

ALARM = {"left": None}  # a global, which is no part of the model


class AlarmError(Exception):
    """What a model of the user's raises."""


class Restless(Net):
    """The contract's network, which also writes wherever a model can, and reads back what it has written."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("hidden", torch.zeros(2), persistent=False)
        self.calls, self.state, self.feature = 0, None, None
        self.cache, self.log = {"steps": {"all": []}}, [0.0]
        self.recent, self.names = deque(maxlen=2), set()
        self.notes = [torch.zeros(2), ([],)]
        self.norm.register_forward_hook(self.keep)
        self.mix.register_forward_pre_hook(self.count)

    def keep(self, module, args, out):
        self.feature = out

    def count(self, module, args):
        module.uses = getattr(module, "uses", 0) + 1
        self.names.add(f"use {module.uses}")

    def forward(self, x):
        self.calls += 1
        self.seen += 1
        self.hidden.add_(0.5)
        with torch.no_grad():
            self.mix.weight.clamp_(-0.2, 0.2)
            self.head.bias.data[0] = 7.0
            self.notes[0].add_(1)
        self.norm(self.conv(x))
        h = torch.tanh(self.feature)
        self.state = h if self.state is None else h + self.state
        self.cache["steps"]["all"].append(h)
        self.cache.setdefault("first", torch.zeros_like(h))
        self.recent.append(h)
        self.log[0] += 1.0
        self.notes[1][0].append(len(self.recent))
        if ALARM["left"] is not None:
            ALARM["left"] -= 1
            if ALARM["left"] < 0:
                raise AlarmError
        kept = (self.state + self.recent[0] - self.cache["steps"]["all"][-1]) / (self.calls * self.log[0])
        kept = kept * self.seen + self.hidden.sum() - self.notes[0].mean() + self.cache["first"]
        return self.head((kept + self.mix(h).sigmoid()).mean(2) * len(self.names)).sin()


def pair():
    """The restless network, and a calm one that computes what its first call does."""
    torch.manual_seed(0)
    restless, calm = Restless().double().eval(), Net().double().eval()
    with torch.no_grad():
        restless.norm.running_mean.normal_(std=0.2)
    calm.load_state_dict({key: value for key, value in restless.state_dict().items() if key != "seen"})
    with torch.no_grad():
        calm.mix.weight.clamp_(-0.2, 0.2)
        calm.head.bias[0] = 7.0
    return restless, calm


def held(value, seen=None):
    """All that a value holds, and which objects hold it, in a form that can be compared."""
    seen = set() if seen is None else seen
    if isinstance(value, torch.Tensor):
        numbers = value.detach().clone().contiguous().flatten().view(torch.uint8).tolist() if value.numel() else []
        return (id(value), value.data_ptr(), value.requires_grad, value.grad_fn, type(value), numbers)
    if id(value) in seen or isinstance(value, int | float | str | bool | type | None):
        return value
    seen.add(id(value))
    if isinstance(value, nn.Module):
        return (id(value), [(key, held(item, seen)) for key, item in value.__dict__.items()])
    if isinstance(value, dict):
        return (id(value), [(key, held(item, seen)) for key, item in value.items()])
    if isinstance(value, list | tuple | deque):
        return (id(value), [held(item, seen) for item in value])
    if isinstance(value, set):
        return (id(value), sorted(map(str, value)))
    return value  # a function or a method: equal if it is bound to the same object


def test_what_is_held_is_seen():
    """The comparison below would notice each of these changes."""
    changes = [
        lambda net: net.seen.add_(1),
        lambda net: net.cache["steps"]["all"].append(1),
        lambda net: net.recent.append(1),
        lambda net: net.names.add("use"),
        lambda net: net.notes[1][0].append(1),
        lambda net: net.notes[0].add_(1),
        lambda net: net.mix.weight.data.neg_(),
        lambda net: setattr(net, "state", 1),
        lambda net: setattr(net.mix, "uses", 1),
        lambda net: setattr(net, "log", [0.0]),
        lambda net: net.norm._forward_hooks.clear(),
        lambda net: net.head.requires_grad_(False),
        lambda net: setattr(net.head.weight, "data", net.head.weight.detach().clone()),
    ]
    for change in changes:
        net, _ = pair()
        before = held(net)
        assert held(net) == before
        change(net)
        assert held(net) != before


def by_value(method):
    """Whether a method gives the same for all that computes the same: LRP shares by how it is written."""
    return "lrp" not in method.call.__name__


@each_method(lambda method: not method.variant)
def test_a_restless_model_is_as_calm_as_its_first_call(method):
    """Right numbers, and a model that is as it was, after a call that returns."""
    restless, calm = pair()
    x, before = drawn(4, 2, 6), held(restless)
    found = method(restless, x, target=1)
    assert held(restless) == before
    if by_value(method):
        same(found, method(calm, x, target=1))
    copy.deepcopy(restless)(x)  # which a tensor of a transform would not let pass


@each_method(lambda method: not method.variant)
def test_a_model_that_raises_is_as_it_was(method):
    restless, _ = pair()
    x, before = drawn(4, 2, 6), held(restless)
    try:
        ALARM["left"] = 10**6
        method(restless, x, target=1)
        runs = 10**6 - ALARM["left"]
        for good in sorted({0, 1, runs // 2, runs - 1} & set(range(runs))):
            ALARM["left"] = good
            with pytest.raises(AlarmError):
                method(restless, x, target=1)
            assert held(restless) == before
    finally:
        ALARM["left"] = None


@each_method(lambda method: free(method) and not method.variant)
def test_chunks_do_not_matter_to_a_restless_model(method):
    restless, calm = pair()
    x = drawn(4, 2, 6)
    for chunk_size in (1, 3):
        expected = method(calm if by_value(method) else restless, x, target=1)
        same(method(restless, x, target=1, chunk_size=chunk_size), expected)


OTHERS = {
    "activation": lambda net, x: af.activation(af.layer(net, "mix"), x),
    "completeness_gap": lambda net, x: af.completeness_gap(net, x, torch.ones_like(x), target=1),
    "dataset_ablation": lambda net, x: af.dataset_ablation(net, [x[:2], x[2:]], to_metric=lambda out: out.sum()),
    "relevance_gap": lambda net, x: af.relevance_gap(net, x, torch.ones_like(x), target=1),
    "score_change": lambda net, x: af.score_change(net, x, target=1),
}


@pytest.mark.parametrize("call", OTHERS.values(), ids=OTHERS)
def test_what_is_no_method_leaves_no_trace_either(call):
    restless, calm = pair()
    x, before = drawn(4, 2, 6), held(restless)
    same(call(restless, x), call(calm, x))
    assert held(restless) == before


class Stepwise(nn.Module):
    """Its own calls follow each other, as a decoder's do."""

    def __init__(self, kind):
        super().__init__()
        self.cell, self.state = kind(2, 3, batch_first=True), None

    def forward(self, x):
        outs = []
        for step in x.split(1, 1):
            out, self.state = self.cell(step, self.state)
            outs.append(out)
        return torch.cat(outs, 1)[:, -1, 0]


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("method", [af.ig, af.deep_lift, af.shapley_sampling], ids=lambda method: method.__name__)
def test_a_recurrent_state_starts_anew(kind, method):
    net, x, baseline = Stepwise(kind).double().eval(), drawn(2, 3, 2), drawn(2, 3, 2, seed=1)
    pure = lambda z: net.cell(z)[0][:, -1, 0]
    options = {"baseline": baseline}
    if method is af.shapley_sampling:
        seeded = lambda: {"generator": torch.Generator().manual_seed(0), "n_samples": 4}
        same(method(net, x, **options, **seeded()), method(pure, x, **options, **seeded()))
    else:
        same(method(net, x, **options), method(pure, x, **options))
    assert net.state is None
    net(x)  # the user's own call leaves her a state
    kept = held(net)
    pure = lambda z: net.cell(z, copy.copy(net.state))[0][:, -1, 0]  # from which every evaluation goes on
    if method is af.ig:
        same(method(net, x, **options), method(pure, x, **options))
    assert held(net) == kept


class Pages:
    """Keys and values so far, as libraries of language models keep them."""

    def __init__(self):
        self.pages = []

    def update(self, page):
        self.pages.append(page)
        return torch.stack(self.pages).sum(0)


@pytest.mark.parametrize("method", [row for row in METHODS if free(row) and not row.variant], ids=str)
def test_an_object_among_the_arguments_is_as_it_was(method):
    class Paged(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(6, 3)

        def forward(self, x, pages):
            return self.head(pages.update(x).sigmoid()).tanh()

    net, x, pages = Paged().double(), drawn(4, 6), Pages()
    plain = lambda x: net.head(x.sigmoid()).tanh()
    found = method(net, x, args=(pages,), target=1)
    if by_value(method):
        same(found, method(plain, x, target=1))
    assert pages.pages == []


def test_caches_of_an_ensemble_hold_no_tensor_of_a_transform():
    class Caching(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.cache = nn.Linear(6, 1), {}

        def forward(self, x):
            out = self.head(x)
            self.cache.setdefault("zeros", torch.zeros_like(out[:1]))
            return out + self.cache["zeros"]

    net, x = Caching(), torch.ones(5, 6)
    stacked, _ = torch.func.stack_module_state([Caching(), Caching()])
    found = torch.vmap(lambda state: af.saliency(af.bind(net, state), x, absolute=False))(stacked)
    torch.testing.assert_close(found, stacked["head.weight"].detach().expand(2, 5, 6))
    assert net.cache == {}
    same(af.saliency(net, x, absolute=False), net.head.weight.detach().expand(5, 6))


@pytest.mark.parametrize("late", [1, 2])
def test_deep_lift_of_a_model_that_writes_at_its_input_only(late):
    """The run that is compared with the baseline's starts anew at each first write."""

    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.out = nn.Linear(3, 4), nn.Linear(4, 1)
            for name in "ab"[:late]:
                self.register_buffer(name, torch.zeros(()))

        def forward(self, x):
            moved = float(x.detach().any())
            out = self.fc(x)
            for buffer in self.buffers():
                out = out.tanh() * out.exp()
                if moved:
                    buffer.add_(moved)
                out = out + buffer - moved
            return self.out(out)[:, 0]

    model, x = Counting().double().eval(), drawn(2, 3)
    attributions = af.deep_lift(model, x)
    with torch.no_grad():
        change = copy.deepcopy(model)(x) - copy.deepcopy(model)(0 * x)
    torch.testing.assert_close(attributions.sum(1), change)
    assert not any(buffer.any() for buffer in model.buffers())


def raised(value):
    """Writes where no look at the model's own code would find it."""
    torch.add(value, 1, out=value)


class Seldom(nn.Module):
    """Writes far away from zero only."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        if x.detach().abs().amax() > 0.9:
            raised(self.seen)
        return self.fc(x)


class Keeping(nn.Module):
    """Keeps statistics by a function that rules see as the arithmetic that gives its value."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(12, 2)
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("variance", torch.ones(3))

    def forward(self, x):
        x = nn.functional.instance_norm(x[..., None] * torch.arange(1, 5), self.mean, self.variance)
        return self.fc(x.flatten(1))


@pytest.mark.parametrize("kind", [Seldom, Keeping])
@pytest.mark.parametrize("order", [1, -1])
def test_what_wrote_nothing_once_may_write_at_other_points_and_under_other_methods(kind, order):
    model, x = kind().eval(), torch.linspace(-1, 1, 6).view(2, 3)
    state = copy.deepcopy(model.state_dict())
    calls = [
        lambda: af.deep_lift(model, x, target=1),
        lambda: af.lrp(model, x, target=1),
        lambda: af.feature_ablation(model, x, target=1),
        lambda: af.ig(model, x, target=1, n_steps=5),
        lambda: af.ig(model, x, target=1, n_steps=5, chunk_size=2),
    ]
    for call in [*calls, *calls][::order]:
        call()
        torch.testing.assert_close(model.state_dict(), state, rtol=0, atol=0)


class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.mix, self.head = nn.Linear(3, 3), nn.Linear(3, 3)


class CastsALayer(Parts):
    def forward(self, x):
        self.head.to(torch.float64)
        return self.head(self.mix(x).double())


class CastsItself(Parts):
    def forward(self, x):
        self.double()
        return self.mix(x.double())


class ClearsGradients(Parts):
    def forward(self, x):
        self.zero_grad()
        return self.mix(x)


class FillsALayer(Parts):
    def forward(self, x):
        numbers = nn.utils.parameters_to_vector(self.mix.parameters())
        nn.utils.vector_to_parameters(2 * numbers, self.head.parameters())
        return self.head(x)


@pytest.mark.parametrize("kind", [CastsALayer, CastsItself, ClearsGradients, FillsALayer])
@pytest.mark.parametrize("method", [af.saliency, af.ig, af.feature_ablation], ids=lambda method: method.__name__)
def test_what_modules_do_to_their_parameters_stays_on_the_twin(kind, method):
    """No operation writes there: a parameter gets another tensor."""
    net, x = kind(), drawn(2, 3).float()
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    before, grads = held(net), [parameter.grad for parameter in net.parameters()]
    found = method(net, x, target=1)
    assert held(net) == before
    assert all(parameter.grad is grad for parameter, grad in zip(net.parameters(), grads, strict=True))
    twin = copy.deepcopy(net)
    same(found, method(lambda x: copy.deepcopy(twin)(x), x, target=1), rtol=1e-5)
