"""Each method written out by hand: a loop over examples and groups, in float64."""

import math

import pytest
import torch
from torch import nn

import attrfunc as af
from oracle_net import drawn, make


@pytest.fixture
def net():
    return make()


@pytest.fixture
def x():
    return drawn(1, 3, 5)


@pytest.fixture
def baseline():
    return drawn(2, 3, 5)


def ablated(function, one, start, mask):
    """For one example: what `function` loses without each group."""
    out = torch.zeros_like(one)
    for group in set(mask.flatten().tolist()):
        gone = one.clone()
        gone[mask == group] = start[mask == group]
        out[mask == group] = function(one) - function(gone)
    return out


MASKS = {
    "elements": (None, torch.arange(5).expand(3, 5)),
    "groups": (torch.tensor([[0, 1, 1, 0, 2]]), torch.tensor([0, 1, 1, 0, 2]).expand(3, 5)),
    "gaps": (torch.tensor([[9, 4, 4, 9, 100]]), torch.tensor([0, 1, 1, 0, 2]).expand(3, 5)),
    "no batch dimension": (torch.tensor([0, 1, 1, 0, 2]), torch.tensor([0, 1, 1, 0, 2]).expand(3, 5)),
    "one group": (torch.zeros(1, 1, dtype=torch.int32), torch.zeros(3, 5)),
    "of each example": (
        torch.tensor([[0, 0, 0, 0, 7], [1, 2, 1, 2, 1], [3, 4, 5, 6, 0]]),
        torch.tensor([[0, 0, 0, 0, 7], [1, 2, 1, 2, 1], [3, 4, 5, 6, 0]]),
    ),
}
every_mask = pytest.mark.parametrize(("mask", "full"), MASKS.values(), ids=MASKS)


@every_mask
@pytest.mark.parametrize("chunk_size", [None, 1, 2, 4, 7, 1000])
def test_feature_ablation(mask, full, chunk_size, net, x, baseline):
    result = af.feature_ablation(net, x, baseline=baseline, target=2, feature_mask=mask, chunk_size=chunk_size)
    for one, start, groups, attribution in zip(x, baseline, full, result, strict=True):
        torch.testing.assert_close(attribution, ablated(lambda z: net(z[None])[0, 2], one, start, groups))


def test_feature_ablation_at_a_layer(net, x, baseline):
    """The activation loses a group; what bypasses the layer stays as it is at the input."""
    mask = torch.tensor([[0, 1, 1, 0]])
    view = af.layer(net, "block")
    result = af.feature_ablation(view, x, baseline=baseline, target=1, feature_mask=mask)
    zeroed = af.feature_ablation(view, x, baseline=af.activation_baseline(), target=1)
    for one, start, attribution, alone in zip(x, baseline, result, zeroed, strict=True):
        function = lambda a, one=one: net.behind(one[None], a[None])[0, 1]
        activation, replaced = net.before(one[None])[0], net.before(start[None])[0]
        torch.testing.assert_close(attribution, ablated(function, activation, replaced, mask[0]))
        torch.testing.assert_close(alone, ablated(function, activation, torch.zeros(4).double(), torch.arange(4)))


def test_feature_ablation_of_a_neuron(net, x, baseline):
    result = af.feature_ablation(af.neuron(net, "block", 3), x, baseline=baseline)
    for one, start, attribution in zip(x, baseline, result, strict=True):
        expected = ablated(lambda z: net.before(z[None])[0, 3], one, start, torch.arange(5))
        torch.testing.assert_close(attribution, expected)


def test_groups_across_tensors():
    """A number that stands in several tensors is one group."""
    x = {"a": drawn(3, 2, 4), "b": [drawn(4, 2, 3)]}
    mask = {"a": torch.tensor([[0, 0, 1, 5]]), "b": [torch.tensor([[1, 5, 8]])]}
    model = lambda d: (d["a"].sum(1) * d["b"][0].prod(1)).sin() + d["a"][:, 0] * d["b"][0][:, 2]
    result = af.feature_ablation(model, x, baseline=0.5, feature_mask=mask)
    for group in (0, 1, 5, 8):
        a = torch.where(mask["a"] == group, torch.tensor(0.5).double(), x["a"])
        b = torch.where(mask["b"][0] == group, torch.tensor(0.5).double(), x["b"][0])
        loss = model(x) - model({"a": a, "b": [b]})
        for found, ids in ((result["a"], mask["a"]), (result["b"][0], mask["b"][0])):
            for place in (ids[0] == group).nonzero().flatten():
                torch.testing.assert_close(found[:, place], loss)


