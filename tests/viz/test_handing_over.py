"""What is handed over arrives: shap's and shapiq's own plots and sums take it."""

import warnings

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

import attrfunc as af

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import shap
    import shapiq

of_the_peers = pytest.mark.filterwarnings("ignore")  # warnings of what they draw and compute by themselves
NAMES = ["age", "dose", "sex"]


@pytest.fixture
def table():
    x = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    return x * torch.tensor([3.0, -2.0, 1.0]), x


@pytest.fixture
def game():
    model = lambda x: x[:, 0] * x[:, 1] + 2 * x[:, 2] - x[:, 0] * x[:, 3]
    x = torch.tensor([[1.0, 2.0, 0.5, -1.0]], dtype=torch.float64)
    return model, x


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


class TestShap:
    def test_an_explanation_holds_what_was_given(self, table):
        values, data = table
        found = af.viz.explanation(values.bfloat16().requires_grad_(), base=0.5, data=data, names=NAMES)
        assert isinstance(found, shap.Explanation)
        np.testing.assert_array_equal(found.values, values.bfloat16().double().numpy())
        np.testing.assert_array_equal(found.data, data.double().numpy())
        assert found.base_values.tolist() == [0.5] * 12
        assert list(found.feature_names) == NAMES
        assert found[:, "dose"].shape == (12,)
        assert af.viz.explanation(values, base=torch.arange(12)).base_values.tolist() == list(range(12))
        assert af.viz.explanation(values[0], base=2).base_values == 2.0

    @of_the_peers
    def test_shaps_plots_take_it(self, table):
        found = af.viz.explanation(table[0], base=0.5, data=table[1], names=NAMES)
        for draw in (shap.plots.beeswarm, shap.plots.bar, shap.plots.violin, shap.plots.heatmap):
            plt.figure()
            draw(found, show=False)
            assert plt.gcf().axes
        shap.plots.waterfall(found[0], show=False)
        shap.plots.scatter(found[:, "age"], show=False)

    @of_the_peers
    def test_images_of_shap(self):
        photo = torch.rand(2, 6, 6, 3)
        shap.image_plot(af.viz.explanation(torch.randn(2, 6, 6, 3), data=photo), show=False)

    def test_beeswarm_places_points_at_the_values(self, table):
        axes = af.viz.beeswarm(*table, names=NAMES).axes[0]
        order = table[0].abs().mean(0).argsort().tolist()
        assert [label.get_text() for label in axes.get_yticklabels()] == [NAMES[one] for one in order]
        points = [np.sort(np.concatenate([p.get_offsets()[:, 0] for p in axes.collections[i::3]])) for i in range(3)]
        found = {tuple(np.round(one, 4)) for one in points}
        assert found == {tuple(np.round(np.sort(one), 4)) for one in table[0].T.double().numpy()}

    def test_a_waterfall_ends_at_the_prediction(self):
        figure = af.viz.waterfall([1.0, -0.25], base=0.5, prediction=2.0, names=["a", "b"], data=[3.0, 4.0])
        texts = [label.get_text() for axes in figure.axes for label in (*axes.get_xticklabels(), *axes.texts)]
        assert any("2" in text and "f(x)" in text for text in [*texts, "".join(texts)])
        labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        assert "not attributed" in labels
        complete = af.viz.waterfall([1.0, -0.25], base=0.5, prediction=1.25, names=["a", "b"])
        assert not any("not attributed" in label.get_text() for label in complete.axes[0].get_yticklabels())

    def test_dependence_is_over_the_data(self, table):
        values, data = table
        figure = af.viz.dependence(values, data, 1, color="sex", names=NAMES, unit="nats")
        axes = figure.axes[0]
        points = np.asarray(axes.collections[0].get_offsets())
        expected = torch.stack([data[:, 1], values[:, 1]], 1).double().numpy()
        order = lambda one: one[np.lexsort(one.T)]
        np.testing.assert_allclose(order(points), order(expected), rtol=1e-6)
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("dose", "nats")


class TestShapiq:
    @of_the_peers
    @pytest.mark.parametrize("index", ["k-SII", "SII", "STII", "FSII", "BII"])
    @pytest.mark.parametrize("order", [1, 2, 3])
    def test_they_equal_those_that_shapiq_computes(self, index, order, game):
        model, x = game
        own = af.viz.interaction_values(
            af.shapley_interactions(model, x, order=order, index=index), index=index, base=model(0 * x)
        )
        rows = lambda coalitions: model(torch.tensor(coalitions, dtype=torch.float64) * x).numpy()
        theirs = shapiq.ExactComputer(rows, 4)(index=index, order=order)
        assert (own.index, own.max_order, own.n_players) == (theirs.index, order, 4)
        assert own.baseline_value == theirs.baseline_value
        for size in range(1, order + 1):
            np.testing.assert_allclose(own.get_n_order_values(size), theirs.get_n_order_values(size), atol=1e-9)

    @of_the_peers
    def test_shapiqs_plots_take_it(self, game):
        found = af.viz.interaction_values(af.shapley_interactions(*game), base=0.25)
        names = ["a", "b", "c", "d"]
        for draw in ("network", "force", "waterfall", "upset", "stacked_bar", "si_graph"):
            options = {} if draw in ("si_graph", "upset", "stacked_bar") else {"feature_names": names}
            getattr(found, f"plot_{draw}")(show=False, **options)
            assert plt.get_fignums(), draw
            plt.close("all")

    def test_one_example_with_or_without_its_dimension(self, game):
        found = af.shapley_interactions(*game)
        own, alone = af.viz.interaction_values(found), af.viz.interaction_values([part[0] for part in found])
        assert own.dict_values == alone.dict_values
