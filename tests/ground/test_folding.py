"""Batch norms are folded into convolutions where nothing else reads what is between, and nobody can tell."""

import copy

import pytest
import torch
from torch import nn

import attrfunc as af
from attrfunc.core.loops.plan import planned
from attrfunc.core.score.method import open_problem


class Net(nn.Module):
    """Two convolutions, each with its batch norm, and what a case does between them."""

    def __init__(self, between=None, bias=True):
        super().__init__()
        torch.manual_seed(0)
        self.c1, self.b1 = nn.Conv2d(3, 4, 3, bias=bias), nn.BatchNorm2d(4)
        self.c2, self.b2 = nn.Conv2d(4, 4, 3, stride=2, groups=2), nn.BatchNorm2d(4, affine=bias)
        self.head, self.between = nn.Linear(4, 3), between
        for norm in (self.b1, self.b2):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
        self.eval().double()

    def forward(self, x):
        y = self.c1(x)
        y = torch.tanh(self.b1(y) + (0 if self.between is None else 0 * self.between(y)))
        return self.head(torch.tanh(self.b2(self.c2(y))).mean((2, 3)))


class Twice(Net):
    def forward(self, x):
        y = self.b1(self.c1(x)).tanh()
        z = self.b1(self.c1(x.flip(1))).tanh()
        return self.head(self.b2(self.c2(y - z)).mean((2, 3)))


class Elsewhere(Net):
    def forward(self, x):
        y = self.b1(self.c1(x)).tanh()
        return self.head(self.b2(self.c2(y)).mean((2, 3))) + self.c1.weight.mean() * x.mean((1, 2, 3))[:, None]


class Forgetful(Net):
    """A convolution that never adds its bias."""

    def __init__(self):
        super().__init__(bias=False)
        self.c1.forward = lambda x: nn.functional.conv2d(x, self.c1.weight)


X = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(1)).double()


def folds(net, **options):
    return len(planned(open_problem(net, X, 1, (), None), **options).twin.folds)


@pytest.mark.parametrize(
    ("net", "count"),
    [
        (Net(), 2),
        (Net(bias=False), 2),
        (Net(between=torch.sin), 1),
        (Net(between=lambda y: y.reshape(-1)[0]), 1),
        (Twice(), 1),
        (Elsewhere(), 1),
        (Forgetful(), 0),
        (Net().train(), 0),
        (Net().half(), 0),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(196, 2)).double().eval(), 1),
    ],
)
@pytest.mark.filterwarnings("ignore:.*training mode")
def test_what_is_folded(net, count):
    if next(net.parameters()).dtype == torch.half:
        problem = planned(open_problem(net, X.half(), 1, (), None))
        assert len(problem.twin.folds) == count
        return
    assert folds(net) == count


def test_what_is_looked_at_is_not_folded():
    net = Net()
    for where, side, count in (("c1", "output", 1), ("b1", "input", 1), ("b1", "output", 2), ("c2", "input", 2)):
        view = af.layer(net, where, side=side)
        problem = planned(open_problem(view, X, 1, (), None), share=False)
        assert len(problem.twin.folds) == count
    bound = af.bind(net, {"c1.weight": net.c1.weight.detach() * 2})
    assert len(planned(open_problem(bound, X, 1, (), None)).twin.folds) == 0


METHODS = {
    "ig": lambda model, **o: af.ig(model, X, target=1, n_steps=5, **o),
    "smooth": lambda model, **o: af.smooth(af.saliency, n_samples=3, generator=torch.Generator().manual_seed(0), **o)(
        model, X, target=1
    ),
    "conductance": lambda model, **o: af.conductance(model, X, layer="c1", target=1, n_steps=5, **o),
    "gradient_shap": lambda model, **o: af.gradient_shap(
        model, X, baselines=X * 0, target=1, n_samples=3, generator=torch.Generator().manual_seed(0), **o
    ),
    "ablation": lambda model, **o: af.feature_ablation(model, X, target=1, feature_mask=af.masks.grid_mask(X, 3), **o),
    "ig at a convolution": lambda model, **o: af.ig(af.layer(model, "c1"), X, target=1, n_steps=5, **o),
    "ig at a batch norm": lambda model, **o: af.ig(af.layer(model, "b1"), X, target=1, n_steps=5, **o),
    "a neuron of a convolution": lambda model, **o: af.ig(af.neuron(model, "c2", (1, 0, 0)), X, n_steps=5, **o),
}


@pytest.mark.parametrize("name", METHODS)
def test_nobody_can_tell(name, monkeypatch):
    net = Net()
    state = copy.deepcopy(net.state_dict())
    found = METHODS[name](net)
    monkeypatch.setattr("attrfunc.core.loops.plan.may_fold", lambda parts: False)
    torch.testing.assert_close(found, METHODS[name](net), rtol=1e-9, atol=1e-12)
    assert all(torch.equal(state[key], held) for key, held in net.state_dict().items())
    assert "forward" not in vars(net.b1)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())


def test_a_batch_norm_that_is_folded_is_not_run_when_its_output_is_given():
    """What lies before it is shared, so that its output is put once before the ends of the path are read."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4)
    norm.running_var.uniform_(0.5, 2)
    parts = [nn.Conv2d(3, 4, 1), norm, nn.Tanh(), nn.Conv2d(4, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    net, x = nn.Sequential(*parts).double().eval(), torch.rand(3, 3, 6, 6, dtype=torch.float64)
    view, last, first = af.layer(net, "1"), net[:2](x), net[:2](x * 0)
    expected = af.ig(net[2:], last, baseline=first, target=1, n_steps=4)
    torch.testing.assert_close(af.ig(view, x, target=1, n_steps=4), expected, rtol=1e-9, atol=1e-12)
