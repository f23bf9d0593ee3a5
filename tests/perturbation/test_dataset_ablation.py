"""Feature ablation over a data set: the definition literally, passes, gradients, and what cannot be right."""

import pytest
import torch
from torch import nn
from torch.func import grad
from torch.utils.data import DataLoader

import attrfunc as af
from attrfunc import ArgumentError
from oracle_net import drawn, make

X, LABELS = drawn(1, 11, 5), torch.arange(11) % 3
DATA = [(X[:4], LABELS[:4]), (X[4:], LABELS[4:])]
ROLES = ("attribute", "ignore")


@pytest.fixture
def net():
    return make()


def loss(state, output, batch):
    part = nn.functional.cross_entropy(output, batch[1], reduction="sum")
    return part if state is None else state + part


def test_the_definition(net):
    mask, baseline = torch.tensor([[0, 3, 3, 1, 0]]), drawn(2, 5)
    (found,) = af.dataset_ablation(net, DATA, input_roles=ROLES, feature_mask=mask, baseline=baseline, reduce=loss)
    metric = lambda x: nn.functional.cross_entropy(net(x), LABELS, reduction="sum")
    for group in (0, 1, 3):
        without = torch.where(mask == group, baseline, X)
        expected = metric(X) - metric(without)
        for place in (mask[0] == group).nonzero():
            torch.testing.assert_close(found[place[0]], expected)
    assert found.shape == (5,)


def test_one_batch_is_feature_ablation(net):
    for target in range(3):
        expected = af.feature_ablation(net, X, target=target, baseline=0.3)
        found = af.dataset_ablation(net, [X], baseline=0.3, to_metric=lambda y, c=target: y[:, c])
        for row in range(11):
            torch.testing.assert_close(found[row], expected[row])


def test_passes(net):
    seen = []

    class Data:
        def __iter__(self):
            seen.append("pass")
            return iter(DATA)

    options = {"input_roles": ROLES, "reduce": loss}
    (once,) = af.dataset_ablation(net, Data(), **options)
    assert len(seen) == 1
    for at_once, passes in [(1, 6), (2, 3), (4, 2), (6, 1), (9, 1)]:
        seen.clear()
        (found,) = af.dataset_ablation(net, Data(), perturbations_per_pass=at_once, **options)
        assert len(seen) == passes
        torch.testing.assert_close(found, once)
    (generated,) = af.dataset_ablation(net, (batch for batch in DATA), **options)
    torch.testing.assert_close(generated, once)
    done = []
    af.dataset_ablation(net, DATA, perturbations_per_pass=4, progress=lambda *args: done.append(args), **options)
    assert done == [(4, 6), (6, 6)]


def test_shuffled_data_in_one_pass(net):
    torch.manual_seed(0)
    loader = DataLoader(X, batch_size=4, shuffle=True)
    found = af.dataset_ablation(net, loader, to_metric=lambda y: y.mean(0))
    torch.testing.assert_close(found, af.dataset_ablation(net, [X], to_metric=lambda y: y.mean(0)))
    found = af.dataset_ablation(net, loader, to_metric=lambda y: y.mean(0), perturbations_per_pass=2)
    torch.testing.assert_close(found, af.dataset_ablation(net, [X], to_metric=lambda y: y.mean(0)))


def test_integers_and_further_arguments():
    table = drawn(0, 10, 3)
    ids = torch.tensor([[3, 5], [7, 2], [9, 0]])
    scale = torch.tensor([1.0, 2.0, 3.0]).double()
    model = lambda ids, scale, word: table[ids].sum((1, 2)) * scale + len(word)
    (found,) = af.dataset_ablation(
        model, [(ids, scale, "abc")], input_roles=("attribute", "forward", "forward"), to_metric=torch.sum
    )
    expected = ((table[ids].sum(2) - table[0].sum()) * scale[:, None]).sum(0)
    torch.testing.assert_close(found, expected)
    count = af.dataset_ablation(lambda x: (x > 0).sum(1), [ids], to_metric=torch.sum)
    assert count.tolist() == [3, 2]


