"""Agreement with shap and shapiq on exact games."""

import warnings

import numpy as np
import pytest
import torch
from tables import DOUBLE, Table, drawn_table

import attrfunc as af

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import shap
    import shapiq


@pytest.fixture
def game():
    return Table(drawn_table(6, 0))


def as_numpy(game):
    return lambda rows: game(torch.as_tensor(np.atleast_2d(rows), dtype=DOUBLE))[:, 0].numpy()


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("index", ["k-SII", "SII", "STII", "FSII", "BII"])
def test_interactions_are_those_of_shapiq(index, order, game):
    theirs = shapiq.ExactComputer(as_numpy(game), 6)(index=index, order=order)
    found = af.shapley_interactions(game, game.ones(), index=index, order=order)
    for size, tensor in enumerate(found, 1):
        expected = theirs.get_n_order_values(size)
        np.testing.assert_allclose(tensor[0].numpy(), expected, atol=1e-9)


@pytest.mark.parametrize(("index", "method"), [("SV", af.shapley_values), ("BV", af.banzhaf_values)])
def test_values_are_those_of_shapiq(index, method, game):
    theirs = shapiq.ExactComputer(as_numpy(game), 6)(index=index, order=1)
    np.testing.assert_allclose(method(game, game.ones())[0].numpy(), theirs.get_n_order_values(1), atol=1e-9)


def test_exact_values_are_those_of_shap(game):
    background = np.random.default_rng(0).integers(0, 2, (3, 6)).astype(float)
    x = game.ones()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = shap.explainers.ExactExplainer(as_numpy(game), shap.maskers.Independent(background))(x.numpy()).values
    for n_samples in (None, 64):
        method = af.shapley_values if n_samples is None else af.kernel_shap
        options = {} if n_samples is None else {"n_samples": n_samples}
        found = method(game, x, baselines=torch.tensor(background), **options)
        np.testing.assert_allclose(found.numpy(), theirs, atol=1e-9)


def test_owen_values_are_those_of_shap(game):
    """A binary tree of features, as shap's partitions are."""
    linkage = np.array([[0, 1, 1, 2], [2, 3, 1, 2], [6, 7, 2, 4], [4, 5, 3, 2], [8, 9, 4, 6]], dtype=float)
    masker = shap.maskers.Partition(np.zeros((1, 6)), clustering=linkage)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explainer = shap.explainers.PartitionExplainer(as_numpy(game), masker)
        theirs = explainer(game.ones().numpy(), max_evals=1000).values
    found = af.owen_values(game, game.ones(), nesting=[[[0, 1], [2, 3]], [4, 5]])
    np.testing.assert_allclose(found.numpy(), theirs, atol=1e-6)
