"""What is drawn is what was given: scales, colours of pixels, lengths of bars, from literal formulas."""

import io

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from PIL import Image

import attrfunc as af
from attrfunc.viz.scales import scale_of

MAP = np.array([[1.0, -2.0, 0.5], [0.0, 4.0, -1.0]])
PHOTO = np.arange(18.0).reshape(3, 2, 3) / 17


def layers(figure):
    return [np.asarray(image.get_array()) for image in figure.axes[0].images]


def numbers(texts):
    return [text.get_text().replace("−", "-") for text in texts]


class TestScale:
    def test_all_values_within_it(self):
        scale = scale_of(MAP, "all")
        assert (scale.top, scale.extend, scale.missing) == (4.0, "neither", 0)
        np.testing.assert_array_equal(scale.shares(MAP), MAP / 4)

    @pytest.mark.parametrize(
        ("sign", "expected", "top"),
        [
            ("positive", [[1, 0, 0.5], [0, 4, 0]], 4.0),
            ("negative", [[0, 2, 0], [0, 0, 1]], 2.0),
            ("absolute", [[1, 2, 0.5], [0, 4, 1]], 4.0),
        ],
    )
    def test_signs(self, sign, expected, top):
        scale = scale_of(MAP, sign)
        assert scale.top == top
        np.testing.assert_array_equal(scale.shares(MAP), np.array(expected) / top)

    @pytest.mark.parametrize(
        ("values", "extend"),
        [(np.arange(1, 101), "max"), (-np.arange(1, 101), "min"), ((-1) ** np.arange(100) * np.arange(1, 101), "both")],
    )
    def test_outliers_lie_beyond(self, values, extend):
        scale = scale_of(values.astype(float), "all", 5.0)
        beyond = np.abs(values) > scale.top
        assert 0 < beyond.sum() <= 5
        assert scale.extend == extend
        assert np.abs(scale.shares(values[beyond].astype(float))).tolist() == [1.0] * int(beyond.sum())

    def test_few_values_are_none(self):
        assert scale_of(MAP, "all", 1.0).top == 4.0

    def test_few_values_alone_are_shown(self):
        values = np.zeros(1000)
        values[3] = 1e-4
        assert scale_of(values, "all", 1.0).top == 1e-4

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_what_is_not_finite_does_not_count(self, bad):
        values = np.append(MAP.ravel(), bad)
        scale = scale_of(values, "all")
        assert (scale.top, scale.missing, scale.extend) == (4.0, 1, "neither")
        assert np.isnan(scale.shares(values)[-1])

    @pytest.mark.parametrize("size", [5e-324, 1e-310, 1e-30, 1e300, np.finfo(float).max])
    def test_sizes_that_floats_hardly_hold(self, size):
        values = np.array([size, -size, 0.0])
        assert scale_of(values, "all").shares(values).tolist() == [1, -1, 0]


