"""Surrogates of any features: least squares literally, `lime` as a case of it, and what cannot be right."""

import math

import pytest
import torch
from torch.func import grad, vmap

import attrfunc as af
from attrfunc import ArgumentError, surrogates
from oracle_net import drawn, make


@pytest.fixture
def net():
    return make()


@pytest.fixture
def x():
    return drawn(1, 3, 5)


def seeded():
    return torch.Generator().manual_seed(0)


def noisy(x, generator):
    """Samples inputs, and describes each by two numbers of its own."""
    point = x + 0.5 * torch.randn(x.shape, generator=generator).double()
    return point, torch.stack([point[:, 0], point[:, 1:].mean(1)], 1)


def nearness(x, point, features):
    return torch.exp(-(x - point).square().sum(1))


def test_the_formula(net, x):
    options = {
        "perturb": noisy,
        "similarity": nearness,
        "n_samples": 9,
        "target": 2,
        "linear_model": surrogates.least_squares(),
    }
    found = af.local_surrogate(net, x, generator=seeded(), **options)
    generator = seeded()
    draws = [noisy(x, generator) for _ in range(9)]
    for i in range(3):
        rows, right = [], []
        for point, features in draws:
            weight = math.exp(-float((x[i] - point[i]).square().sum()))
            rows.append(weight**0.5 * torch.cat([torch.ones(1).double(), features[i]]))
            right.append(weight**0.5 * net(point[i][None])[0, 2].detach())
        expected = torch.linalg.lstsq(torch.stack(rows), torch.stack(right)[:, None]).solution[1:, 0]
        torch.testing.assert_close(found[i], expected)
    for chunk_size in (1, 4, 100):
        again = af.local_surrogate(net, x, generator=seeded(), chunk_size=chunk_size, **options)
        torch.testing.assert_close(again, found)


def test_lime_is_a_case(net, x):
    mask = torch.tensor([0, 1, 1, 2, 0])

    def perturb(x, generator):
        coalition = torch.rand(3, generator=generator, dtype=torch.float64) < 0.5
        return torch.where(coalition[mask], x, 0.2), coalition

    kernel = lambda x, point, coalition: math.exp(-((1 - math.sqrt(coalition.sum() / 3)) ** 2) / (2 * 0.25**2))
    found = af.local_surrogate(net, x, perturb=perturb, similarity=kernel, n_samples=6, target=1, generator=seeded())
    expected = af.lime(net, x, feature_mask=mask[None], baseline=0.2, n_samples=6, target=1, generator=seeded())
    torch.testing.assert_close(found[:, mask], expected)


def test_what_is_linear_is_recovered(x):
    coefficients = torch.tensor([3.0, -2.0]).double()
    model = lambda point: torch.stack([point[:, 0], point[:, 1:].mean(1)], 1) @ coefficients + 7
    options = {"perturb": noisy, "similarity": nearness, "n_samples": 12, "generator": seeded()}
    found = af.local_surrogate(model, x, linear_model=surrogates.least_squares(), **options)
    torch.testing.assert_close(found, coefficients.expand(3, 2))


def test_structures_arguments_and_neurons(net, x):
    def perturb(inputs, generator):
        z = torch.rand(2, generator=generator).double()
        return {"a": inputs["a"] * z[0], "b": inputs["b"] * z[1]}, z

    inputs = {"a": x, "b": drawn(2, 3, 2)}
    model = lambda inputs, scale, shift: inputs["a"].sum(1) * scale + inputs["b"].sum(1) + shift
    scale = torch.tensor([1.0, -1.0, 2.0]).double()
    options = {
        "perturb": perturb,
        "similarity": lambda *_: 1.0,
        "linear_model": surrogates.least_squares(),
        "n_samples": 8,
    }
    found = af.local_surrogate(model, inputs, args=(scale,), kwargs={"shift": 4.0}, **options)
    torch.testing.assert_close(found, torch.stack([x.sum(1) * scale, inputs["b"].sum(1)], 1))
    shared = {"perturb": noisy, "similarity": nearness, "n_samples": 12}
    one = af.local_surrogate(af.neuron(net, "block", 1), x, generator=seeded(), **shared)
    other = af.local_surrogate(lambda x: net.before(x)[:, 1], x, generator=seeded(), **shared)
    torch.testing.assert_close(one, other.detach())


def test_a_score_of_the_batch(x):
    def perturb(x, generator):
        z = torch.rand(5, generator=generator).double()
        return x * z, z

    target = af.batch_score(torch.sum)
    options = {
        "perturb": perturb,
        "similarity": lambda *_: 1.0,
        "linear_model": surrogates.least_squares(),
        "n_samples": 9,
    }
    found = af.local_surrogate(lambda x: 2 * x, x, target=target, **options)
    torch.testing.assert_close(found, 2 * x.sum(0, keepdim=True))


def test_transforms(net, x):
    options = {"perturb": noisy, "similarity": nearness, "n_samples": 12}
    every = vmap(lambda t: af.local_surrogate(net, x, target=t, generator=seeded(), **options), randomness="same")
    mapped = every(torch.arange(3))
    for target in range(3):
        one = af.local_surrogate(net, x, target=target, generator=seeded(), **options)
        torch.testing.assert_close(mapped[target], one)
        assert not one.requires_grad
    bias = net.block.bias.detach()
    bound = lambda b: af.bind(net, {"block.bias": b})
    loss = lambda b: af.local_surrogate(bound(b), x, target=0, generator=seeded(), **options).square().sum()
    numeric = [(loss(bias + 1e-6 * e) - loss(bias - 1e-6 * e)) / 2e-6 for e in torch.eye(4).double()]
    torch.testing.assert_close(grad(loss)(bias), torch.stack(numeric), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"perturb": lambda x, g: x}, "`perturb`"),
        ({"perturb": lambda x, g: (x[:2], x[0])}, "`perturb`"),
        ({"perturb": lambda x, g: (x, x[:2])}, "`perturb`"),
        ({"perturb": lambda x, g: (x, 1.0)}, "`perturb`"),
        ({"perturb": lambda x, g: ((x, x), x[0])}, "`perturb`"),
        ({"similarity": lambda x, p, z: torch.ones(2)}, r"`similarity`: .*\(2,\)"),
        ({"similarity": lambda x, p, z: -1.0}, "`similarity`: got weights that are negative"),
        ({"similarity": lambda x, p, z: 0.0}, "all but one"),
        ({"n_samples": 2, "linear_model": surrogates.least_squares()}, "`n_samples`: got 2 samples for 2 groups"),
        ({"n_samples": 0}, "`n_samples`"),
        ({"generator": 3}, "`generator`"),
    ],
)
def test_what_cannot_be_right(net, x, options, message):
    with pytest.raises(ArgumentError, match=f"local_surrogate: .*{message}"):
        af.local_surrogate(net, x, target=0, **{"perturb": noisy, "similarity": nearness, "n_samples": 8, **options})


def test_layers_are_refused(net, x):
    with pytest.raises(ArgumentError, match=r"local_surrogate: argument `model`.*af.lime"):
        af.local_surrogate(af.layer(net, "block"), x, perturb=noisy, similarity=nearness)
