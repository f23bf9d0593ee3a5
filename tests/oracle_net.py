"""A small network whose parts can be called apart, and derivatives by plain autograd: what oracles are written with."""

import torch
from torch import nn

DOUBLE = torch.float64


class Net(nn.Module):
    """A small residual network whose two halves can be called apart."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(5, 4)
        self.block = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)

    def before(self, x):
        return self.block(self.embed(x).tanh())

    def behind(self, x, activation):
        return self.head((self.embed(x).tanh() + activation).sigmoid())

    def forward(self, x):
        embedded = self.embed(x).tanh()
        return self.head((embedded + self.block(embedded)).sigmoid())


def make():
    torch.manual_seed(0)
    return Net().double().eval()


def drawn(seed, *shape):
    return torch.randn(*shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def slope(function, point):
    """The gradient of a scalar function of one example, by plain autograd."""
    point = point.detach().clone().requires_grad_()
    return torch.autograd.grad(function(point), point)[0]


def jacobian(function, point):
    return torch.autograd.functional.jacobian(function, point.detach())


def midpoints(count):
    """The integral over [0, 1] as a sum of many cells: nodes and the width of each."""
    return [((k + 0.5) / count, 1 / count) for k in range(count)]
