"""Gradients of each example against a plain loop, on every layer kind."""

import pytest
import torch
import trained
from torch import nn
from torch.nn import functional as F

from attrfunc.core.errors import ArgumentError, ModelError
from attrfunc.influence.network import open_network
from attrfunc.influence.per_example import PerExample, loop, mapped
from attrfunc.influence.terms import Dense, Outer, flat, inner, norms, weighted
from attrfunc.influence.values import losses

DOUBLE = torch.float64
WITHOUT = {  # parameters that no operation has factors for
    "positions": {"middle.matrix"},
    "weight norm": {"layer.parametrizations.weight.original0", "layer.parametrizations.weight.original1"},
}


def opened(model, loss=trained.cross_entropy, parameters=None):
    network = open_network(model, parameters)
    values = losses(loss)
    return network, values, PerExample(network, values)


@pytest.mark.parametrize("name", trained.NAMES)
def test_gradients_and_their_products(name):
    model, batch = trained.network(name)
    network, values, gradients = opened(model)
    found, expected = gradients(batch), trained.gradients(model, batch)
    close = lambda a, b: torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)
    close(flat(found, DOUBLE), expected)
    close(inner(found, found, DOUBLE), expected @ expected.T)
    close(norms(found, DOUBLE), expected.square().sum(1))
    directions = torch.randn(3, network.size, dtype=DOUBLE)
    close(weighted(network.split(directions), found, DOUBLE), directions @ expected.T)
    (layouts,) = (known for key, known in network.known.items() if key == values)
    (where,) = layouts.values()
    assert {name for name, layout in where.items() if layout is None} == WITHOUT.get(name, set())


@pytest.mark.parametrize("name", ["positions", "batch norm", "weight norm"])
def test_the_ways_without_factors_give_the_same(name):
    model, batch = trained.network(name)
    network, values, _ = opened(model)
    expected = trained.gradients(model, batch)
    by_map = mapped(network, values, batch, 6, network.names)
    leaves = {n: v.detach().requires_grad_() for n, v in network.values.items()}
    by_loop = loop(network.call(leaves), values, batch, 6, leaves)
    for found in (by_map, by_loop):
        torch.testing.assert_close(torch.cat([found[n].flatten(1) for n in network.names], 1), expected)


def test_matrices_are_not_written_out():
    model, batch = trained.network("mlp")
    found = opened(model)[2](batch)
    assert isinstance(found["0.weight"][0], Outer)
    assert found["0.weight"][0].right.shape == (6, 1, 4)
    model, batch = trained.network("tied")
    kinds = [type(term) for term in opened(model)[2](batch)["embedding.weight"]]
    assert kinds == [Outer, Outer]


def test_mixed_terms_of_a_tied_matrix_multiply():
    one = Outer(torch.tensor([[0, 2], [1, 1]]), torch.randn(2, 2, 3, dtype=DOUBLE), 4)
    other = Outer(torch.randn(5, 1, 4, dtype=DOUBLE), torch.randn(5, 1, 3, dtype=DOUBLE), 4)
    written = Dense(torch.randn(5, 4, 3, dtype=DOUBLE))
    for a, b in (([one], [other]), ([other], [one]), ([one, one], [one]), ([one], [other, written])):
        whole = [sum(flat({"": (t,)}, DOUBLE) for t in terms) for terms in (a, b)]
        torch.testing.assert_close(inner({"": a}, {"": b}, DOUBLE), whole[0] @ whole[1].T)


class Branches(nn.Module):
    """What vmap cannot trace, and a parameter without factors."""

    def __init__(self):
        super().__init__()
        self.layer, self.matrix = nn.Linear(4, 4), nn.Parameter(torch.randn(3, 4))

    def forward(self, x):
        rows = [row * 2 if row.sum().item() > 0 else row for row in x]
        return torch.stack(rows) @ self.matrix.t() + self.layer(x)[:, :3]


def test_models_that_cannot_be_mapped_are_taken_one_by_one():
    torch.manual_seed(0)
    model, batch = Branches().double(), (torch.randn(5, 4, dtype=DOUBLE), torch.tensor([0, 1, 2, 0, 1]))
    network, values, gradients = opened(model)
    torch.testing.assert_close(flat(gradients(batch), DOUBLE), trained.gradients(model, batch))
    assert network.known[values, "maps"] == {("matrix",): False}


