"""What pictures take: any device, dtype and layout in memory; numbers of any kind; and what they leave behind."""

import io
import pickle
import threading

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb
from pictures import PICTURES
from PIL import Image

import attrfunc as af

GRID = torch.arange(48.0).view(3, 4, 4) / 8 - 3  # exact in bfloat16
PHOTO = torch.arange(48.0).view(3, 4, 4) / 48
SQUARE = torch.tensor([[0.0, 1.5, -2.0], [1.5, 0.0, 0.25], [-2.0, 0.25, 0.0]])


def pixels(figure, layout=False):
    """What is drawn; arranging all texts first takes most of the time."""
    if not layout:
        figure.set_layout_engine("none")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=25)
    return np.asarray(Image.open(stream))


# Each takes a function that turns values into what the user might have.
DRAWN = {
    "image": lambda given: af.viz.image(given(GRID), PHOTO, style="overlay"),
    "images": lambda given: af.viz.images({"a": given(GRID)}, shared="all"),
    "series": lambda given: af.viz.series(given(GRID[0]), given(GRID[1])),
    "tokens": lambda given: af.viz.tokens(list("abcd"), given(GRID[0, 0])).figure(),
    "bars": lambda given: af.viz.bars(given(GRID[0, 0]), errors=given(GRID[2, 3])),
    "convergence": lambda given: af.viz.convergence(given(GRID[2, 3]), given(GRID[2, 0])),
    "interactions": lambda given: af.viz.interactions(given(SQUARE), given(SQUARE[0])),
    "beeswarm": lambda given: af.viz.beeswarm(given(GRID[0]), given(GRID[1])),
    "waterfall": lambda given: af.viz.waterfall(given(GRID[0, 0]), base=given(GRID[0, 0, 0])),
    "dependence": lambda given: af.viz.dependence(given(GRID[0]), given(GRID[1]), 1),
}
GIVEN = {
    "bfloat16 with a graph": lambda one: one.bfloat16().requires_grad_() * 1,
    "half precision array, written backwards": lambda one: np.flip(np.flip(one.half().numpy()).copy()),
    "lists": lambda one: one.tolist(),
    "expanded, under inference mode": lambda one: one[None].expand(2, *one.shape)[1],
}


@pytest.mark.parametrize("name", DRAWN)
def test_all_forms_give_the_same_picture(name):
    expected = pixels(DRAWN[name](lambda one: one.double()))
    for form, given in GIVEN.items():
        with torch.inference_mode(form.endswith("inference mode")):
            assert np.array_equal(pixels(DRAWN[name](given)), expected), form


@pytest.mark.parametrize("name", ["image", "tokens"])
def test_integers(name):
    whole = lambda one: (one * 8).to(torch.int32)
    assert np.array_equal(pixels(DRAWN[name](whole)), pixels(DRAWN[name](lambda one: one * 8)))


def test_an_image_may_be_one_of_pillow():
    photo = np.arange(75, dtype=np.uint8).reshape(5, 5, 3) * 3
    options = {"style": "overlay", "channels": "last"}
    figures = [af.viz.image(np.eye(5), one, **options) for one in (photo, Image.fromarray(photo))]
    assert np.array_equal(*map(pixels, figures))


ODD = {
    "NaN": [[float("nan"), 1.0], [2.0, -1.0]],
    "only NaN": [[float("nan")] * 2] * 2,
    "infinities": [[float("inf"), 1.0], [-float("inf"), 0.0]],
    "constant": [[3.0, 3.0], [3.0, 3.0]],
    "zeros": [[0.0, 0.0], [0.0, 0.0]],
    "negative only": [[-1.0, -2.0], [-0.5, -3.0]],
    "tiny": [[1e-300, -2e-300], [0.0, 3e-300]],
    "subnormal": [[5e-324, -1e-323], [0.0, 0.0]],
    "huge": [[1e308, -1e308], [0.0, 1e308]],
}


@pytest.mark.parametrize("kind", ODD)
class TestOddNumbers:
    """Warnings are errors here, those of NumPy and matplotlib too."""

    def values(self, kind):
        return torch.tensor(ODD[kind], dtype=torch.float64).repeat(3, 2)

    def test_images(self, kind):
        values = self.values(kind)
        pixels(af.viz.images({"a": values[None]}, torch.rand(1, 3, 6, 4)))
        drawn = [("heat", "all"), ("heat", "absolute"), ("masked", "negative"), ("alpha", "positive")]
        drawn += [("overlay", "all"), ("overlay", "positive")]
        for channels, (style, sign) in zip([1, 3, 4] * 2, drawn, strict=True):
            photo, maps = torch.rand(channels, 6, 4), values.expand(channels, 6, 4)
            pixels(af.viz.image(maps, photo, style=style, sign=sign))

    def test_values_that_are_missing_are_counted(self, kind):
        missing = int((~self.values(kind).isfinite()).sum())
        told = af.viz.image(self.values(kind)).axes[0].get_xlabel()
        assert told == (f"{missing} values are not finite: green" if missing else "")

    def test_series_and_tokens(self, kind):
        values = self.values(kind)[:2]
        for style in ("overlay", "combined", "line"):
            pixels(af.viz.series(values, torch.rand(2, 4), style=style))
        text = af.viz.tokens(list("abcd"), values[0])
        pixels(text.figure())
        assert text._repr_html_().count("<span") == 4
        assert text.terminal(40).count("48;2") == 4

    def test_bars_and_interactions(self, kind):
        values = self.values(kind)
        pixels(af.viz.bars(values[0], top=2))
        pixels(af.viz.bars(values[0], errors=values[0].abs().nan_to_num(0, 0, 0)))
        pairs = values[:4] / 2 + values[:4].mT / 2
        for style in ("matrix", "network"):
            pixels(af.viz.interactions(pairs, values[0], style=style))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (40, 2), (300, 1)])