class TestImage:
    def test_heat(self):
        (found,) = layers(af.viz.image(MAP))
        np.testing.assert_array_equal(found, colormaps["RdBu_r"](0.5 + MAP / 8))

    def test_channels_are_summed(self):
        parts = np.stack([MAP - 1, np.ones_like(MAP)])
        (found,) = layers(af.viz.image(parts))
        np.testing.assert_array_equal(found, layers(af.viz.image(MAP))[0])
        (last,) = layers(af.viz.image(np.repeat(parts, 2, 0).transpose(1, 2, 0) / 2, channels="last"))
        np.testing.assert_array_equal(found, last)

    def test_overlay_is_opaque_where_values_are_large(self):
        grey, heat = layers(af.viz.image(MAP, PHOTO, style="overlay"))
        luma = np.tensordot([0.299, 0.587, 0.114], PHOTO, 1)
        np.testing.assert_allclose(grey[..., 0], 0.6 + 0.4 * luma)
        np.testing.assert_allclose(heat[..., 3], 0.9 * (np.abs(MAP) / 4) ** 0.8)
        np.testing.assert_array_equal(heat[..., :3], colormaps["RdBu_r"](0.5 + MAP / 8)[..., :3])

    def test_opacity_that_is_the_same_everywhere(self):
        grey, heat = layers(af.viz.image(MAP, PHOTO, style="overlay", opacity=0.25))
        np.testing.assert_allclose(grey[..., 0], np.tensordot([0.299, 0.587, 0.114], PHOTO, 1))
        assert (heat[..., 3] == 0.25).all()

    def test_masked_and_alpha(self):
        share = np.maximum(MAP, 0) / 4
        (masked,) = layers(af.viz.image(MAP, PHOTO, style="masked", sign="positive"))
        np.testing.assert_allclose(masked[..., :3], PHOTO.transpose(1, 2, 0) * share[..., None])
        (faded,) = layers(af.viz.image(MAP, PHOTO, style="alpha", sign="positive"))
        np.testing.assert_allclose(faded[..., :3], PHOTO.transpose(1, 2, 0))
        np.testing.assert_allclose(faded[..., 3], share)

    def test_the_bar_says_where_the_scale_ends(self):
        figure = af.viz.image(MAP, limit=0.5, unit="nats")
        figure.canvas.draw()
        bar = figure.axes[1]
        assert numbers(bar.get_yticklabels()) == ["-0.5", "-0.25", "0", "0.25", "0.5"]
        assert bar.get_ylabel() == "nats"
        below = af.viz.image(MAP, sign="negative", colorbar="bottom")
        below.canvas.draw()
        assert numbers(below.axes[1].get_xticklabels()) == ["0", "-0.5", "-1", "-1.5", "-2"]

    def test_axes_of_the_user(self):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(4, 4))
        axes, bar = figure.subplots(2, height_ratios=[9, 1])
        assert af.viz.image(MAP, ax=axes, colorbar=bar, title="t") is figure
        figure.canvas.draw()
        assert len(figure.axes) == 2
        assert numbers(bar.get_xticklabels()) == ["-4", "-2", "0", "2", "4"]
        part = figure.subfigures()
        assert af.viz.image(MAP, ax=part.subplots()) is figure

    def test_truth_values_are_black_and_white(self):
        mask = torch.tensor([[True, False, True]])
        for photo in (mask, mask.numpy(), [mask[0], mask[0]]):
            shape = (*np.shape(photo)[:1], 3)
            (found,) = layers(af.viz.image(np.ones(shape), photo, style="alpha", sign="positive"))
            assert found[0, :, 0].tolist() == [1, 0, 1]

    @pytest.mark.parametrize("levels", [torch.uint8, torch.int64, torch.float32])
    def test_ranges_of_photographs(self, levels):
        whole = torch.arange(18).view(3, 2, 3) * 15
        photo = whole.to(levels) if levels != torch.float32 else whole / 255
        (found,) = layers(af.viz.image(np.ones((2, 3)), photo, style="alpha", sign="positive"))
        np.testing.assert_allclose(found[..., :3], whole.permute(1, 2, 0) / 255, atol=1e-7)


class TestImages:
    @pytest.mark.parametrize(
        ("shared", "tops"), [("picture", [1, 2, 4, 8]), ("method", [2, 2, 8, 8]), ("all", [8] * 4)]
    )
    def test_scales(self, shared, tops):
        maps = {"a": torch.tensor([1.0, 2]).view(2, 1, 1).expand(2, 3, 3), "b": [4 * torch.ones(3, 3), MAP * 2]}
        figure = af.viz.images(maps, shared=shared)
        shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes[:4]]
        for found, value, top in zip(shown, [1, 2, 4, 8], tops, strict=True):
            np.testing.assert_array_equal(found[1, 1], colormaps["RdBu_r"](0.5 + value / top / 2))

    def test_rows_and_columns(self):
        maps = {"a": torch.randn(3, 2, 4, 4), "b": torch.randn(3, 4, 4)}
        figure = af.viz.images(maps, torch.rand(3, 3, 4, 4), names=["x", "y", "z"])
        grid = figure.axes[:9]
        assert [axes.get_title() for axes in grid[:3]] == ["x", "y", "z"]
        assert [axes.get_ylabel() for axes in grid[::3]] == ["", "a", "b"]
        assert [len(axes.images) for axes in grid] == [1] * 3 + [2] * 6


class TestSeries:
    times = np.array([0.0, 1.0, 3.0])
    values = np.array([[1.0, -2.0, 0.0], [0.5, 1.0, 4.0]])

    def test_columns_reach_half_way(self):
        figure = af.viz.series(self.values, self.values, times=self.times)
        (first,), (second,) = (axes.collections for axes in figure.axes[:2])
        edges = [(path.vertices[:, 0].min(), path.vertices[:, 0].max()) for path in first.get_paths()]
        assert edges == [(-0.5, 0.5), (0.5, 2.0), (2.0, 4.0)]
        expected = colormaps["RdBu_r"](0.5 + self.values / 8)
        np.testing.assert_allclose(first.get_facecolor()[:, :3], expected[0, :, :3])
        np.testing.assert_allclose(second.get_facecolor()[:, :3], expected[1, :, :3])

    def test_combined_is_the_sum(self):
        figure = af.viz.series(self.values, self.values, style="combined")
        (found,) = figure.axes[0].collections
        expected = colormaps["RdBu_r"](0.5 + self.values.sum(0) / 8)
        np.testing.assert_allclose(found.get_facecolor()[:, :3], expected[:, :3])
        assert len(figure.axes[0].lines) == 2

    def test_the_line_goes_through_the_series(self):
        figure = af.viz.series(self.values[0], self.values[1], style="line", times=self.times)
        (found,) = figure.axes[0].collections
        middle = [segment[1].tolist() for segment in found.get_segments()]
        assert middle == np.stack([self.times, self.values[1]], 1).tolist()
        np.testing.assert_array_equal(found.get_colors(), colormaps["RdBu_r"](0.5 + self.values[0] / 4))

    def test_channels_last(self):
        first = af.viz.series(self.values, self.values, colorbar=False)
        last = af.viz.series(self.values.T, self.values.T, channels="last", colorbar=False)
        assert pixels(first) == pixels(last)


