"""Models that take one example at a time, and large batches in blocks."""

import copy

import pytest
import torch
from alike import drawn, same
from torch import nn

import attrfunc as af
from contract import Net, each_method


class Single(Net):
    """The contract's network, which takes no more than one example."""

    def forward(self, x):
        if len(x) != 1:
            raise RuntimeError("one example at a time, please")
        return super().forward(x)


def pair():
    torch.manual_seed(0)
    net = Net().double().eval()
    single = Single().double().eval()
    single.load_state_dict(net.state_dict())
    return net, single


@each_method()
def test_a_model_of_single_examples(method):
    net, single = pair()
    x = drawn(3, 2, 6)
    same(method(single, x, target=1, chunk_size=1), method(net, x, target=1))


@pytest.mark.parametrize("where", ["norm", ["conv", "mix"]])
@pytest.mark.parametrize("name", ["saliency", "ig", "feature_ablation", "deep_lift", "lrp", "guided_backprop"])
def test_the_same_at_layers(name, where):
    net, single = pair()
    x, method = drawn(3, 2, 6), getattr(af, name)
    options = {"target": 1, **({"n_steps": 4} if name == "ig" else {})}
    found = method(af.layer(single, where), x, chunk_size=1, **options)
    same(found, method(af.layer(net, where), x, **options))


@pytest.mark.parametrize(
    "name", ["saliency", "input_x_gradient", "deep_lift", "lrp", "guided_backprop", "deconvolution"]
)
def test_blocks_of_examples(name):
    """What follows the examples goes with its block, and the bar counts examples."""
    net, x = pair()[0], drawn(7, 2, 6)
    sizes, seen = [], []

    class Counting(Net):
        def forward(self, x, shift):
            sizes.append(len(x))
            return super().forward(x + shift)

    torch.manual_seed(0)
    model = Counting().double().eval()
    shift, target, method = drawn(7, 2, 6), torch.tensor([0, 1, 0, 1, 1, 0, 0]), getattr(af, name)
    baseline = {"baseline": drawn(7, 2, 6)} if name == "deep_lift" else {}
    options = {"args": (shift,), "target": target, **baseline}
    whole = method(model, x, **options)
    sizes.clear()
    same(method(model, x, chunk_size=3, progress=lambda done, total: seen.append((done, total)), **options), whole)
    assert max(sizes) <= 6  # DeepLIFT has the baselines beside
    assert seen == [(3, 7), (6, 7), (7, 7)]
    assert net is not None


class Centred(nn.Module):
    def forward(self, x):
        return ((x - x.mean(0)) ** 3).sum(1)


@pytest.mark.parametrize("method", [af.saliency, af.input_x_gradient])
def test_examples_that_depend_on_each_other_stay_together(method):
    x = drawn(6, 3)
    with pytest.warns(UserWarning, match="depends on the batch"):
        found = method(Centred().eval(), x, chunk_size=2)
    same(found, method(Centred().eval(), x))


def test_what_lrp_knows_beside_is_of_the_whole_batch():
    net, x = pair()[0], drawn(4, 2, 6)
    with pytest.raises(af.ArgumentError, match=r"`chunk_size`: got int 2; expected None beside with_info"):
        af.lrp(net, x, target=1, chunk_size=2, with_info=True)


def test_layers_with_other_values_beside_their_tensors():
    class Two(nn.Module):
        def forward(self, x):
            return {"values": x.tanh(), "order": x.argsort(1), "note": "none"}

    class Behind(nn.Module):
        def __init__(self):
            super().__init__()
            self.two = Two()

        def forward(self, x):
            found = self.two(x)
            return found["values"].gather(1, found["order"])[:, 0]

    view, x = af.layer(Behind(), "two"), drawn(5, 3)
    whole, blocks = af.saliency(view, x), af.saliency(view, x, chunk_size=2)
    same(blocks["values"], whole["values"])
    assert torch.equal(blocks["order"], whole["order"])
    assert copy.copy(blocks["note"]) == "none"