class Overwrites(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Parameter(torch.randn(4)), nn.Linear(4, 3)

    def forward(self, x):
        x = x.clone()
        found = x + self.first
        x.mul_(2)  # what was added to is gone
        return self.second(torch.relu_(found)) + x[:, :3]


def test_what_is_overwritten_is_not_a_factor():
    torch.manual_seed(0)
    model, batch = Overwrites().double(), (torch.randn(5, 4, dtype=DOUBLE), torch.tensor([0, 1, 2, 0, 1]))
    torch.testing.assert_close(flat(opened(model)[2](batch), DOUBLE), trained.gradients(model, batch))


def test_examples_are_found_again_where_another_dimension_has_their_number():
    """Batches of as many examples as there are time steps, after others."""
    model, (x, labels) = trained.network("time first")
    gradients = opened(model)[2]
    gradients((x, labels))
    square = (x[:5], labels[:5])
    torch.testing.assert_close(flat(gradients(square), DOUBLE), trained.gradients(model, square))


def test_a_penalty_on_the_parameters_counts():
    model, batch = trained.network("mlp")

    def loss(model_called, batch):
        return trained.cross_entropy(model_called, batch) + model_called(torch.zeros(1, 4, dtype=DOUBLE)).square().sum()

    torch.testing.assert_close(flat(opened(model, loss)[2](batch), DOUBLE), trained.gradients(model, batch, loss))


def test_scripted_models_have_no_factors():
    model, batch = trained.network("mlp")

    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.inner = nn.Linear(3, 3).double(), torch.jit.script(model)

        def forward(self, x):
            return self.head(self.inner(x))

    holder = Holder()
    torch.testing.assert_close(
        flat(opened(holder, parameters=["head"])[2](batch), DOUBLE),
        trained.gradients(holder, batch, names=["head.weight", "head.bias"]),
    )


def test_parameters_are_chosen_by_name_or_module():
    model, batch = trained.network("twice")
    network, _, gradients = opened(model, parameters=["head", "first.bias"])
    assert network.names == ("head.weight", "head.bias", "first.bias")
    assert set(gradients(batch)) == set(network.names)
    model.requires_grad_(False)
    model.head.requires_grad_(True)
    assert open_network(model).names == ("head.weight", "head.bias")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision(dtype):
    model, batch = trained.network("conv", torch.float32)
    expected = trained.gradients(model, batch)
    found = flat(opened(model.to(dtype))[2]((batch[0].to(dtype), batch[1])), torch.float32)
    error = (found - expected).norm() / expected.norm()
    assert error < (1e-5 if dtype == torch.float32 else 0.03)


def test_strided_inputs_and_one_example():
    model, (x, labels) = trained.network("conv")
    turned = x.transpose(2, 3).contiguous().transpose(2, 3)
    torch.testing.assert_close(flat(opened(model)[2]((turned, labels)), DOUBLE), trained.gradients(model, (x, labels)))
    first = (x[:1], labels[:1])
    torch.testing.assert_close(flat(opened(model)[2](first), DOUBLE), trained.gradients(model, first))


def refused(match, model=None, loss=trained.cross_entropy, batch=None, error=ArgumentError, parameters=None):
    given, data = trained.network("mlp")
    with pytest.raises(error, match=match):
        opened(given if model is None else model, loss, parameters)[2](data if batch is None else batch)


def test_losses_that_cannot_be_right():
    x, labels = trained.network("mlp")[1]
    reduced = lambda model, batch: F.cross_entropy(model(batch[0]), batch[1])
    refused(r"`loss`: got a loss that is a tensor of shape \(\).*shape \(6,\).*reduction='none'", loss=reduced)
    refused("shape .12,.*expected a tensor of shape .6,", loss=lambda model, batch: model(batch[0])[:, :2].flatten())
    refused("depends on none of the parameters", loss=lambda model, batch: batch[0].sum(1))
    refused("dtype torch.int64", loss=lambda model, batch: model(batch[0]).argmax(1))
    refused("`loss`: got CrossEntropyLoss", loss=nn.CrossEntropyLoss())
    other = trained.mlp(4, 3).double()
    refused("Let it call its argument", loss=lambda model, batch: trained.cross_entropy(other, batch))
    refused("the loss of an example is not finite .it is nan", batch=(x / 0 * 0, labels), error=ModelError)
    refused("no attribute 'head'", loss=lambda model, batch: model.head(batch[0]), error=AttributeError)


class Centred(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3).double()

    def forward(self, x):
        return self.layer(x) - self.layer(x).mean(0)


def test_models_that_cannot_be_right():
    refused("got function", model=lambda x: x)
    refused("`parameters`: got 'nothing'", parameters=["nothing"])
    refused("Near matches: '0.weight'", parameters=["0.weigth"])
    refused("an empty list", parameters=[])
    refused("no parameter requires a gradient", model=trained.mlp(4, 3).requires_grad_(False))
    refused("depends on the other examples", model=Centred(), error=ModelError)
    dropout = nn.Sequential(nn.Linear(4, 3), nn.Dropout())
    refused("training mode .Dropout '1'", model=dropout, error=ModelError)
    model = trained.mlp(4, 3)
    with pytest.raises(ModelError, match="not taken inside transforms"):
        torch.vmap(lambda x: open_network(model).values["0.bias"] + x)(torch.zeros(2))


def test_gradients_that_are_not_numbers():
    loss = lambda model, batch: (model(batch[0]) * 0).sum(1).sqrt()
    model, batch = trained.network("mlp")
    gradients = opened(model, loss)[2]
    with pytest.raises(ModelError, match="gradient of example 0 is not finite"):
        gradients(batch)
