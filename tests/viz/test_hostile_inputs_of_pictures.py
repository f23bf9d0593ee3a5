"""Pictures under attack: what once drew something wrong, or failed with an error that named nothing."""

import io
import threading

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image

import attrfunc as af
from attrfunc.viz.coloured import wrapped


@pytest.mark.parametrize("shared", ["method", "all"])
@pytest.mark.parametrize("sign", ["all", "positive"])
def test_a_map_that_shows_nothing_does_not_set_a_shared_scale(shared, sign):
    small = np.array([[1e-3, 0.0], [0.0, 5e-4]])
    for blank in (np.zeros((2, 2)), np.full((2, 2), np.nan)):
        maps = {"a": [blank, small]}
        drawn = af.viz.images(maps, shared=shared, sign=sign).axes[1].images[0].get_array()
        alone = af.viz.image(small, sign=sign).axes[0].images[0].get_array()
        np.testing.assert_array_equal(drawn, alone)


def test_options_of_savefig_win():
    figure = af.viz.waterfall([1.0, 2.0], base=0.0)
    sizes = []
    for options in ({}, {"bbox_inches": "tight"}, {"bbox_inches": Bbox([[0, 0], [2, 1]])}):
        stream = io.BytesIO()
        figure.savefig(stream, dpi=50, **options)
        sizes.append(Image.open(stream).size)
    assert sizes[0] == sizes[1]
    assert sizes[2] == (100, 50)


@pytest.mark.parametrize("layout", [None, "constrained"])
def test_parts_of_figures_are_drawn_in(layout):
    figure = Figure(layout=layout, figsize=(8, 4))
    left, right = figure.subfigures(1, 2)
    title = "a title of many words that needs more than one line"
    assert af.viz.image(np.eye(3), ax=left.subplots(), title=title, unit="u") is figure
    assert af.viz.interactions(np.eye(3), ax=right.subplots(), title=title) is figure
    figure.savefig(io.BytesIO(), dpi=30)
    assert [len(part.axes) for part in (left, right)] == [2, 2]  # with its colour bar
    assert left.axes[0].get_title().count("\n") >= 1


class TestWhatNumbersComeIn:
    """Each kind either is what it looks like, or an error that names function, argument and a way out."""

    def test_tensors_at_any_depth_of_lists(self):
        values = torch.arange(12.0, dtype=torch.float64).view(3, 2, 2)
        deep = [[[one.clone().requires_grad_() for one in row] for row in part] for part in values]
        photo = [list(part) for part in (values * 20).to(torch.uint8)]
        shown = [
            one.axes[0].images[number].get_array()
            for number in (0, 1)
            for one in (
                af.viz.image(deep, photo, style="overlay"),
                af.viz.image(values, values * 20 / 255, style="overlay"),
            )
        ]
        np.testing.assert_array_equal(shown[0], shown[1])
        np.testing.assert_array_equal(shown[2], shown[3])

    def test_what_is_behind_a_mask_is_missing(self):
        masked = np.ma.masked_array(np.arange(16).reshape(4, 4), mask=np.eye(4, dtype=bool))
        axes = af.viz.image(masked).axes[0]
        assert axes.get_xlabel() == "4 values are not finite: green"
        assert af.viz.tokens(["a", "b"], masked[0, :2]).plain() == "a (not finite) b (+1)"

    def test_a_table_of_numbers_and_truth_values(self):
        table = np.array([[1.5, True], [2.0, False], [np.float32(3), True]], dtype=object)
        found = af.viz.explanation(np.ones((3, 2)), data=table).data
        np.testing.assert_array_equal(found, [[1.5, 1.0], [2.0, 0.0], [3.0, 1.0]])
        with pytest.raises(af.ArgumentError, match="explanation: argument `data`"):
            af.viz.explanation(np.ones((1, 2)), data=np.array([[1.5, "red"]], dtype=object))

    def test_the_array_given_is_not_the_one_drawn(self):
        values = np.ones((2, 2))
        found = af.viz.explanation(values)
        values[:] = 5
        assert (found.values == 1).all()

    def test_a_nested_tensor(self):
        nested = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(1, 3)], layout=torch.jagged)
        with pytest.raises(af.ArgumentError, match=r"image: argument `attributions`: .*attributions\.unbind\(\)\[0\]"):
            af.viz.image(nested)

    @pytest.mark.parametrize("limit", ["3", {}, object(), 1j, [1.0], float("nan"), torch.tensor(1j)])
    def test_limits_that_are_none(self, limit):
        with pytest.raises(af.ArgumentError, match=r"image: argument `limit`: .* a finite number above 0"):
            af.viz.image(np.eye(3), limit=limit)

    def test_limits_of_any_number_type(self):
        for limit in (2, np.float32(2), torch.tensor(2.0), np.array(2)):
            assert af.viz.image(np.eye(3), limit=limit).axes[1].get_yticklabels()[-1].get_text() == "2"

    def test_photographs_up_to_255(self):
        with pytest.raises(af.ArgumentError, match="image / 255"):
            af.viz.image(torch.ones(3, 8, 8), torch.full((3, 8, 8), 200.0), style="overlay")

    def test_two_channels_at_the_wrong_place(self):
        with pytest.raises(af.ArgumentError, match=r'looks like \(H, W, C\): pass channels="last"'):
            af.viz.image(torch.ones(30, 24, 2))


