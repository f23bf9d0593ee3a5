"""Numbers of groups, kernels of pairs of inputs, and linear models that are fitted one by one."""

import pytest
import torch

import attrfunc as af


class TestPerGroup:
    def test_by_hand(self):
        x, y = torch.tensor([[5.0, 5.0, 7.0], [1.0, 1.0, 2.0]]), torch.tensor([[[7.0, 9.0]], [[2.0, 4.0]]])
        masks = (torch.tensor([[1, 1, 4]]), torch.tensor([[[4, 0]]]))
        expected = torch.tensor([[9.0, 5, 0, 0, 7], [4, 1, 0, 0, 2]])
        assert torch.equal(af.masks.per_group((x, y), masks), expected)
        assert torch.equal(af.masks.per_group((x, y)), torch.cat([x, y.flatten(1)], 1))
        numbered = af.masks.number_groups(masks)
        assert torch.equal(af.masks.per_group((x, y), numbered), expected[:, [0, 1, 4]])
        assert af.masks.per_group(x[:0], masks[0]).shape == (0, 5)

    @pytest.mark.parametrize(
        ("mask", "got"), [(torch.zeros(1, 4).long(), "shape"), (torch.rand(1, 3), "integers"), ((1, 2), "integers")]
    )
    def test_a_mask_that_does_not_fit(self, mask, got):
        with pytest.raises(af.ArgumentError, match=rf"per_group: argument `feature_mask`.*{got}"):
            af.masks.per_group(torch.ones(2, 3), mask)


def test_a_kernel_of_pairs_and_a_fit_of_ones_own():
    """By the normal equations, written out for each example; zeros where there is no example."""
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = lambda x: x.prod(1) + x[:, 0].sin()
    kernel = af.surrogates.pairwise(lambda x, moved, present: torch.exp(-(x - moved).abs().sum(1)))

    def fit(features, scores, weights):
        z = torch.cat([features.double(), torch.ones(len(features), 1)], 1)
        root = weights.sqrt()
        return torch.linalg.lstsq(root[:, None] * z, root * scores).solution[:-1]

    options = {"n_samples": 16, "similarity": kernel}
    found = af.lime(model, x, linear_model=af.surrogates.one_by_one(fit), **options)
    torch.testing.assert_close(found, af.lime(model, x, linear_model=af.surrogates.least_squares(), **options))
    coalitions = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 4)
    for row in range(3):
        weights = torch.exp(-(x[row] - coalitions * x[row]).abs().sum(1))
        torch.testing.assert_close(found[row], fit(coalitions, model(coalitions * x[row]), weights))
    assert af.surrogates.one_by_one(fit)(coalitions, torch.zeros(16, 0), torch.ones(16, 1)).shape == (0, 4)


def test_fractions_replace_the_integers_of_a_data_set():
    data = [(torch.tensor([[1, 2], [3, 4]]),), (torch.tensor([[5, 6]]),)]
    (found,) = af.dataset_ablation(lambda x: x.float().sum(1), data, baseline=0.5, to_metric=torch.sum)
    assert found.tolist() == [9 - 1.5, 12 - 1.5]
