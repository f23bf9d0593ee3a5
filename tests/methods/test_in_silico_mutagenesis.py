"""In-silico mutagenesis by a loop over mutations, and against tangermeme."""

import pytest
import torch
from torch import nn

import attrfunc as af


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(4, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 5, 3)).double().eval()


NUMBERS = torch.randint(0, 4, (3, 7), generator=torch.Generator().manual_seed(1))
X = nn.functional.one_hot(NUMBERS, 4).mT.double()


@pytest.mark.parametrize("chunk_size", [None, 1, 5])
def test_every_mutation(net, chunk_size):
    found = af.in_silico_mutagenesis(net, X, target=1, chunk_size=chunk_size)
    for number in range(3):
        for letter in range(4):
            for place in range(7):
                mutant = X[number].clone()
                mutant[:, place] = 0
                mutant[letter, place] = 1
                expected = (net(mutant[None]) - net(X[number][None]))[0, 1].item()
                assert found[number, letter, place].item() == pytest.approx(expected, abs=1e-12)


def test_as_tangermeme(net):
    from tangermeme.saturation_mutagenesis import saturation_mutagenesis

    theirs = saturation_mutagenesis(net.float(), X.float(), target=1, device="cpu", hypothetical=True, fast=False)
    found = af.in_silico_mutagenesis(net, X.float(), target=1)
    torch.testing.assert_close(found - found.mean(1, keepdim=True), theirs, atol=1e-5, rtol=1e-5)


def test_hypothetical_attributions(net):
    from tangermeme.deep_lift_shap import hypothetical_attributions

    start = torch.rand(3, 4, 7, generator=torch.Generator().manual_seed(2)).double()
    slopes = af.ig(net, X, baseline=start, target=1, multiply_by_inputs=False)
    found = af.hypothetical_attributions(slopes, X, baseline=start)
    (theirs,) = hypothetical_attributions((slopes,), (X,), (start,))
    torch.testing.assert_close(found, theirs)
    for letter in range(4):
        other = torch.zeros_like(X)
        other[:, letter] = 1
        torch.testing.assert_close(found[:, letter], ((other - start) * slopes).sum(1))
    torch.testing.assert_close((found * X).sum((1, 2)), af.score_change(net, X, baseline=start, target=1))


def test_unknown_letters_and_integers(net):
    x = X.clone()
    x[:, :, 2] = 0
    found = af.in_silico_mutagenesis(net, x, target=0)
    assert found[:, :, 2].all()
    table = lambda x: x.to(torch.float64).mul(torch.arange(28).view(4, 7)).sum((1, 2))
    torch.testing.assert_close(af.in_silico_mutagenesis(table, X.long()), af.in_silico_mutagenesis(table, X))


def test_bad_input(net):
    for function in (af.in_silico_mutagenesis, lambda model, x, **kw: af.hypothetical_attributions(x, x)):
        with pytest.raises(af.ArgumentError, match=r"argument `x`: .* whose places are not all one letter.*x\.mT"):
            function(net, X * 0.5, target=0)
        with pytest.raises(af.ArgumentError, match=r"argument `x`: .* whose places are not all one letter"):
            function(net, X.mT, target=0)
        with pytest.raises(af.ArgumentError, match=r"argument `x`: got .* \(3, 7\).*one-hot sequences"):
            function(net, NUMBERS, target=0)
    with pytest.raises(af.ArgumentError, match="hypothetical_attributions: argument `multipliers`"):
        af.hypothetical_attributions(X[:1], X)
    with pytest.raises(af.ArgumentError, match="in_silico_mutagenesis: argument `model`: got a view of layer '0'"):
        af.in_silico_mutagenesis(af.layer(net, "0"), X, target=0)
    with pytest.raises(af.ModelError, match="not apart"), pytest.warns(UserWarning, match="one by one"):
        af.in_silico_mutagenesis(lambda z: (z - z.mean(0)).square().sum((1, 2)), X)
