"""Traced models whose graph holds constants: it is inlined to see whether the model writes, also while modes watch."""

import pytest
import torch
from torch import nn

import attrfunc as af


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 1, bias=False)

    def forward(self, x, factor: int = 2):
        return torch.cat([factor * self.linear(x), self.linear(x)], 1).sum(1, keepdim=True)


@pytest.mark.parametrize("method", [af.feature_ablation, af.input_x_gradient, af.ig])
def test_a_number_in_the_graph(method):
    torch.manual_seed(0)
    model, x = Scaled().eval(), torch.randn(2, 3)
    traced = torch.jit.trace(model, x)
    torch.testing.assert_close(method(traced, x, target=0), 3 * x * model.linear.weight.detach())
