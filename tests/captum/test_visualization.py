"""The pictures of Captum's visualization: the same faces, and the same pixels where colours are given."""

import inspect
import sys
import types
from html.parser import HTMLParser

import captum.attr as captum_attr
import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import attrfunc as af
from attrfunc.captum.attr import visualization as ours

theirs = captum_attr.visualization
NAMES = ["visualize_image_attr", "visualize_image_attr_multiple", "visualize_timeseries_attr", "visualize_text"]
SIGNS = ["positive", "absolute_value", "negative", "all"]


@pytest.fixture
def attr():
    return np.random.default_rng(0).normal(size=(9, 7, 3)) ** 3


@pytest.fixture
def photo():
    return np.random.default_rng(1).random((9, 7, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def parameters(function):
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("name", NAMES)
def test_signatures_of_pictures(name):
    assert parameters(getattr(ours, name)) == parameters(getattr(theirs, name))


def test_the_record():
    record = ours.VisualizationDataRecord
    assert parameters(record.__init__) == parameters(theirs.VisualizationDataRecord.__init__)
    assert sorted(record.__slots__) == sorted(theirs.VisualizationDataRecord.__slots__)
    made = record(torch.ones(1), 0.5, 1, 0, 1, 0.25, ["a"], 0.125)
    assert (made.pred_prob, made.raw_input_ids, made.convergence_score) == (0.5, ["a"], 0.125)


def shown(axis):
    """What lies on an axis, as colours."""
    return [np.asarray(image.to_rgba(image.get_array(), norm=True)) for image in axis.images]


@pytest.mark.parametrize("outliers", [1, 2, 30])
@pytest.mark.parametrize("sign", SIGNS)
def test_heat_maps_have_the_same_colours(sign, outliers, attr):
    options = {"sign": sign, "outlier_perc": outliers, "cmap": "viridis", "use_pyplot": False}
    (mine,), (captums,) = (shown(module.visualize_image_attr(attr, **options)[1]) for module in (ours, theirs))
    np.testing.assert_allclose(mine, captums, atol=1e-12)


@pytest.mark.parametrize("whole", [False, True])
def test_other_methods_show_the_same(whole, attr, photo):
    given = (photo * 255).astype(int) if whole else photo
    for method, sign in [
        ("original_image", "all"),
        ("blended_heat_map", "all"),
        ("masked_image", "positive"),
        ("alpha_scaling", "absolute_value"),
    ]:
        options = {"method": method, "sign": sign, "cmap": "viridis", "alpha_overlay": 0.4, "use_pyplot": False}
        images = []
        for module in (ours, theirs):
            figure, axis = module.visualize_image_attr(attr, given, **options)
            assert isinstance(figure, Figure)
            assert isinstance(axis, Axes)
            figure.canvas.draw()
            images.append(shown(axis))
        if method == "blended_heat_map":
            # Captum's grey is the mean of the colours, stretched; the colours of the map are the same.
            np.testing.assert_allclose(images[0][1][..., :3], images[1][1][..., :3], atol=1e-12)
            assert (images[0][1][..., 3] == 0.4).all()
        else:
            mine, captums = images[0][0], np.asarray(images[1][0], dtype=float)
            captums = captums / 255 if captums.max() > 1 else captums
            np.testing.assert_allclose(
                mine[..., : captums.shape[-1]], captums, atol=2.01 / 255
            )  # Captum cuts digits off twice


class TestReturns:
    def test_a_given_axis_is_drawn_in(self, attr):
        figure = Figure()
        axis = figure.subplots()
        found = ours.visualize_image_attr(attr, plt_fig_axis=(figure, axis), use_pyplot=False, title="t")
        assert found == (figure, axis)
        assert axis.get_title() == "t"

    def test_several(self, attr, photo):
        methods, signs = ["original_image", "heat_map", "masked_image"], ["all", "all", "positive"]
        for module in (ours, theirs):
            figure, axes = module.visualize_image_attr_multiple(
                attr, photo, methods, signs, titles=methods, use_pyplot=False, show_colorbar=True
            )
            assert isinstance(axes, list)
            assert [axis.get_title() for axis in axes] == methods
            figure.canvas.draw()
            _, axis = module.visualize_image_attr_multiple(attr, photo, ["heat_map"], ["all"], use_pyplot=False)
            assert isinstance(axis, Axes)

    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("method", ["overlay_individual", "overlay_combined", "colored_graph"])
    def test_series(self, method, channels):
        data = np.random.default_rng(0).normal(size=(20, channels))
        options = {"method": method, "sign": "all", "use_pyplot": False, "show_colorbar": True, "title": "t"}
        figure, axes = ours.visualize_timeseries_attr(
            data, data, x_values=np.arange(20) / 2, channel_labels=list("abc")[:channels], linewidth=3, **options
        )
        figure.canvas.draw()
        several = channels > 1 and method != "overlay_combined"
        assert isinstance(axes, np.ndarray if several else Axes)
        first = axes[0] if several else axes
        assert first.get_xlim() == (0, 9.5)
        assert first.get_title() == "t"
        turned = ours.visualize_timeseries_attr(data.T, data.T, channels_last=False, **options)
        assert len(turned[0].axes) == len(figure.axes)

    @pytest.mark.parametrize("use", [True, False])
    def test_pyplot_shows_if_asked_to(self, use, attr, photo, monkeypatch):
        calls = []
        monkeypatch.setattr(plt, "show", lambda: calls.append(plt.get_fignums()))
        series = np.ones((9, 2))
        figure, _ = ours.visualize_image_attr(attr, use_pyplot=use, fig_size=(3, 2))
        ours.visualize_image_attr_multiple(attr, photo, ["heat_map", "heat_map"], ["all", "all"], use_pyplot=use)
        ours.visualize_timeseries_attr(series, series, use_pyplot=use)
        assert calls == ([[1], [1, 2], [1, 2, 3]] if use else [])
        assert figure.get_size_inches().tolist() == [3, 2]
        plt.close("all")


class TestOddNumbers:
    @pytest.mark.parametrize("value", [0.0, 1e-300, float("nan"), -2.0])
    @pytest.mark.parametrize("sign", SIGNS)
    def test_what_captum_refuses_or_warns_of(self, value, sign):
        figure, _ = ours.visualize_image_attr(np.full((4, 4), value), sign=sign, use_pyplot=False, show_colorbar=True)
        figure.canvas.draw()
        ours.visualize_timeseries_attr(np.full((4, 2), value), np.ones((4, 2)), sign=sign, use_pyplot=False)

    def test_tensors(self, attr, photo):
        options = {"method": "blended_heat_map", "sign": "all", "use_pyplot": False}
        arrays = ours.visualize_image_attr(attr, photo, **options)[1]
        tensors = ours.visualize_image_attr(
            torch.tensor(attr).requires_grad_(), torch.tensor(photo).requires_grad_(), **options
        )[1]
        for mine, other in zip(shown(tensors), shown(arrays), strict=True):
            np.testing.assert_array_equal(mine, other)

    @pytest.mark.parametrize("method", ["overlay_individual", "overlay_combined", "colored_graph"])
    def test_short_names_of_matplotlibs(self, method):
        data = np.ones((9, 2))
        _, axes = ours.visualize_timeseries_attr(data, data, method=method, use_pyplot=False, lw=5, ls=":")
        drawn = np.ravel(axes)[0]
        lines = drawn.collections if method == "colored_graph" else drawn.lines
        assert np.ravel(lines[0].get_linewidth()).tolist() == [5]

    def test_more_channels_than_times(self):
        with pytest.warns(UserWarning, match="5 channels are more than the 3 times"):
            ours.visualize_timeseries_attr(np.ones((3, 5)), np.ones((3, 5)), use_pyplot=False)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda a, p: ours.visualize_image_attr(a, method="heatmap"), "`method`.*'heat_map', 'blended_heat_map'"),
        (lambda a, p: ours.visualize_image_attr(a, sign="abs"), "`sign`.*'positive', 'absolute_value'"),
        (lambda a, p: ours.visualize_image_attr(a, None, "masked_image"), "`original_image`: got None"),
        (lambda a, p: ours.visualize_image_attr(a, p, "masked_image", "all"), "`sign`"),
        (
            lambda a, p: ours.visualize_image_attr(a, p[:5], "blended_heat_map"),
            r"`attr`: got positions \(9, 7\); expected \(5, 7\)",
        ),
        (lambda a, p: ours.visualize_image_attr(a[None]), "`attr`: got 4 dimensions"),
        (lambda a, p: ours.visualize_image_attr(a, outlier_perc=101), "`outlier_perc`"),
        (lambda a, p: ours.visualize_image_attr(a, cmap="nope"), "`cmap`.*viridis"),
        (lambda a, p: ours.visualize_image_attr(np.zeros((0, 3))), "`attr`.*empty"),
        (lambda a, p: ours.visualize_image_attr_multiple(a, p, ["heat_map"], []), "`signs`: got 0"),
        (lambda a, p: ours.visualize_image_attr_multiple(a, p, ["heat_map"], ["all"], ["a", "b"]), "`titles`"),
        (lambda a, p: ours.visualize_timeseries_attr(a[0, 0], a[0, 0]), r"`attr`.*\(N, C\)"),
        (lambda a, p: ours.visualize_timeseries_attr(a[0], a[0, :2]), "`attr`.*of data"),
        (lambda a, p: ours.visualize_timeseries_attr(a[0], a[0], x_values=[1.0]), "`x_values`"),
        (lambda a, p: ours.visualize_timeseries_attr(a[0], a[0], channel_labels=["a"]), "`channel_labels`"),
    ],
)
def test_bad_input_of_pictures(call, told, attr, photo):
    with pytest.raises(af.ArgumentError, match=f"(?s)visualize_.*{told}"):
        call(attr, photo)
    assert not plt.get_fignums()