def test_integers_are_replaced_too():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(20, 3)).double()
    words = torch.tensor([[1, 2, 3, 4, 5], [9, 8, 7, 6, 5]])
    result = af.feature_ablation(net, words, baseline=0, target=1)
    assert result.dtype == torch.float64
    for one, attribution in zip(words, result, strict=True):
        for place in range(5):
            gone = one.clone()
            gone[place] = 0
            torch.testing.assert_close(attribution[place], net(one[None])[0, 1] - net(gone[None])[0, 1])


def test_scores_that_are_integers():
    x = torch.tensor([[1.0, 2.0], [3.0, -4.0]])
    assert torch.equal(af.feature_ablation(lambda x: (x > 0).sum(1), x), torch.tensor([[1.0, 1.0], [1.0, 0.0]]))


def test_an_activation_without_examples_in_front():
    """The score is then the sum over the batch, of which each example's activation changes its own part."""

    class TimeFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.turn, self.rnn = nn.Identity(), nn.RNN(4, 3)

        def forward(self, x):
            return self.rnn(self.turn(x.movedim(1, 0)))[0][-1].sum(1)

    torch.manual_seed(0)
    net, x = TimeFirst().double(), drawn(5, 3, 2, 4)
    result = af.feature_ablation(af.layer(net, "turn"), x)
    assert result.shape == (2, 3, 4)
    torch.testing.assert_close(result.movedim(1, 0), af.feature_ablation(net, x))
    steps = af.feature_ablation(af.layer(net, "turn"), x, feature_mask=torch.arange(2).view(2, 1, 1))
    gone = [x.clone() for _ in range(2)]
    for step in range(2):
        gone[step][:, step] = 0
        expected = (net(x) - net(gone[step])).sum()
        torch.testing.assert_close(steps[step], expected.expand(3, 4))


def windows(shape, window, stride):
    """All places of a window, as slices, the last ones cut off where they leave the example."""
    places = [[]]
    for length, width, step in zip(shape, window, stride, strict=True):
        count = math.ceil((length - width) / step) + 1
        spans = [slice(k * step, min(k * step + width, length)) for k in range(count)]
        places = [[*before, span] for before in places for span in spans]
    return [tuple(place) for place in places]


@pytest.mark.parametrize(
    ("window", "stride", "as_given"),
    [
        ((2, 3, 3), (1, 1, 1), {"window": (3, 3)}),
        ((2, 3, 3), (1, 2, 2), {"window": (3, 3), "stride": 2}),
        ((1, 2, 4), (1, 2, 3), {"window": (1, 2, 4), "stride": (1, 2, 3)}),
        ((2, 4, 5), (1, 1, 5), {"window": (2, 4, 5), "stride": (1, 1, 5)}),
        ((2, 2, 2), (2, 2, 2), {"window": 2, "stride": 2}),
    ],
)
@pytest.mark.parametrize("chunk_size", [None, 1, 5])
def test_occlusion(window, stride, as_given, chunk_size):
    x, weights = drawn(6, 3, 2, 4, 5), drawn(7, 2, 4, 5)
    model = lambda x: (x * weights).flatten(1).sum(1).tanh() + x[:, 1, 2].prod(1)
    result = af.occlusion(model, x, baseline=0.3, chunk_size=chunk_size, **as_given)
    for one, attribution in zip(x, result, strict=True):
        total, count = torch.zeros_like(one), torch.zeros_like(one)
        for place in windows(one.shape, window, stride):
            gone = one.clone()
            gone[place] = 0.3
            total[place] += model(one[None])[0] - model(gone[None])[0]
            count[place] += 1
        torch.testing.assert_close(attribution, total / count)


def test_occlusion_of_several_tensors_takes_one_at_a_time():
    x = (drawn(8, 2, 4), drawn(9, 2, 3), drawn(10, 2, 3))
    model = lambda a, b, c: (a.sum(1) + 2 * b.sum(1) + 3 * c.prod(1)).sin()
    result = af.occlusion(model, x, window=((2,), (3,), 1), stride=((2,), None, None))
    for number, places in enumerate([[slice(0, 2), slice(2, 4)], [slice(0, 3)], [slice(k, k + 1) for k in range(3)]]):
        for place in places:
            gone = [leaf.clone() for leaf in x]
            gone[number][:, place] = 0
            expected = (model(*x) - model(*gone))[:, None]
            torch.testing.assert_close(result[number][:, place], expected.expand(2, place.stop - place.start))


def test_occlusion_at_a_layer(net, x, baseline):
    result = af.occlusion(af.layer(net, "block"), x, window=2, stride=2, baseline=baseline, target=1)
    mask = torch.tensor([[0, 0, 1, 1]])
    view = af.layer(net, "block")
    torch.testing.assert_close(result, af.feature_ablation(view, x, feature_mask=mask, baseline=baseline, target=1))


