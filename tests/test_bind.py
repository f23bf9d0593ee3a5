"""What `bind` refuses, at once and by name, rather than attribute something else."""

import copy
import re

import pytest
import torch
from torch import nn
from torch.func import stack_module_state

import attrfunc as af


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def refused(*parts):
    return pytest.raises(af.ArgumentError, match=".*".join(map(re.escape, ("bind: argument", *parts))))


def test_names(model):
    with refused("`tensors`", "'0.wieght'", "'0.weight'"):
        af.bind(model, {"0.wieght": torch.ones(4, 3)})


def test_shapes(model):
    """One that broadcasts would be taken without a word."""
    with refused("`tensors`", "(1,)", "'0.bias'", "(4,)"):
        af.bind(model, {"0.bias": torch.zeros(1)})
    with refused("`tensors`", "float 1.0", "'0.bias'"):
        af.bind(model, {"0.bias": 1.0})


def test_stacked_states_are_mapped_over(model):
    members = [model, copy.deepcopy(model)]
    state, _ = stack_module_state(members)
    with refused("`tensors`", "(2, 4, 3)", "'0.weight'", "(4, 3)", "torch.vmap"):
        af.bind(model, state)
    x = torch.randn(5, 3)
    together = torch.vmap(lambda one: af.saliency(af.bind(model, one), x, target=1))(state)
    torch.testing.assert_close(together[1], af.saliency(members[1], x, target=1))


def test_a_callable_has_no_names(model):
    with refused("`model`", "function", "a module"):
        af.bind(lambda x: model(x), dict(model.named_parameters()))