def test_threads_do_not_draw_into_the_pictures_of_others():
    """Shap draws by `pyplot`, which has one current figure."""
    af.viz.waterfall([1.0, 2.0], base=0.0)
    found = {}

    def draw(number):
        found[number] = af.viz.waterfall(np.arange(1.0, 4.0) * number, base=0.0, names=[f"{number}{x}" for x in "abc"])

    threads = [threading.Thread(target=draw, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, figure in found.items():
        names = {label.get_text() for axes in figure.axes for label in axes.get_yticklabels()}
        assert names >= {f"{number}{x}" for x in "abc"}
        assert {name[0] for name in names if name} == {str(number)}
    assert sorted(found) == [1, 2, 3, 4]
    assert plt.get_fignums() == []


def test_a_name_of_two_features_chooses_none():
    told = r"dependence: argument `feature`: got 'a', the name of 2 features; .*one of \[0, 2\]"
    with pytest.raises(af.ArgumentError, match=told):
        af.viz.dependence(np.ones((4, 3)), np.ones((4, 3)), "a", names=["a", "b", "a"])


@pytest.mark.parametrize("tokens", [(torch.ones(1, 5, 2),), np.ones((1, 5, 2)), None])
def test_tokens_that_are_no_tensor(tokens):
    with pytest.raises(af.ArgumentError, match="tokens_to_grid: argument `tokens`"):
        af.viz.tokens_to_grid()(tokens)


def test_maps_that_cannot_be_resized():
    with pytest.raises(af.ArgumentError, match="interpolate: argument `mode`"):
        af.viz.interpolate(torch.ones(1, 1, 2, 2), 4, ["bilinear"])
    with pytest.raises(af.ArgumentError, match="at least one channel"):
        af.viz.interpolate(torch.ones(1, 0, 2, 2), 4)


class TestTexts:
    HALF = "\ud83d"  # of a character, as JSON may hold

    def test_halves_of_characters(self, tmp_path):
        text = af.viz.tokens([f"a{self.HALF}", "b"], {self.HALF: [1.0, 2.0]}, title=self.HALF, unit=self.HALF)
        assert text.plain() == "�\n�: a� (+1) b (+2)"
        text.terminal().encode()
        for suffix in ("html", "txt", "png"):
            text.save(tmp_path / f"text.{suffix}")
        figure = af.viz.bars([1.0, 2.0], names=[self.HALF, "b"], title=self.HALF)
        figure.save(tmp_path / "bars.html")
        assert af.viz.tokens(["\ud83d\ude00"], [1.0]).plain() == "😀 (+1)"

    def test_titles_and_units_that_are_no_strings(self):
        assert af.viz.tokens(["a"], [1.0], title=3, unit=None).terminal(60).splitlines()[:2] == [
            "3",
            "blue against, red for, full at ±1",
        ]

    def test_no_token_turns_what_stands_behind_it_around(self):
        page = af.viz.tokens(["\u202eevil", "\u2066x", "שלום"], [1.0, 2.0, 3.0])._repr_html_()
        assert not set(page) & set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068")
        assert page.count('<p dir="auto"') == 1  # a Hebrew text is read from the right
        assert "שלום" in page

    def test_marks_above_letters_take_no_column(self):
        cells = wrapped(af.viz.tokens(["กี่" * 4, "नि" * 2], [1.0, 2.0]).passages[0].rows[0], 10)
        assert len(cells) == 1

    @pytest.mark.parametrize("draw", [af.viz.bars, lambda v, names: af.viz.interactions(np.diag(v), names=names)])
    def test_names_stand_in_one_line(self, draw):
        labels = draw([2.0, 1.0], names=["a\nb\t c", "d"]).axes[0].get_yticklabels()
        assert [label.get_text() for label in labels] == ["a b c", "d"]


@pytest.mark.parametrize("draw", [lambda: af.viz.bars([1.0, 2.0]), lambda: af.viz.tokens(["a"], [1.0])])
class TestWhereFilesGo:
    @pytest.mark.parametrize("name", ["picture", "picture.xyz", "a.b/picture"])
    def test_names_that_say_no_form(self, draw, name, tmp_path):
        """Matplotlib would write another file than the path that was returned."""
        with pytest.raises(af.ArgumentError, match=r"save: argument `path`: .*\.html, .*\.png, .*'picture\.png'"):
            draw().save(tmp_path / name)
        assert not list(tmp_path.iterdir())

    def test_streams(self, draw):
        with pytest.raises(af.ArgumentError, match=r"save: argument `path`: got BytesIO .* figure.savefig"):
            draw().save(io.BytesIO())

    def test_paths_that_are_returned_exist(self, draw, tmp_path):
        for name in ("a.PNG", "a.b.svg", "a.htm", "ä ö.html"):
            for path in (tmp_path / name, str(tmp_path / name)):
                assert draw().save(path).stat().st_size > 100


@pytest.mark.parametrize(
    "draw",
    [
        lambda: af.viz.image(np.arange(6).reshape(2, 3)),
        lambda: af.viz.images({"a": np.ones((1, 2, 3))}, np.ones((1, 2, 3))),
        lambda: af.viz.interactions(np.eye(3), np.ones(3)),
    ],
)
def test_no_setting_turns_a_photograph_upside_down(draw):
    with rc_context({"image.origin": "lower"}):
        figure = draw()
    assert [axes.yaxis_inverted() for axes in figure.axes if axes.images] == [True] * sum(
        bool(axes.images) for axes in figure.axes
    )
    assert figure.axes[0].images