def orders(seed, groups, rows):
    """The permutations: the order of one number drawn for each example, group after group; never the identity."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(groups):
        tries = math.ceil(37 / math.log(math.factorial(rows)))
        drawn_ones = [torch.rand(rows, generator=generator, dtype=torch.float64).argsort() for _ in range(tries)]
        found.append([order for order in drawn_ones if not torch.equal(order, torch.arange(rows))][-1])
    return found


@pytest.mark.parametrize("chunk_size", [None, 1, 3, 7, 1000])
def test_feature_permutation(chunk_size, net, x):
    mask = torch.tensor([[3, 0, 0, 3, 1]])
    options = {"target": 0, "feature_mask": mask, "n_samples": 4, "chunk_size": chunk_size}
    result = af.feature_permutation(net, x, generator=torch.Generator().manual_seed(5), **options)
    expected, drawn_orders = torch.zeros_like(x), orders(5, 12, 3)
    for sample in range(4):
        for number, group in enumerate((0, 1, 3)):
            inside = mask[0] == group
            moved = x.clone()
            moved[:, inside] = x[drawn_orders[3 * sample + number]][:, inside]
            expected[:, inside] += (net(x)[:, 0] - net(moved)[:, 0])[:, None] / 4
    torch.testing.assert_close(result, expected)


def test_feature_permutation_moves_a_group_in_all_tensors_together():
    x = (drawn(11, 6, 2), drawn(12, 6, 2))
    masks = tuple(torch.tensor([[0, 1]]) for _ in x)
    model = lambda a, b: (a * b).sum(1)
    first, second = af.feature_permutation(model, x, feature_mask=masks, generator=torch.Generator().manual_seed(0))
    order = orders(0, 2, 6)
    for group in range(2):
        products = x[0][:, group] * x[1][:, group]
        expected = products - products[order[group]]
        torch.testing.assert_close(first[:, group], expected)
        torch.testing.assert_close(second[:, group], expected)


def test_feature_permutation_at_a_layer(net, x):
    view, roll = af.layer(net, "block"), lambda a, mask: torch.where(mask, a.roll(1, 0), a)
    result = af.feature_permutation(view, x, target=1, perm_func=roll)
    activation = net.before(x)
    for unit in range(4):
        moved = activation.clone()
        moved[:, unit] = activation[:, unit].roll(1)
        expected = net.behind(x, activation)[:, 1] - net.behind(x, moved)[:, 1]
        torch.testing.assert_close(result[:, unit], expected)


@pytest.mark.parametrize("place", ["input", "layer", "neuron"])
def test_one_score_for_the_batch(place, net, x):
    """A loss, evaluated batch by batch; it may depend on all examples."""
    view = {"input": net, "layer": af.layer(net, "block"), "neuron": af.neuron(net, "block", af.batch_score(spread))}
    options = {} if place == "neuron" else {"target": af.batch_score(spread)}
    whole = {"input": lambda z: spread(net(z)), "layer": lambda a: spread(net.behind(x, a))}
    whole["neuron"] = lambda z: spread(net.before(z))
    point = net.before(x) if place == "layer" else x
    result = af.feature_ablation(
        view[place], x, baseline=af.activation_baseline() if place == "layer" else 0, **options
    )
    assert result.shape == (1, *point.shape[1:])
    for number in range(point.shape[1]):
        gone = point.clone()
        gone[:, number] = 0
        torch.testing.assert_close(result[0, number], whole[place](point) - whole[place](gone))


def spread(output):
    return output.std(0).sum()


def test_an_accuracy_by_permutation():
    """A number of Python's, from a model whose features are known to matter or not."""
    x = drawn(13, 200, 3)
    labels = x[:, 0] + x[:, 1] > 0
    accuracy = af.batch_score(lambda output: (output == labels).float().mean().item())
    model = lambda x: x[:, 0] + x[:, 1] > 0
    result = af.feature_permutation(model, x, target=accuracy, generator=torch.Generator().manual_seed(0))
    assert result.shape == (1, 3)
    assert (result[0, :2] > 0.2).all()
    assert result[0, 2] == 0


def test_superpixels_of_each_image_are_ablated():
    images = torch.zeros(2, 3, 16, 16).double()
    images[0, :, :, 8:] = 1
    images[1, :, 8:] = 1
    mask = af.masks.superpixels(images, n_segments=9, sigma=0)
    result = af.feature_ablation(lambda x: x.sum((1, 2, 3)), images, feature_mask=mask)
    for image, groups, attribution in zip(images, mask, result, strict=True):
        torch.testing.assert_close(
            attribution, ablated(torch.sum, image, torch.zeros_like(image), groups.expand(3, 16, 16))
        )
    assert all(len(groups.unique()) > 1 for groups in mask)
