"""FullGrad: derivatives by each bias, taken by autograd as the paper defines them, and the maps written out."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import attrfunc as af


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 3, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(27, 6, bias=False),
        nn.ReLU(),
        nn.Linear(6, 3),
    ).double()
    model(torch.randn(20, 2, 6, 6).double())
    return model.eval()


@pytest.fixture
def x():
    return torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(1)).double()


def test_completeness(model, x):
    """The whole score, of a network of ReLUs with batch norm."""
    full = af.full_gradients(model, x, target=1)
    total = full.input.flatten(1).sum(1) + sum(part.flatten(1).sum(1) for part in full.biases.values())
    torch.testing.assert_close(total, model(x)[:, 1].detach())
    assert list(full.biases) == ["0", "1", "4", "9"]


def test_derivatives_by_the_biases(model, x):
    """Summed over positions, a part is the bias times the derivative by it."""
    for number in range(3):
        full = af.full_gradients(model, x, target=2)
        model.zero_grad()
        model(x[number : number + 1])[0, 2].backward()
        for name in ("0", "4", "9"):
            bias = model.get_submodule(name).bias
            torch.testing.assert_close(
                full.biases[name][number].view(len(bias), -1).sum(1), (bias * bias.grad).detach()
            )
        norm = model[1]
        implicit = norm.bias - norm.weight * norm.running_mean / (norm.running_var + norm.eps).sqrt()
        found = full.biases["1"][number].sum((1, 2))
        torch.testing.assert_close(found, (implicit * norm.bias.grad).detach())


@pytest.mark.parametrize("rescale", [True, False])
def test_the_map(model, x, rescale):
    found = af.fullgrad(model, x, target=0, rescale=rescale)
    full = af.full_gradients(model, x, target=0)

    def psi(part):  # of one example, (C, H, W)
        part = part.abs()
        if rescale:
            part = (part - part.min()) / (part.max() - part.min())
        return F.interpolate(part[None], (6, 6), mode="bilinear")[0]

    for number in range(3):
        parts = [full.input, full.biases["0"], full.biases["1"], full.biases["4"]]
        expected = sum(psi(part[number]).sum(0) for part in parts)
        torch.testing.assert_close(found[number, 0], expected)


def test_some_layers_bound_tensors_and_chunks(model, x):
    full = af.full_gradients(model, x, target=0, layers=["4", model[9]])
    assert list(full.biases) == ["4", "9"]
    bound = af.full_gradients(af.bind(model, {"9.bias": torch.full((3,), 7.0).double()}), x, target=1)
    torch.testing.assert_close(bound.biases["9"][:, 1], torch.full((3,), 7.0).double())
    chunked = af.full_gradients(model, x, target=0, chunk_size=2)
    torch.testing.assert_close(chunked.input, af.full_gradients(model, x, target=0).input)
    torch.testing.assert_close(chunked.biases["4"], full.biases["4"])


def test_a_model_without_biases():
    model = nn.Linear(3, 2, bias=False)
    x = torch.ones(2, 3)
    full = af.full_gradients(model, x, target=0)
    assert full.biases == {}
    torch.testing.assert_close(full.input.sum(1), model(x)[:, 0].detach())


def test_bad_input(model, x):
    with pytest.raises(af.ArgumentError, match="full_gradients: argument `model`: got a view of layer '4'"):
        af.full_gradients(af.layer(model, "4"), x, target=0)
    with pytest.raises(af.ArgumentError, match="argument `layers`: got '2', a ReLU"):
        af.full_gradients(model, x, target=0, layers=["2"])
    with pytest.raises(af.ArgumentError, match="argument `layers`: got '22'"):
        af.full_gradients(model, x, target=0, layers="22")
    with pytest.raises(af.ArgumentError, match=r"argument `model`: .* Pass layers="):
        af.full_gradients(lambda x: model(x), x, target=0)
    with pytest.raises(af.ArgumentError, match=r"fullgrad: argument `x`: got an input of shape \(2, 3\)"):
        af.fullgrad(nn.Linear(3, 2), torch.ones(2, 3), target=0)


def test_what_is_missing_is_the_remainder_of_what_is_not_homogeneous():
    """Of each tanh `tanh(z) - tanh'(z) z`; of a layer norm, which does not change with the size of its input, all."""
    torch.manual_seed(0)
    first, last, norm = (part.double() for part in (nn.Linear(4, 6), nn.Linear(6, 2), nn.LayerNorm(6, eps=0.0)))
    x = torch.randn(3, 4).double()

    def total(model):
        full = af.full_gradients(model, x, target=1)
        return full.input.sum(1) + sum(bias.flatten(1).sum(1) for bias in full.biases.values())

    z = first(x)
    remainder = z.tanh() - (1 - z.tanh() ** 2) * z
    model = nn.Sequential(first, nn.Tanh(), last).eval()
    torch.testing.assert_close(total(model) + remainder @ last.weight[1], model(x)[:, 1])
    model = nn.Sequential(first, norm, last).eval()
    torch.testing.assert_close(total(model) + norm(z) @ last.weight[1], model(x)[:, 1])
