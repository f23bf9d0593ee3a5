"""What the tests of metrics and attacks measure: small networks in double precision."""

import torch
from torch import nn


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def mlp(features=6, classes=3, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(features, 8), nn.Tanh(), nn.Linear(8, classes)).double().eval().requires_grad_(False)


def cnn(seed=0):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4 * 9, 3)]
    return nn.Sequential(*layers).double().eval().requires_grad_(False)


def linear(seed=0, features=6):
    """A linear score of one number, with its weights."""
    weights = torch.randn(features, generator=generator(seed), dtype=torch.float64)
    return (lambda x: x @ weights + 0.5), weights


def inputs(*shape, seed=1):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)
