"""Temporal and sequential integrated gradients: integrated gradients of one time after the other, by a loop."""

import numpy as np
import pytest
import torch
from torch import nn

import attrfunc as af


@pytest.fixture
def net():
    torch.manual_seed(0)
    rnn, head = nn.LSTM(2, 5, batch_first=True).double(), nn.Linear(5, 3).double()
    return lambda x: head(rnn(x)[0][:, -1])


X = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(1)).double()
START = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(2)).double()


@pytest.mark.parametrize("chunk_size", [None, 1, 7])
@pytest.mark.parametrize("method", [af.temporal_ig, af.sequential_ig])
def test_one_time_after_the_other(net, method, chunk_size):
    found = method(net, X, baseline=START, target=1, n_steps=5, chunk_size=chunk_size)
    nodes, weights = np.polynomial.legendre.leggauss(5)
    expected = torch.zeros_like(X)
    for t in range(4):
        later = START[:, t + 1 :] if method is af.temporal_ig else X[:, t + 1 :]
        for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            point = torch.cat([X[:, :t], START[:, t : t + 1], later], 1)
            point[:, t] += node * (X - START)[:, t]
            point.requires_grad_()
            gradient = torch.autograd.grad(net(point)[:, 1].sum(), point)[0]
            expected[:, t] += weight * (gradient * (X - START))[:, t]
    torch.testing.assert_close(found, expected)


def test_a_time_has_what_is_lost_without_it(net):
    found = af.sequential_ig(net, X, baseline=START, target=0)
    for t in range(4):
        without = X.clone()
        without[:, t] = START[:, t]
        torch.testing.assert_close(found[:, t].sum(1), (net(X) - net(without))[:, 0].detach())


def test_completeness_until_each_time(net):
    found = af.temporal_ig(net, X, baseline=START, target=0)
    for t in range(5):
        known = torch.cat([X[:, :t], START[:, t:]], 1)
        change = (net(known) - net(START))[:, 0].detach()
        torch.testing.assert_close(found[:, :t].sum((1, 2)), change)


def test_the_last_dimension_and_several_tensors(net):
    found = af.temporal_ig(lambda x: net(x.mT), X.mT, dim=-1, baseline=START.mT, target=1)
    torch.testing.assert_close(found.mT, af.temporal_ig(net, X, baseline=START, target=1))
    pair = lambda a, b: net(torch.cat([a, b], 2))
    first, second = af.temporal_ig(pair, (X[..., :1], X[..., 1:]), target=1)
    torch.testing.assert_close(torch.cat([first, second], 2), af.temporal_ig(net, X, target=1))


def test_bad_input(net):
    for dim in (0, 3, -3, 1.0):
        with pytest.raises(af.ArgumentError, match=r"temporal_ig: argument `dim`: got .* behind that of the examples"):
            af.temporal_ig(net, X, dim=dim, target=0)
    with pytest.raises(af.ArgumentError, match=r"argument `x`: got tensors of shapes \(3, 4\), \(3, 2\)"):
        af.temporal_ig(lambda a, b: a.sum(1) + b.sum(1), (X[..., 0], X[:, 0]))
    with pytest.raises(af.ArgumentError, match="argument `n_steps`"):
        af.temporal_ig(net, X, n_steps=0, target=0)
    with pytest.raises(af.ModelError, match="sequence of its own"), pytest.warns(UserWarning, match="one by one"):
        af.temporal_ig(lambda z: (z - z.mean(0)).square().sum((1, 2)), X)
