"""Wherever a tensor, a counter or a random state is held: every evaluation finds it as it was, and so does the user."""

import collections
import dataclasses
import functools
import itertools
import random
import types

import numpy as np
import pytest
import torch
from alike import same
from torch import nn

import attrfunc as af

Pair = collections.namedtuple("Pair", ["tensor", "other"])


@dataclasses.dataclass
class Record:
    tensor: torch.Tensor


@dataclasses.dataclass(frozen=True)
class Frozen:
    tensor: torch.Tensor


class Slots:
    __slots__ = ("tensor",)

    def __init__(self, tensor):
        self.tensor = tensor


class Owner:
    def __init__(self, tensor):
        self.tensor = tensor

    def get(self):
        return self.tensor


class Items(list):
    pass


def zeros():
    return torch.zeros(2, dtype=torch.float64)


# How a tensor is held, and how it is taken from there.
TENSORS = {
    "tuple": (lambda: (zeros(), 1), lambda held: held[0]),
    "named tuple": (lambda: Pair(zeros(), 1), lambda held: held.tensor),
    "tuple in a dict": (lambda: {"a": (zeros(),)}, lambda held: held["a"][0]),
    "tuple in a list": (lambda: [(zeros(),)], lambda held: held[0][0]),
    "dataclass": (lambda: Record(zeros()), lambda held: held.tensor),
    "frozen dataclass": (lambda: Frozen(zeros()), lambda held: held.tensor),
    "slots": (lambda: Slots(zeros()), lambda held: held.tensor),
    "namespace": (lambda: types.SimpleNamespace(tensor=zeros()), lambda held: held.tensor),
    "bound method": (lambda: Owner(zeros()).get, lambda held: held()),
    "partial": (lambda: functools.partial(lambda tensor: tensor, zeros()), lambda held: held()),
    "default dict": (lambda: collections.defaultdict(list, a=zeros()), lambda held: held["a"]),
    "deque": (lambda: collections.deque([zeros()]), lambda held: held[0]),
    "set": (lambda: {zeros()}, lambda held: next(iter(held))),
    "kind of list": (lambda: Items([zeros()]), lambda held: held[0]),
    "parameters": (lambda: nn.ParameterList([nn.Parameter(zeros())]), lambda held: held[0].data),
}


class Writing(nn.Module):
    """Counts in a tensor that something holds, or that is held by an argument."""

    def __init__(self, get, held=None):
        super().__init__()
        self.head, self.get, self.held = nn.Linear(3, 1), get, held

    def forward(self, x, *held):
        tensor = self.get(held[0] if held else self.held)
        tensor.add_(1)
        return self.head(x) * tensor.sum()


METHODS = [af.saliency, af.ig, af.feature_ablation, af.deep_lift]


def twice_the_weight(net, method, x):
    slope = 2 * net.head.weight.detach().expand(2, 3)
    return slope.abs() if method is af.saliency else slope * x


@pytest.mark.parametrize("kind", TENSORS)
def test_a_tensor_of_the_model_that_forward_writes(kind):
    make, get = TENSORS[kind]
    x = torch.ones(2, 3, dtype=torch.float64)
    for method in METHODS:
        net = Writing(get, make()).double()
        same(method(net, x), twice_the_weight(net, method, x))
        assert not get(net.held).any()


@pytest.mark.parametrize("kind", TENSORS)
def test_a_tensor_among_the_arguments_that_forward_writes(kind):
    make, get = TENSORS[kind]
    x = torch.ones(2, 3, dtype=torch.float64)
    for method in METHODS:
        net, held = Writing(get).double(), make()
        same(method(net, x, args=(held,)), twice_the_weight(net, method, x))
        assert not get(held).any()


def bump(array):
    array[0] += 1
    return float(array[0])


def counted(space):
    space.count += 1
    return space.count


# What else keeps something from call to call, and what a call of it gives.
STATES = {
    "random": (lambda: random.Random(0), lambda state: state.random()),
    "generator of numpy": (lambda: np.random.default_rng(0), lambda state: state.random()),
    "random state of numpy": (lambda: np.random.RandomState(0), lambda state: state.rand()),
    "generator of torch": (
        lambda: torch.Generator().manual_seed(0),
        lambda state: torch.rand(1, generator=state).item(),
    ),
    "array": (lambda: np.zeros(2), bump),
    "bytes": (lambda: bytearray(2), bump),
    "count": (lambda: itertools.count(1), next),
    "iterator": (lambda: iter([1.0, 2.0, 3.0] * 10), next),
    "counter": (lambda: collections.Counter(), lambda state: state.update("a") or state["a"]),
    "set": (lambda: {1}, lambda state: state.add(len(state) + 1) or len(state)),
    "ordered dict": (lambda: collections.OrderedDict(), lambda state: state.setdefault(len(state), 1) and len(state)),
    "namespace": (lambda: types.SimpleNamespace(count=0), counted),
}


class Stateful(nn.Module):
    def __init__(self, state, call):
        super().__init__()
        self.head, self.state, self.call = nn.Linear(3, 1), state, call

    def forward(self, x):
        return self.head(x) * self.call(self.state)


@pytest.mark.parametrize("kind", STATES)
def test_a_state_starts_anew_at_every_evaluation(kind):
    make, call = STATES[kind]
    net, x = Stateful(make(), call).double(), torch.ones(2, 3, dtype=torch.float64)
    first = call(make())
    for chunk_size in (1, None):
        same(af.ig(net, x, n_steps=3, chunk_size=chunk_size), first * net.head.weight.detach().expand(2, 3))
    assert call(net.state) == first