def test_images_of_odd_shapes(size):
    figure = af.viz.image(torch.randn(size), torch.rand(3, *size), style="overlay", title="a long title of it all")
    assert max(figure.get_size_inches()) < 15
    pixels(figure, layout=True)


def test_a_sparse_tensor():
    assert np.array_equal(pixels(af.viz.image(MARKED.to_sparse())), pixels(af.viz.image(MARKED)))


def test_one_value_of_each():
    pixels(af.viz.series([1.0], [2.0]))
    pixels(af.viz.bars([1.0]))
    pixels(af.viz.convergence([3], [0.1]))
    pixels(af.viz.tokens(["a"], [1.0]).figure())
    pixels(af.viz.tokens(["", " ", "\n\n", "▁"], torch.ones(4), title="no letters").figure())
    pixels(af.viz.waterfall([1.0], base=0.0))
    pixels(af.viz.beeswarm([[1.0], [2.0]]))


@pytest.mark.parametrize("name", ["bars", "interactions", "series", "beeswarm", "waterfall", "dependence"])
def test_names_that_look_like_formulas(name):
    names = ["$x^$", "a_b", "\\alpha$", "100 $ per $"]
    values = torch.arange(4.0)
    drawn = {
        "bars": lambda: af.viz.bars(values, names=names, title="$^$", unit="$_$"),
        "interactions": lambda: af.viz.interactions(torch.ones(4, 4), names=names, style="network", title="$^$"),
        "series": lambda: af.viz.series(GRID[0], GRID[1], names=names, style="combined", title="$^$", xlabel="$_$"),
        "beeswarm": lambda: af.viz.beeswarm(GRID[0], GRID[1], names=names, title="$^$", unit="$_$"),
        "waterfall": lambda: af.viz.waterfall(values, base=0, names=names, data=values, title="$^$"),
        "dependence": lambda: af.viz.dependence(GRID[0], GRID[1], 1, names=names, title="$^$", unit="$_$"),
    }
    pixels(drawn[name]())


class TestWhatIsLeftBehind:
    @pytest.mark.parametrize("name", PICTURES)
    def test_nothing(self, name, monkeypatch):
        monkeypatch.setattr(plt, "show", lambda *_: pytest.fail("shown"))
        before = plt.figure()
        np.random.seed(3)
        torch.manual_seed(3)
        states = np.random.get_state()[1].copy(), torch.get_rng_state()
        interactive, settings = plt.isinteractive(), dict(plt.rcParams)
        PICTURES[name]()
        assert plt.get_fignums() == [before.number]
        assert plt.gcf() is before
        assert not before.axes
        assert (np.random.get_state()[1] == states[0]).all()
        assert (torch.get_rng_state() == states[1]).all()
        assert (plt.isinteractive(), dict(plt.rcParams)) == (interactive, settings)
        plt.close(before)

    def test_values_are_not_changed(self):
        values, photo = GRID.clone(), PHOTO.clone()
        af.viz.image(values, photo, style="overlay", sign="negative")
        af.viz.series(values[0], values[1])
        af.viz.tokens(list("abcd"), values[0, 0], words=True)
        assert values.equal(GRID)
        assert photo.equal(PHOTO)

    def test_threads_draw_at_once(self):
        expected = pixels(DRAWN["image"](lambda one: one))
        found = []
        threads = [
            threading.Thread(target=lambda: found.append(pixels(DRAWN["image"](lambda one: one)))) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [np.array_equal(one, expected) for one in found] == [True] * 3


class TestFiles:
    @pytest.mark.parametrize("name", ["image_heat", "tokens", "waterfall"])
    def test_png_svg_and_html(self, name, tmp_path):
        figure = PICTURES[name]()
        begins = {"png": b"\x89PNG", "svg": b"<?xml", "html": b"<!doctype html>", "pdf": b"%PDF"}
        for suffix, begin in begins.items():
            path = figure.save(tmp_path / f"picture.{suffix}")
            assert path.read_bytes().startswith(begin)
        page = (tmp_path / "picture.html").read_text()
        assert 'src="data:image/png;base64,iVBOR' in page
        assert "<script" not in page

    def test_pickles(self):
        for figure in (af.viz.image(MARKED), af.viz.bars([1.0, 2.0])):
            assert np.array_equal(pixels(pickle.loads(pickle.dumps(figure))), pixels(figure))

    def test_a_notebook_shows_it(self):
        html = af.viz.image(MARKED, title='"<b>" & co')._repr_html_()
        assert html.startswith("<img ")
        assert 'alt="&quot;&lt;b&gt;&quot; &amp; co"' in html


MARKED = torch.eye(3)


def test_letters_are_seen_on_a_dark_ground():
    from matplotlib import rc_context, style

    with rc_context(), style.context("dark_background"):
        figures = [
            af.viz.bars([1.0, -2.0], title="a title"),
            af.viz.images({"m": torch.rand(1, 4, 4)}),
            af.viz.tokens(["a"], [1.0], title="a title").figure(),
        ]
        texts = [
            text for figure in figures for axes in figure.axes for text in (*axes.texts, axes.title, axes.xaxis.label)
        ]
        assert all(min(to_rgb(text.get_color())) > 0.5 for text in texts if text.get_text())
        assert sum(bool(text.get_text()) for text in texts) >= 6