class Tags(HTMLParser):
    def __init__(self, source):
        super().__init__()
        self.tags, self.cells = [], []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data):
        if self.cells:
            self.cells[-1] += data


class TestText:
    def records(self):
        words = ["<s>", "<script>alert(1)</script>!", "film"]
        return [ours.VisualizationDataRecord(torch.tensor([0.5, -1, 0.0, 9]), 0.875, "<b>", 0, 1, 0.5, words, 0.1)]

    def test_the_table(self):
        page = ours.visualize_text(iter(self.records()))
        found = Tags(page.data)
        assert found.cells[:5] == [
            "True Label",
            "Predicted Label",
            "Attribution Label",
            "Attribution Score",
            "Word Importance",
        ]
        assert found.cells[5:9] == ["0", "<b> (0.88)", "1", "0.50"]
        assert found.cells[9].split() == ["#s", "<script>alert(1)</script>!", "film"]
        assert "script" not in found.tags
        assert "Legend" in page.data
        assert "Legend" not in ours.visualize_text(self.records(), legend=False).data
        assert page._repr_html_() == page.data

    def test_it_is_written(self, tmp_path):
        path = ours.visualize_text(self.records()).save(tmp_path / "page.html")
        assert path.read_text().startswith("<!doctype html>")

    def test_ipython_displays_it(self, monkeypatch):
        displayed = []
        module = types.ModuleType("IPython.display")
        module.HTML = lambda data: ("HTML", data)
        module.display = displayed.append
        monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
        monkeypatch.setitem(sys.modules, "IPython.display", module)
        found = ours.visualize_text(self.records())
        assert displayed == [found]
        assert found[0] == "HTML"

    def test_fewer_values_than_tokens(self):
        record = self.records()[0]
        record.word_attributions = [0.5]
        with pytest.raises(
            af.ArgumentError, match=r"visualize_text: argument `word_attributions`.*3 tokens of record 0"
        ):
            ours.visualize_text([record])

    def test_a_text_without_values(self):
        record = self.records()[0]
        record.word_attributions = None
        assert Tags(ours.visualize_text([record]).data).cells[9] == ""


