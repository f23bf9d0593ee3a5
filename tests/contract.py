"""What the contract is tried on, a network and its views, and which rows of the table at which views."""

import zlib

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

import attrfunc as af
from contract_table import METHODS


class Net(nn.Module):
    """Smooth, so that finite differences can judge it; with batch norm, a bypass and a layer of several outputs."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm1d(4)
        self.mix = nn.Linear(6, 6)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        h = torch.tanh(self.norm(self.conv(x)))
        return self.head((h + self.mix(h).sigmoid()).mean(2)).sin()


VIEWS = {
    "input": lambda m: m,
    "layer": lambda m: af.layer(m, "mix"),
    "layer input": lambda m: af.layer(m, "mix", side="input"),
    "layers": lambda m: af.layer(m, ["conv", "mix"]),
    "neuron": lambda m: af.neuron(m, "mix", (1, 2)),
    "layer of a neuron": lambda m: af.layer(af.neuron(m, "mix", (slice(0, 2), 3)), "conv"),
}


def targeted(view, model, target=1):
    """The view of this name, and the target it takes."""
    built = VIEWS[view](model)
    neuron = isinstance(built, af.View) and built.output is not None
    return built, {} if neuron else {"target": target}


# One method of each kind of machinery, for what takes a compiler many seconds.
KINDS = {"integrated_gradients", "deep_lift", "guided_backprop", "shapley_sampling", "lime"}


# What a test may ask of a row.
def any_method(method):
    return True


def of_a_kind(method):
    return method.call.__name__ in KINDS and not method.variant


def free(method):
    """Takes any model and any view."""
    return not method.views


def each_method(only=any_method):
    """Run a test with every row for which `only` holds, at the input."""
    return pytest.mark.parametrize("method", [method for method in METHODS if only(method)], ids=str)


def each_cell(only=any_method, views=None, most=None):
    """Run a test with every row for which `only` holds, at the views that the row takes.

    No method knows its place, so not every pair has to pass every test. The views go round, from row to row and from
    test to test: all tests together try every method at every view, and each test tries every view.

    Args:
        only: What a row must fulfil.
        views: Keys of VIEWS; all by default.
        most: How many views a method is tried at, the first one among them, which is all that a variant is tried at.
            All by default.
    """

    def decorate(test):
        turn = zlib.crc32(test.__name__.encode())
        cells = [
            pytest.param(method, key, id=f"{method}-{key}")
            for number, method in enumerate(METHODS)
            if only(method)
            for key in _places(method, views or VIEWS, most, turn + number)
        ]
        return pytest.mark.parametrize(("method", "view"), cells)(test)

    return decorate


def _places(method, views, most, turn):
    keys = [key for key in views if not method.views or key in method.views]
    if most is None or len(keys) <= most:
        return keys
    first, *others = keys
    if most == 1 or method.variant:  # where the whole network is seen
        return [first]
    return [first, *(others[(turn + step) % len(others)] for step in range(most - 1))]


def change_along(function, way, step=1e-6):
    """The derivative at 0 of a scalar function of `t`, by central differences, for points that move by `t * way`."""
    ahead, back = (function(pytree.tree_map(lambda part, size=size: size * part, way)) for size in (step, -step))
    return (ahead - back) / (2 * step)


def numeric_gradient(function, point, step=1e-6):
    """Central differences of a scalar function."""
    out = torch.empty_like(point)
    for i in range(point.numel()):
        moved = [point.clone() for _ in range(2)]
        for leaf, sign in zip(moved, (1, -1), strict=True):
            leaf.view(-1)[i] += sign * step
        out.view(-1)[i] = (function(moved[0]) - function(moved[1])) / (2 * step)
    return out
