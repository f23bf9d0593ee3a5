"""The classes that replace features give Captum's numbers, and Captum's nesting."""

import captum.attr as captum_attr
import pytest
import torch
from captum_peer import agree, both, captum_warnings, kinds
from torch import nn
from torch.futures import Future
from torch.utils import _pytree as pytree

import attrfunc as af
import attrfunc.captum.attr as shim_attr
from zoo import CASES

TUPLES = [case for case in CASES if not isinstance(case.inputs, dict)]
OUTPUTS = [pytest.param(case, name, False, id=f"{case}-{name}") for case in CASES for name in case.layers]
ENTRIES = [pytest.param(case, name, True, id=f"{case}-{name}-input") for case in CASES for name in case.entries]


def shared(leaf):
    """Three groups with gaps between their numbers, alike in all examples and tensors."""
    return (torch.arange(leaf[:1].numel()) % 3 * 5 + 1).view(1, *leaf.shape[1:])


def own(leaf):
    """Four groups of each example's own."""
    return torch.randint(0, 4, leaf.shape, generator=torch.Generator().manual_seed(1))


def baselines(case):
    """Another example; integers, too."""
    return pytree.tree_map(lambda leaf: leaf.flip(0), case.inputs)


def everything(module, name, model, *arguments, init=(), **options):
    with captum_warnings():
        return getattr(module, name)(model, *init).attribute(*arguments, **options)


def same(name, model, *arguments, init=(), **options):
    """Check a class against Captum's on the same model."""
    ours = everything(shim_attr, name, model, *arguments, init=init, **options)
    theirs = everything(captum_attr, name, model, *arguments, init=init, **options)
    assert kinds(ours) == kinds(theirs)
    agree(ours, theirs)
    return ours


@pytest.mark.parametrize("mask", [shared, own])
@pytest.mark.parametrize("case", TUPLES, ids=str)
def test_groups_of_every_model(case, mask):
    groups = pytree.tree_map(mask, case.inputs)
    options = {"feature_mask": groups, "baselines": baselines(case), "perturbations_per_eval": 2}
    ours, theirs = both("FeatureAblation", case, target=case.target, **options)
    assert kinds(ours) == kinds(theirs)
    agree(ours, theirs)


@pytest.mark.parametrize(
    "case", [case for case in CASES if str(case) in ("mlp", "lstm", "bert", "dict_input")], ids=str
)
def test_every_element(case):
    agree(*both("FeatureAblation", case, target=case.target))


@pytest.mark.parametrize(("case", "layer", "of_input"), OUTPUTS + ENTRIES)
def test_layers(case, layer, of_input):
    view = af.layer(case.make(), layer, side="input" if of_input else "output")
    activation = af.activation(view, case.inputs, args=case.args, kwargs=case.kwargs)
    leaves = [leaf for leaf in pytree.tree_leaves(activation) if isinstance(leaf, torch.Tensor)]
    masks = tuple(shared(leaf) for leaf in leaves)
    options = {"layer_mask": masks, "attribute_to_layer_input": of_input, "layer_baselines": tuple(0.3 for _ in leaves)}
    ours, theirs = both("LayerFeatureAblation", case, layer, target=case.target, **options)
    assert kinds(ours) == kinds(theirs)
    agree(ours, theirs)


@pytest.mark.parametrize("case", [case for case in CASES if case.neuron], ids=str)
def test_neurons(case):
    layer, selector = case.neuron
    mask = None if isinstance(case.inputs, dict) else pytree.tree_map(shared, case.inputs)
    agree(*both("NeuronFeatureAblation", case, layer, neuron_selector=selector, feature_mask=mask))


@pytest.fixture
def image():
    return torch.randn(3, 2, 7, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(80, 3)).eval()


class TestOcclusion:
    @pytest.mark.parametrize(
        ("window", "stride"), [((2, 3, 2), None), ((1, 3, 3), (1, 2, 3)), ((2, 4, 4), 3), (((2, 7, 6),), ((1, 9, 9),))]
    )
    @pytest.mark.parametrize("at_once", [1, 4])
    def test_images(self, net, image, window, stride, at_once):
        options = {"baselines": 0.2, "target": 1, "perturbations_per_eval": at_once}
        same("Occlusion", net, image, sliding_window_shapes=window, strides=stride, **options)

    def test_two_inputs(self, net, image):
        model = lambda a, b: net(a)[:, 0] * b.tanh().sum((1, 2)) + b[:, 0, 0]
        inputs = (image, image[:, 0])
        windows, strides = ((1, 3, 4), (2, 5)), ((1, 2, 2), 1)
        same("Occlusion", model, inputs, sliding_window_shapes=windows, strides=strides)

    def test_three_inputs_where_captum_mixes_their_windows(self):
        model = lambda a, b, c: (a.sum(1) + 2 * b.sum(1) + 3 * c.sum(1)).sin()
        x = tuple(torch.randn(2, 3, generator=torch.Generator().manual_seed(n)) for n in range(3))
        ours = shim_attr.Occlusion(model).attribute(x, sliding_window_shapes=((1,),) * 3)
        for number in range(3):
            for place in range(3):
                moved = [leaf.clone() for leaf in x]
                moved[number][:, place] = 0
                torch.testing.assert_close(ours[number][:, place], model(*x) - model(*moved))

    def test_it_has_no_future(self, net):
        with pytest.raises(NotImplementedError, match=r"Occlusion"):
            shim_attr.Occlusion(net).attribute_future()