class TestHostileAttributions:
    @pytest.mark.parametrize("name", ["attr", "original_image"])
    def test_channels_first(self, name):
        last, first = np.ones((32, 24, 3)), np.ones((3, 32, 24))
        given = {"attr": last, "original_image": last, name: first}
        told = (
            rf"visualize_image_attr: argument `{name}`: .*It looks like \(C, H, W\): pass {name}.transpose\(1, 2, 0\)"
        )
        with pytest.raises(af.ArgumentError, match=told):
            ours.visualize_image_attr(**given, use_pyplot=False)
        given[name] = given[name].transpose(1, 2, 0)  # the fix
        ours.visualize_image_attr(**given, use_pyplot=False)

    @pytest.mark.parametrize("kind", [np.int64, np.float32, np.float64])
    def test_percent_of_numpy(self, kind, attr):
        axes = [ours.visualize_image_attr(attr, outlier_perc=one, use_pyplot=False)[1] for one in (5, kind(5))]
        np.testing.assert_array_equal(*[shown(axis) for axis in axes])

    @pytest.mark.parametrize("size", [1e-320, 1e-160, 1e160, 1e307])
    def test_sizes_do_not_change_colours(self, size):
        """Warnings are errors here."""
        values = np.array([[1.0, -2.0, 3.0], [0.0, 8.0, 4.0]])
        axes = [ours.visualize_image_attr(values * one, outlier_perc=20, use_pyplot=False)[1] for one in (1, size)]
        np.testing.assert_allclose(*[shown(axis) for axis in axes], rtol=0, atol=1 / 255)

    def test_sums_that_are_not_finite(self):
        values = np.array([[[np.inf, -np.inf], [1e308, 1e308]], [[1, 2], [np.nan, 0]]])
        _, axis = ours.visualize_image_attr(values, use_pyplot=False)
        assert axis.get_xlabel() == "3 values are not finite: green"
        ours.visualize_timeseries_attr(values[:, 0], np.ones((2, 2)), method="overlay_combined", use_pyplot=False)
