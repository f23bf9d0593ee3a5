"""Nodes in both worlds: at a level of torch.func, and in plain autograd where no transform is active."""

import pytest
import torch
from torch import nn

import attrfunc as af
from attrfunc.core.model.visible import scored
from attrfunc.propagation.interpreter import Interpreter
from attrfunc.propagation.lrp_books import DEFAULT
from attrfunc.propagation.node import below, level, lowered, tracked
from attrfunc.propagation.rectifiers import GUIDED
from oracle_net import drawn

X = drawn(1, 3, 4)


def model():
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(5)
    norm.running_mean.normal_()
    head = (nn.ReLU(inplace=True), nn.LayerNorm(5), nn.Unflatten(1, (1, 5)), nn.LSTM(5, 2, batch_first=True))
    net = nn.Sequential(nn.Linear(4, 5), norm, *head).double().eval()
    return lambda x: net(x)[0][:, 0, 1]


@pytest.mark.parametrize(("book", "method"), [(GUIDED, af.guided_backprop), (DEFAULT, af.lrp)], ids=["guided", "lrp"])
def test_plain_autograd_gives_the_same(book, method):
    score, x = model(), X.clone().requires_grad_()
    with Interpreter(book, [], set()):
        scores = scored(score(x))
    (found,) = torch.autograd.grad(scores.sum(), x)
    torch.testing.assert_close(found, method(score, X))
    assert not found.requires_grad


def test_what_is_tracked():
    x = X.clone().requires_grad_()
    assert level() == 0
    assert tracked(x)
    assert not tracked(X)
    assert not below(x).requires_grad
    with lowered():
        assert not (x * 2).requires_grad
    seen = []

    def inside(z):
        seen.extend([level(), tracked(z), tracked(x), tracked(below(z))])
        with lowered():
            seen.append(level())
        return z.sum()

    torch.func.grad(inside)(X)
    assert seen == [1, True, False, False, 0]
