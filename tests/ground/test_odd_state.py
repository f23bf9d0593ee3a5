"""State that few models keep: gradients, hooks and arrays that forward makes; and one row repeated as an argument."""

import array

import pytest
import torch
from torch import nn

import attrfunc as af

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(1)).double()
METHODS = {
    "saliency": lambda model, **options: af.saliency(model, X, target=1, absolute=False, **options),
    "ig": lambda model, **options: af.ig(model, X, target=1, n_steps=4, chunk_size=2, **options),
    "lrp": lambda model, **options: af.lrp(model, X, target=1, **options),
    "ablation": lambda model, **options: af.feature_ablation(model, X, target=1, chunk_size=2, **options),
}


class Plain(nn.Module):
    factor = 1.0

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.head = nn.Linear(4, 3).double(), nn.Linear(3, 2).double()

    def forward(self, x):
        return self.head(self.inner(x).tanh() * self.factor)


class Trained(Plain):
    """Leaves a gradient with a parameter."""

    def forward(self, x):
        self.head.weight.grad = torch.ones_like(self.head.weight)
        return super().forward(x)


class Hooked(Plain):
    """Registers one more hook with each run, of which the next run must not know."""

    def forward(self, x):
        self.inner.register_forward_hook(lambda module, args, output: output * 2)
        self.head.register_forward_pre_hook(lambda module, args: (args[0] / 2,))
        return self.head(torch.atanh((self.inner(x) / 2).tanh()).tanh() * 2)


class Counting(Plain):
    """Counts in what Python has for numbers."""

    def __init__(self):
        super().__init__()
        self.counts, self.bytes = array.array("d", [0.0]), bytearray(1)

    def forward(self, x):
        self.counts[0] += 1
        self.bytes[0] += 1
        self.factor = self.counts[0] * self.bytes[0]
        return super().forward(x)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", [Trained, Hooked, Counting])
def test_state_that_forward_leaves(kind, name):
    net = kind()
    for _ in range(2):
        torch.testing.assert_close(METHODS[name](net), METHODS[name](Plain()))
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not net.inner._forward_hooks
    assert not net.head._forward_pre_hooks
    assert not isinstance(net, Counting) or (net.counts[0], net.bytes[0], net.factor) == (0, 0, 1)


class Masked(Plain):
    """Writes into its mask."""

    def forward(self, x, mask):
        mask[:, 0] = 0
        return super().forward(x * mask.mul_(0.5))


@pytest.mark.parametrize("name", METHODS)
def test_a_mask_that_is_written(name):
    mask = torch.ones(3, 4).double()
    found = METHODS[name](Masked(), kwargs={"mask": mask})
    halves = torch.tensor([0, 0.5, 0.5, 0.5]).double()
    expected = METHODS[name](lambda x, net=Plain(): net(x * halves)) if name != "lrp" else found  # noqa: B008
    torch.testing.assert_close(found, expected)
    assert mask.eq(1).all()