def test_gradients(net):
    parameters = {name: p.detach() for name, p in net.named_parameters()}

    def worth(bias):
        bound = af.bind(net, {**parameters, "block.bias": bias})
        (found,) = af.dataset_ablation(bound, DATA, input_roles=ROLES, reduce=loss)
        return found.square().sum()

    bias, step = parameters["block.bias"], 1e-6
    numeric = [(worth(bias + step * one) - worth(bias - step * one)) / (2 * step) for one in torch.eye(4).double()]
    torch.testing.assert_close(grad(worth)(bias), torch.stack(numeric), rtol=1e-5, atol=1e-7)
    (plain,) = af.dataset_ablation(net, DATA, input_roles=ROLES, reduce=loss)
    assert not plain.requires_grad


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ([], {}, "`batches`: got no batch"),
        (DATA, {"input_roles": ("attribute",)}, "`input_roles`"),
        (DATA, {"input_roles": ("ignore", "forward")}, "`input_roles`"),
        (DATA, {"input_roles": ("attribute", "label")}, "`input_roles`"),
        ([X], {"feature_mask": torch.zeros(11, 5, dtype=torch.long)}, "`feature_mask`"),
        ([X], {"feature_mask": torch.zeros(1, 5)}, "`feature_mask`"),
        ([X], {"baseline": X}, "`baseline`.*one baseline for all examples"),
        ([X], {"baseline": (0, 0)}, "`baseline`"),
        ([X], {"perturbations_per_pass": 0}, "`perturbations_per_pass`"),
        ((batch for batch in [X]), {"perturbations_per_pass": 2}, "`batches`: got an iterator"),
        (DataLoader(X, shuffle=True), {"perturbations_per_pass": 2}, "`batches`: got a DataLoader that shuffles"),
        ([(X,), (X, X)], {}, r"`batches`: got a batch that is tuple \(tensor.*; expected 1 elements"),
        ([X], {"reduce": lambda state, output, batch: "one"}, "`to_metric`"),
        (["text"], {}, "`x`"),
    ],
)
def test_what_cannot_be_right(net, data, options, message):
    with pytest.raises(ArgumentError, match=f"dataset_ablation: .*{message}"):
        af.dataset_ablation(net, data, **options)


def test_views_are_refused(net):
    for view in (af.layer(net, "block"), af.neuron(net, "block", 0)):
        with pytest.raises(ArgumentError, match="dataset_ablation: argument `model`"):
            af.dataset_ablation(view, [X])


def test_batches_that_are_dicts(net):
    """As those of a tokenizer: keyword arguments of the model, some of which are attributed, and labels."""
    model = lambda scale, inputs: net(inputs)[:, 1] * scale
    rows = [(X[:6], torch.ones(6).double()), (X[6:], torch.full((5,), 2.0).double())]
    named = [{"inputs": x, "labels": torch.zeros(len(x)), "scale": scale} for x, scale in rows]
    named[1] = dict(reversed(named[1].items()))
    seen = []

    def total(state, output, batch):
        seen.append(sorted(batch))
        return (0 if state is None else state) + output.sum()

    roles = {"inputs": "attribute", "scale": "forward", "labels": "ignore"}
    options = {
        "reduce": total,
        "baseline": {"inputs": 0.5},
        "feature_mask": {"inputs": torch.tensor([[0, 0, 1, 1, 2]])},
    }
    found = af.dataset_ablation(model, named, input_roles=roles, **options)
    assert list(found) == ["inputs"]
    assert {tuple(keys) for keys in seen} == {("inputs", "labels", "scale")}
    whole = sum(model(scale, x).sum() for x, scale in rows)
    for group, columns in enumerate(([0, 1], [2, 3], [4])):
        gone = X.clone()
        gone[:, columns] = 0.5
        loss = whole - sum(model(s, x).sum() for x, s in ((gone[:6], rows[0][1]), (gone[6:], rows[1][1])))
        torch.testing.assert_close(found["inputs"][columns], loss.expand(len(columns)), msg=str(group))


@pytest.mark.parametrize(
    ("batch", "roles", "message"),
    [
        ({"x": X, "y": X}, ("attribute", "ignore"), "`input_roles`.*'x', 'y', in a dict"),
        ({"x": X, "y": X}, {"x": "attribute"}, "`input_roles`"),
        ({"x": X}, {"x": "attribute"}, "`batches`.*a dict of 'x'"),
    ],
)
def test_dicts_that_do_not_fit(batch, roles, message):
    with pytest.raises(ArgumentError, match=message):
        af.dataset_ablation(lambda x, **others: x.sum(1), [batch, {"z": X}], input_roles=roles)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_metrics_that_are_not_finite(value):
    options = {"reduce": lambda state, output, batch: output.sum(), "to_metric": lambda state: state * value}
    with pytest.raises(af.ModelError, match=r"dataset_ablation: the metric is not finite"):
        af.dataset_ablation(lambda x: x, [X], **options)


def test_metrics_that_are_numbers_keep_their_precision():
    """A difference in the tenth digit, of a metric that is a number of Python's; and counts."""
    x = torch.tensor([[1e-10, 1.0]]).double()
    found = af.dataset_ablation(lambda x: x, [x], to_metric=lambda outputs: outputs.sum().item())
    torch.testing.assert_close(found, x[0], rtol=1e-5, atol=0)
    count = 2**25 + 1
    found = af.dataset_ablation(lambda x: x, [torch.ones(1, 1)], to_metric=lambda outputs: count + int(outputs.sum()))
    assert found.item() == 1


def test_a_model_in_training_mode_is_warned_of():
    model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Linear(5, 1)).double()
    with pytest.warns(UserWarning, match=r"dataset_ablation: the model is in training mode \(Dropout\)"):
        af.dataset_ablation(model, [X])