class TestPermutation:
    def test_a_permutation_of_the_users(self, net, image):
        roll = lambda x, mask: torch.where(mask, x.roll(1, 0), x)
        for mask in (None, shared(image)):
            same("FeaturePermutation", net, image, target=2, feature_mask=mask, init=(roll,))

    def test_two_examples_have_one_permutation(self, net, image):
        same("FeaturePermutation", net, image[:2], target=2, feature_mask=shared(image))
        # At a layer Captum selects the target twice.
        model, mask = lambda x: net(x)[:, 2], shared(net[0](image))
        same("LayerFeaturePermutation", model, image[:2], layer_mask=mask, init=(net[0],))

    def test_the_class_draws_from_torch(self, net, image):
        results = []
        for _ in range(2):
            torch.manual_seed(0)
            results.append(shim_attr.FeaturePermutation(net).attribute(image, target=0, feature_mask=shared(image)))
        assert torch.equal(*results)


@pytest.mark.parametrize(
    "model",
    [
        lambda x: x.square().sum(),
        lambda x: x.square().sum().reshape(1),
        lambda x: float(x.square().sum()),
    ],
)
class TestOneNumberForTheBatch:
    def test_ablation(self, model, image):
        ours = shim_attr.FeatureAblation(model).attribute(image, feature_mask=shared(image))
        theirs = captum_attr.FeatureAblation(model).attribute(image, feature_mask=shared(image))
        assert ours.shape == (1, 2, 7, 6)
        torch.testing.assert_close(ours, theirs)

    def test_occlusion(self, model, image):
        ours = shim_attr.Occlusion(model).attribute(image, sliding_window_shapes=(2, 3, 3))
        theirs = captum_attr.Occlusion(model).attribute(image, sliding_window_shapes=(2, 3, 3))
        assert ours.shape == (1, 2, 7, 6)
        torch.testing.assert_close(ours, theirs.float())

    def test_masks_of_each_example_are_refused(self, model, image):
        with pytest.raises(af.ArgumentError, match=r"`feature_mask`.*alike in all examples"):
            shim_attr.FeatureAblation(model).attribute(image, feature_mask=own(image))


def test_one_number_for_the_batch_at_a_layer(net, image):
    loss = lambda x: net(x).square().mean()
    mask = shared(net[0](image))
    same("LayerFeatureAblation", loss, image, layer_mask=mask, init=(net[0],))
    same("LayerFeaturePermutation", loss, image[:2], layer_mask=mask, init=(net[0],))


class TestFutures:
    def later(self, net):
        def model(x):
            future = Future()
            future.set_result(net(x))
            return future

        return model

    @pytest.mark.parametrize("name", ["FeatureAblation", "FeaturePermutation"])
    def test_the_same_numbers(self, name, net, image):
        image, mask = image[:2], shared(image)
        expected = getattr(shim_attr, name)(net).attribute(image, target=1, feature_mask=mask)
        future = getattr(shim_attr, name)(self.later(net)).attribute_future(image, target=1, feature_mask=mask)
        agree(future.wait(), expected)

    def test_a_layer(self, net, image):
        image, mask = image[:2], shared(net[0](image))
        expected = shim_attr.LayerFeaturePermutation(net, net[0]).attribute(image, target=1, layer_mask=mask)
        explainer = shim_attr.LayerFeaturePermutation(self.later(net), net[0])
        agree(explainer.attribute_future(image, target=1, feature_mask=mask).wait(), expected)

    def test_a_model_that_returns_none_is_named(self, net, image):
        future = shim_attr.FeatureAblation(net).attribute_future(image, target=1)
        with pytest.raises(af.ArgumentError, match=r"`forward_func`.*Future"):
            future.wait()


def test_a_bar_is_shown(net, image, capsys):
    shim_attr.FeatureAblation(net).attribute(image, target=1, feature_mask=shared(image), show_progress=True)
    assert "/4" in capsys.readouterr().err


def test_errors_name_captums_arguments(net, image):
    with pytest.raises(af.ArgumentError, match=r"Occlusion.attribute: argument `sliding_window_shapes`"):
        shim_attr.Occlusion(net).attribute(image, sliding_window_shapes=(2, 9, 9), target=1)
    with pytest.raises(af.ArgumentError, match=r"FeatureAblation.attribute: argument `perturbations_per_eval`"):
        shim_attr.FeatureAblation(net).attribute(image, target=1, perturbations_per_eval=0)
    with pytest.raises(af.ArgumentError, match=r"LayerFeatureAblation.attribute: argument `layer_mask`"):
        shim_attr.LayerFeatureAblation(net, net[0]).attribute(image, target=1, layer_mask=torch.zeros(1, 9).long())
    with pytest.raises(af.ArgumentError, match=r"LayerFeatureAblation.attribute: argument `layer`"):
        shim_attr.LayerFeatureAblation(net, [net[0], net[1]]).attribute(image, target=1)
