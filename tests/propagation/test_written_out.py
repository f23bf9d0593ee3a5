"""Rectifiers that models write out, under guided backpropagation and deconvolution."""

import copy

import pytest
import torch
from test_guided import METHODS, Net, by_hand, every_method
from torch.nn import functional as F

import attrfunc as af
from oracle_net import drawn


def set_to_zero(x):
    x = x.clone()
    x[x < 0] = 0
    return x


def scaled_in_place(x):
    x = x + 0
    x *= (x > 0).to(x.dtype)
    return x


def filled_in_place(x):
    x = x + 0
    return x.masked_fill_(x < 0, 0.0)


WRITTEN = {
    "where": lambda x: torch.where(x > 0, x, 0),
    "where, turned round": lambda x: torch.where(x <= 0, torch.zeros_like(x), x),
    "where, by name": lambda x: torch.where(condition=x > 0, input=x, other=torch.zeros(())),
    "where, in another order": lambda x: torch.where(other=x, input=torch.zeros_like(x), condition=x < 0),
    "where method": lambda x: x.where(x.gt(0), torch.zeros((), dtype=x.dtype)),
    "product": lambda x: x * (x > 0),
    "product, turned round": lambda x: (x >= 0.0) * x,
    "product with numbers": lambda x: torch.mul(x, torch.gt(x, 0).type_as(x)),
    "product with whole numbers": lambda x: x * (x > torch.zeros_like(x)).long(),
    "product in place": scaled_in_place,
    "product with what is not": lambda x: x * ~(x < 0),
    "product with the opposite of not": lambda x: x.mul(torch.logical_not(x.le(0)).double()),
    "filled": lambda x: x.masked_fill(x < 0, 0),
    "filled in place": filled_in_place,
    "set": set_to_zero,
    "minimum": lambda x: -torch.minimum(-x, torch.zeros_like(x)),
    "min": lambda x: -torch.min(-x, torch.zeros((), dtype=x.dtype)),
    "clamped above": lambda x: -(-x).clamp(max=0),
    "clamp_max": lambda x: -(-x).clamp_max_(0),
    "hardtanh above": lambda x: -F.hardtanh(-x, -1e9, 0.0),
}


@every_method
@pytest.mark.parametrize("form", WRITTEN)
def test_every_written_form_by_hand(rule, form):
    net, x, target = Net(WRITTEN[form]), drawn(1, 3, 5), torch.tensor([0, 1, 2])
    expected = torch.stack([by_hand(rule, net, one, i) for i, one in enumerate(x)])
    state = copy.deepcopy(net.state_dict())
    torch.testing.assert_close(METHODS[rule](net, x, target=target), expected)
    mapped = torch.vmap(lambda one, number: METHODS[rule](net, one[None], target=number)[0])(x, target)
    torch.testing.assert_close(mapped, expected)
    assert all(torch.equal(state[name], held) for name, held in net.state_dict().items())


@every_method
def test_what_lets_negative_values_through_is_a_mirrored_relu(rule):
    mirrored = Net(lambda x: -F.relu(-x))
    x = drawn(1, 6, 5)
    for form in (
        lambda x: torch.minimum(x, torch.zeros_like(x)),
        lambda x: x.clamp(max=0),
        lambda x: x * (x < 0),
        lambda x: x.masked_fill(x > 0, 0),
        lambda x: torch.where(x < 0, x, 0),
    ):
        torch.testing.assert_close(METHODS[rule](Net(form), x, target=1), METHODS[rule](mirrored, x, target=1))


@every_method
def test_masks_of_other_values_are_no_rectifiers(rule):
    """Only a value's own sign, as it is now, makes one."""
    other = drawn(3, 7)

    def of_a_copy(x):
        return (x + 0) * (x > 0)

    def changed(x):
        x = x + 0
        truth = x > 0
        x.add_(0.1)
        return x * truth

    kept = {
        "another's sign": lambda x: x * (other > 0),
        "a copy's sign": of_a_copy,
        "changed behind": changed,
        "another threshold": lambda x: torch.where(x > 0.1, x, 0),
        "another filling": lambda x: torch.where(x > 0, x, 0.1 * x),
        "a gate": lambda x: torch.where(x > 0, other, 0) + x,
    }
    x = drawn(1, 6, 5)
    for form in kept.values():
        net = Net(form)
        torch.testing.assert_close(METHODS[rule](net, x, target=1), af.saliency(net, x, target=1, absolute=False))


@pytest.mark.parametrize("form", ["where", "product with numbers", "filled", "clamped above"])
def test_compiled(form):
    net, x = Net(WRITTEN[form]), drawn(1, 3, 5)
    explain = torch.compile(lambda x: af.guided_backprop(net, x, target=1), backend="eager", fullgraph=True)
    torch.testing.assert_close(explain(x), af.guided_backprop(net, x, target=1))
