"""No example at all, one, views of memory, numbers that are none: the same of all methods of this folder."""

import pytest
import torch
from torch import nn

import attrfunc as af

X = torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(1)).double()
REGIONS = (torch.arange(36) // 6).view(1, 1, 6, 6)
METHODS = {
    "integrated_hessians": lambda model, x, **options: af.integrated_hessians(model, x, n_steps=12, **options),
    "guided_ig": lambda model, x, **options: af.guided_ig(model, x, n_steps=4, **options),
    "blur_ig": lambda model, x, **options: af.blur_ig(model, x, n_steps=4, **options),
    "sequential_ig": lambda model, x, **options: af.sequential_ig(model, x, dim=-1, n_steps=2, **options),
    "temporal_ig": lambda model, x, **options: af.temporal_ig(model, x, dim=-1, n_steps=2, **options),
    "score_cam": lambda model, x, **options: af.score_cam(model, x, layer="0", **options),
    "ablation_cam": lambda model, x, **options: af.ablation_cam(model, x, layer="0", **options),
    "eigen_cam": lambda model, x, target=None, **options: af.eigen_cam(model, x, layer="0", **options),
    "fullgrad": lambda model, x, **options: af.fullgrad(model, x, **options),
    "xrai": lambda model, x, **options: af.xrai(model, x, regions=REGIONS, n_steps=4, **options),
    "extremal_perturbation": lambda model, x, **options: af.extremal_perturbation(model, x, n_steps=2, **options),
    "rise": lambda model, x, **options: af.rise(
        model, x, n_samples=6, generator=torch.Generator().manual_seed(0), **options
    ),
}


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(64, 3)).double()
    net(torch.randn(20, 2, 6, 6).double())
    return net.eval()


@pytest.mark.parametrize("name", METHODS)
def test_edges(name, net):
    method = METHODS[name]
    before = {key: value.clone() for key, value in net.state_dict().items()}
    found = method(net, X, target=1)
    assert found.isfinite().all()
    assert not found.requires_grad
    torch.testing.assert_close(method(net, X[1:2], target=1), found[1:2])
    torch.testing.assert_close(method(net, X.mT.contiguous().mT, target=torch.tensor([1, 1, 1])), found)
    torch.testing.assert_close(method(net, X, target=1, chunk_size=2), found)
    empty = method(net, X[:0], target=1)
    assert empty.shape == (0, *found.shape[1:])
    for number in (float("nan"), float("inf")):
        with pytest.raises(af.ModelError, match=f"{name}: .* is not finite"):
            method(net, torch.full_like(X, number), target=1)
    with pytest.raises(af.AttributionError, match=name):
        method(net, X.long(), target=1)
    with torch.no_grad():
        torch.testing.assert_close(method(net, X, target=1), found)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("name", METHODS)
def test_further_arguments(name, net):
    class Scaled(nn.Sequential):
        def forward(self, x, scale, *, shift):
            return super().forward(x * scale.view(-1, 1, 1, 1)) + shift

    model = Scaled(*net).eval()
    scale, shift = torch.tensor([1.0, 2.0, 0.5]).double(), torch.ones(3, 3).double()
    found = METHODS[name](model, X, target=1, args=(scale,), kwargs={"shift": shift}, chunk_size=2)
    one = {"args": (scale[2:],), "kwargs": {"shift": shift[2:]}}
    torch.testing.assert_close(METHODS[name](model, X[2:], target=1, **one), found[2:])
