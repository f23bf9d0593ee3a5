"""The contract of every function that takes a model: nothing is changed, however it ends."""

import copy

import pytest
import torch
import trained
from torch import nn

import attrfunc as af
from attrfunc.influence import (
    activation_similarity,
    cg,
    datainf,
    ekfac,
    fisher,
    ggn,
    hessian,
    influence_function,
    self_influence,
    top,
    tracin,
    trak,
)

LOSS = trained.cross_entropy


class Counts(nn.Module):
    """Writes a buffer, an attribute and a list in each forward pass."""

    def __init__(self):
        super().__init__()
        self.layer, self.calls, self.seen = nn.Linear(4, 3), 0, []
        self.register_buffer("total", torch.zeros(3))

    def forward(self, x):
        found = self.layer(x) + 0.0 * self.total
        self.total += found.detach().sum(0)
        self.calls += 1
        self.seen.append(len(x))
        return found


METHODS = {
    "tracin": lambda model, batch: tracin(model, batch, data=[batch], loss=LOSS),
    "one query": lambda model, batch: tracin(model, tuple(b[:1] for b in batch), data=[batch], loss=LOSS),
    "checkpoints": lambda model, batch: tracin(
        model, batch, data=[batch], loss=LOSS, checkpoints=[copy.deepcopy(model.state_dict())]
    ),
    **{
        make.__name__: lambda model, batch, make=make: influence_function(
            model, batch, data=[batch], loss=LOSS, curvature=make(model, [batch], loss=LOSS, damping=1.0)
        )
        for make in (hessian, ggn, fisher, ekfac, datainf, cg)
    },
    "trak": lambda model, batch: trak(model, batch, data=[batch], loss=LOSS, measure=LOSS, ridge=1.0),
    "similarity": lambda model, batch: activation_similarity(af.layer(model, "layer"), batch[0], data=[batch[0]]),
    "top": lambda model, batch: top(tracin, k=2)(model, batch, data=[batch], loss=LOSS).scores,
    "self-influence": lambda model, batch: self_influence(model, [batch], loss=LOSS),
}


@pytest.fixture
def case():
    torch.manual_seed(0)
    model = Counts().eval()
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    return model, (torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1]))


def everything(model):
    tensors = [t for p in model.parameters() for t in (p, p.grad)] + list(model.buffers())
    return [t.detach().clone() for t in tensors], model.calls, list(model.seen), model.training


def alike(one, other):
    return all(torch.equal(a, b) for a, b in zip(one[0], other[0], strict=True)) and one[1:] == other[1:]


@pytest.mark.parametrize("name", METHODS)
def test_nothing_is_changed(case, name):
    model, batch = case
    before, state, copies = everything(model), torch.get_rng_state(), [part.clone() for part in batch]
    result = METHODS[name](model, batch)
    assert not result.requires_grad
    assert alike(everything(model), before)
    assert all(torch.equal(a, b) for a, b in zip(batch, copies, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    with torch.no_grad():
        assert torch.equal(METHODS[name](model, batch), result)
    with torch.inference_mode():
        assert torch.equal(METHODS[name](model, batch), result)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "similarity"])  # which takes no labels
def test_nothing_is_changed_by_an_error(case, name):
    model, (x, labels) = case
    before = everything(model)
    with pytest.raises(IndexError, match="out of bounds"):
        METHODS[name](model, (x, labels + 5))
    assert alike(everything(model), before)