def pixels(figure):
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=40)
    return np.asarray(Image.open(stream)).tobytes()


class TestBars:
    def lengths(self, figure):
        return [patch.get_width() for patch in figure.axes[0].patches]

    def test_they_add_up(self):
        values = torch.tensor([0.1, -3.0, 0.5, 2.0, -0.25])
        figure = af.viz.bars(values, names=list("abcde"), top=2)
        axes = figure.axes[0]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "d", "3 others"]
        np.testing.assert_allclose(self.lengths(figure), [-3, 2, 0.35], rtol=1e-6)
        assert sum(self.lengths(figure)) == pytest.approx(float(values.sum()))

    def test_a_rest_of_one_has_its_name(self):
        figure = af.viz.bars([1.0, 2.0, 3.0], names=["a", "b", "c"], top=2)
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["c", "b", "a"]

    @pytest.mark.parametrize("size", [5e-324, 3e-309, 1e-12, 7e300])
    def test_ticks_are_in_units_of_the_values(self, size):
        figure = af.viz.bars([size, -size])
        figure.canvas.draw()
        first, second = self.lengths(figure)
        assert second == -first
        axes = figure.axes[0]
        ticks = [float(text) for text in numbers(axes.get_xticklabels())]
        assert max(ticks) == pytest.approx(max(axes.get_xticks()) / first * size, rel=0.02)

    def test_errors(self):
        figure = af.viz.bars([1.0, -2.0], errors=[0.5, 0.25])
        segments = [part.get_segments()[0] for part in figure.axes[0].collections]
        assert [[float(end[0]) for end in part] for part in segments] == [[-2.25, -1.75], [0.5, 1.5]]


class TestConvergence:
    def test_medians_and_the_middle_half(self):
        errors = np.array([[1.0, 2.0, 3.0, 4.0], [0.1, 0.2, 0.3, 0.4]])
        figure = af.viz.convergence([2, 4], errors)
        (line,) = figure.axes[0].lines
        np.testing.assert_allclose(line.get_ydata(), [2.5, 0.25])
        (band,) = figure.axes[0].collections
        bounds = band.get_paths()[0].vertices[:, 1]
        assert (bounds.min(), bounds.max()) == (pytest.approx(0.175), pytest.approx(3.25))

    def test_a_zero_has_a_place_and_says_so(self):
        figure = af.viz.convergence([2, 4], [0.3, 0.0])
        assert [text.get_text() for text in figure.axes[0].texts] == ["0"]
        assert figure.axes[0].lines[0].get_ydata().tolist() == [0.3, pytest.approx(0.1)]


class TestInteractions:
    pairs = np.array([[0.0, 1.0, -2.0], [1.0, 0.0, 0.0], [-2.0, 0.0, 0.0]])

    def test_matrix(self):
        figure = af.viz.interactions(self.pairs, [4.0, 0.5, -1.0])
        shown = np.asarray(figure.axes[0].images[0].get_array())
        expected = colormaps["RdBu_r"](0.5 + np.array([[4, 0, 0], [1, 0.5, 0], [-2, 0, -1]]) / 8)
        lower = np.tril_indices(3)
        np.testing.assert_array_equal(shown[lower], expected[lower])
        assert (shown[np.triu_indices(3, 1)][:, 3] == 0).all()
        written = sorted(float(text) for text in numbers(figure.axes[0].texts))
        assert written == [-2, -1, 0, 0.5, 1, 4]

    def test_network_leaves_out_what_is_zero_and_all_but_the_largest(self):
        found = af.viz.interactions(self.pairs, style="network").axes[0].collections[0]
        assert len(found.get_segments()) == 2
        largest = af.viz.interactions(self.pairs, style="network", top=1).axes[0].collections[0]
        assert len(largest.get_segments()) == 1
        np.testing.assert_array_equal(largest.get_colors()[0], colormaps["RdBu_r"](0.0))
