"""Scripts that catch what Captum raises, and calls that its scripts make and ours once did not take."""

import inspect

import pytest
import torch
from torch import nn

import attrfunc as af
import attrfunc.captum.attr as shim_attr


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


class TestErrorsOfBothKinds:
    """What cannot be right is a ValueError of attrfunc's, and an AssertionError as Captum's asserts are."""

    @pytest.mark.parametrize("name", ["IntegratedGradients", "DeepLift", "FeatureAblation", "LRP", "NoiseTunnel"])
    @pytest.mark.parametrize("kind", [AssertionError, ValueError, af.ArgumentError])
    def test_a_target_out_of_range(self, name, kind, model):
        made = shim_attr.Saliency(model) if name == "NoiseTunnel" else model
        with pytest.raises(kind, match=r".attribute: argument `target`: got"):
            getattr(shim_attr, name)(made).attribute(torch.ones(2, 3), target=(9, 9))

    def test_a_neuron_out_of_range(self, model):
        with pytest.raises(AssertionError, match=r"NeuronGradient.attribute: argument `neuron_selector`"):
            shim_attr.NeuronGradient(model, model[0]).attribute(torch.ones(2, 3), neuron_selector=(9, 9))

    def test_embeddings_that_stand_already(self):
        model = nn.Sequential(nn.Embedding(5, 2), nn.Linear(2, 1))
        with pytest.warns(UserWarning, match="takes embeddings"):
            standing = shim_attr.configure_interpretable_embedding_layer(model, "0")
        with pytest.raises(AssertionError, match="Call remove_interpretable_embedding_layer first"):
            shim_attr.configure_interpretable_embedding_layer(model, "0")
        shim_attr.remove_interpretable_embedding_layer(model, standing)

    @pytest.mark.parametrize("kind", [TypeError, AssertionError, af.ArgumentError])
    def test_a_rule_that_is_none(self, kind, model):
        model[0].rule = "epsilon"
        with pytest.raises(kind, match=r"argument `0.rule`: got str 'epsilon'; expected a PropagationRule"):
            shim_attr.LRP(model)

    def test_what_the_model_raises_stays_what_it_is(self):
        def broken(x):
            raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            shim_attr.Saliency(broken).attribute(torch.ones(2, 3))


def test_what_is_wrapped_has_the_arguments():
    for name in ("IntegratedGradients", "DeepLiftShap", "GradientShap", "Occlusion"):
        wrapped = getattr(shim_attr, name).attribute.__wrapped__
        assert inspect.getfullargspec(wrapped).args[:2] == ["self", "inputs"]
        assert {"target", "additional_forward_args"} <= set(inspect.getfullargspec(wrapped).args)


@pytest.mark.parametrize("shape", [(1,), (4,), (4, 3), (4, 2, 2)])
@pytest.mark.parametrize("kind", ["IntegratedGradients", "DeepLift"])
def test_deltas_of_inputs_of_any_rank(shape, kind):
    x = torch.arange(1, 1 + torch.Size(shape).numel(), dtype=torch.float64).reshape(shape)
    square = nn.Module()
    square.forward = lambda x: (x * x).reshape(len(x), -1).sum(1)
    attributions, delta = getattr(shim_attr, kind)(square).attribute(x, return_convergence_delta=True)
    torch.testing.assert_close(attributions, x * x)
    assert delta.shape == shape[:1]
    torch.testing.assert_close(delta, torch.zeros_like(delta), atol=1e-10, rtol=0)


def test_a_tensor_among_further_arguments():
    x, weights = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), torch.tensor([[1.0, 2.0, 1.0], [2.0, 1.0, 2.0]])
    explainer = shim_attr.FeatureAblation(lambda x, weights, power: (x * weights).sum(1) ** power)
    torch.testing.assert_close(explainer.attribute(x, additional_forward_args=(weights, 1)), x * weights)


class TestPermutationsOfOddBatches:
    def test_lists_of_features_that_are_longer_than_the_batch(self):
        """All orders of the list but its own, so the mean of what stands first is that of the others."""
        x, codes = torch.tensor([[1.0, -2.0], [2.0, -1.0]]), torch.tensor([1, 7, 2, 4, 5, 3, 6])
        explainer = shim_attr.FeaturePermutation(lambda x, codes: x.sum() + 2 * codes[0])
        torch.manual_seed(0)
        draws = [explainer.attribute((x, codes)) for _ in range(100)]
        assert all(bool((of_x == 0).all()) and of_x.shape == (1, 2) for of_x, _ in draws)
        of_codes = torch.stack([part for _, part in draws])
        assert of_codes.shape == (100, 1)
        assert set((of_codes / 2).flatten().tolist()) == {1.0 - first for first in (1, 2, 3, 4, 5, 6, 7)}
        assert abs(float(of_codes.mean()) - 2 * (1 - 4.0)) < 1.2  # 3 of its standard errors

    def test_no_features(self):
        explainer = shim_attr.FeaturePermutation(lambda x, codes: x.sum())
        of_x, of_codes = explainer.attribute((torch.ones(2, 3), torch.tensor([])))
        assert of_x.tolist() == [[0.0, 0.0, 0.0]]
        assert of_codes.tolist() == [0.0]

    def test_one_example_has_nothing_to_be_permuted_with(self):
        explainer = shim_attr.FeaturePermutation(lambda x: x.sum(1))
        assert explainer.attribute(torch.tensor([[1.0, 2.0]])).tolist() == [[0.0, 0.0]]

    def test_a_way_to_permute_of_ones_own(self):
        x, codes = torch.tensor([[1.0], [2.0]]), torch.tensor([5, 7, 9])
        seen = []

        def back_to_front(leaf, mask):
            seen.append((tuple(leaf.shape), tuple(mask.shape)))
            return torch.where(mask, leaf.flip(0), leaf)

        explainer = shim_attr.FeaturePermutation(lambda x, codes: (x[0] * codes[0]).sum(), back_to_front)
        of_x, of_codes = explainer.attribute((x, codes))
        assert of_x.tolist() == [[5.0 - 10.0]]
        assert of_codes.tolist() == [5.0 - 9.0]
        assert {shape for shape, _ in seen} == {(2, 1), (3,)}

    def test_no_examples(self):
        with pytest.raises(AssertionError, match="got 0 example"):
            shim_attr.FeaturePermutation(nn.Linear(3, 2)).attribute(torch.zeros(0, 3), target=1)
