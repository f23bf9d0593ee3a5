"""Feature ablation over a data set, beside Captum's."""

import captum.attr as captum_attr
import pytest
import torch
from captum.attr._core.dataloader_attr import InputRole as CaptumRole
from captum_peer import kinds
from torch.utils.data import DataLoader, TensorDataset

import attrfunc.captum.attr as shim_attr
from attrfunc import ArgumentError

MODULES = [shim_attr, captum_attr]
NEED, FORWARD, IGNORE = shim_attr.InputRole.need_attr, shim_attr.InputRole.need_forward, shim_attr.InputRole.no_forward


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


X, IMAGES, SCALE, LABELS = drawn(11, 4), drawn(11, 2, 3, seed=1), drawn(11, 1, seed=2), torch.arange(11) % 2
WEIGHT = drawn(4, 2, seed=3)


def one(x):
    return x.sin() @ WEIGHT


def several(x, images, scale):
    return (x.sin() @ WEIGHT + images.prod(2)) * scale


def moments(state, output, batch):
    """Sums of two classes and a count, a state of its own."""
    sums = output.square().sum(0)
    return (sums, len(output)) if state is None else (state[0] + sums, state[1] + len(output))


def hits(state, output, batch):
    right = (output.argmax(1) == batch[-1]).float().sum()
    return right if state is None else state + right


LOADERS = {
    "one": (one, lambda: DataLoader(TensorDataset(X), batch_size=4), {}),
    "roles": (
        several,
        lambda: DataLoader(TensorDataset(X, IMAGES, SCALE, LABELS), batch_size=3),
        {"input_roles": (NEED, NEED, FORWARD, IGNORE)},
    ),
}
METRICS = {
    "outputs": {},
    "metric": {"to_metric": lambda outputs: outputs.exp().mean(0)},
    "one number": {"to_metric": lambda outputs: outputs.exp().mean()},
    "states": {"reduce": moments, "to_metric": lambda state: state[0] / state[1]},
}


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("at_once", "shape"), [(1, True), (3, False), (100, True)])
def test_agreement(loader, metric, at_once, shape):
    model, make, roles = LOADERS[loader]
    forms = [{}]
    if loader == "roles":
        masks = (torch.tensor([[0, 1, 1, 2]]), torch.tensor([[[3, 3, 0], [2, 4, 4]]]))
        forms += [{"feature_mask": masks, "baselines": (drawn(1, 4, seed=5), 2.0)}, {"baselines": (0.5, 0)}]
    else:
        forms += [{"feature_mask": torch.tensor([[0, 2, 2, 1]]), "baselines": drawn(1, 4, seed=5)}, {"baselines": 0.5}]
    for form in forms:
        results = []
        for module in MODULES:
            explainer = module.DataLoaderAttribution(module.FeatureAblation(model))
            options = {"perturbations_per_pass": at_once, "return_input_shape": shape}
            results.append(explainer.attribute(make(), **roles, **METRICS[metric], **form, **options))
        assert kinds(results[0]) == kinds(results[1])
        for ours, theirs in zip(*(r if isinstance(r, tuple) else (r,) for r in results), strict=True):
            torch.testing.assert_close(ours, theirs)
            assert ours.any()


def test_labels_and_gaps():
    """Captum's metric of integers is one of integers; a gap is worth nothing."""
    data = [[X[:6], LABELS[:6]], [X[6:], LABELS[6:]]]
    options = {"input_roles": (NEED, IGNORE), "reduce": hits, "feature_mask": torch.tensor([[0, 0, 1, 4]])}
    for shape in (True, False):
        results = []
        for module in MODULES:
            explainer = module.DataLoaderAttribution(module.FeatureAblation(one))
            results.append(explainer.attribute(data, return_input_shape=shape, **options))
        (ours,), (theirs,) = results if shape else [(r,) for r in results]
        torch.testing.assert_close(ours, theirs)
    assert ours.shape == (1, 5)


def test_kinds_of_batches():
    explainer = shim_attr.DataLoaderAttribution(shim_attr.FeatureAblation(one))
    (expected,) = explainer.attribute([[X[:3]], [X[3:]]])
    (found,) = explainer.attribute([(X[:3],), (X[3:],)])
    assert torch.equal(found, expected)
    assert torch.equal(explainer.attribute(DataLoader(X, batch_size=4)), expected)


def test_roles_are_captums():
    for name in ("need_attr", "need_forward", "no_forward"):
        assert getattr(shim_attr.InputRole, name) == getattr(CaptumRole, name)


def test_what_cannot_be_right():
    with pytest.raises(ArgumentError, match="DataLoaderAttribution: argument `attr_method`"):
        shim_attr.DataLoaderAttribution(shim_attr.Saliency(one))
    explainer = shim_attr.DataLoaderAttribution(shim_attr.FeatureAblation(one))
    with pytest.raises(ArgumentError, match=r"DataLoaderAttribution.attribute: argument `input_roles`"):
        explainer.attribute([X], input_roles=(7,))
    with pytest.raises(ArgumentError, match=r"attribute: argument `dataloader`: got a DataLoader"):
        explainer.attribute(DataLoader(X, batch_size=4, shuffle=True))
    with pytest.raises(NotImplementedError, match="DataLoaderAttribution"):
        explainer.attribute_future()
