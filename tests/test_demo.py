"""What the demo promises: pictures as they are done, and nothing lost by an interruption."""

import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from torch import nn

import attrfunc as af
import demo
from case import Case, Finding
from classifier import PHOTOS, Photo
from demo import Studio, explain_all
from gallery import Panel, captions, heat_map
from methods import METHODS, Method


class Classifier(nn.Module):
    """A small network with the demo's layers by their names."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 16, 16), nn.ReLU6())
        self._blocks = nn.ModuleList(nn.Conv2d(8, 8, 1) for _ in range(16))
        for block in self._blocks:
            nn.init.dirac_(block.weight)
        self._pool = nn.AvgPool2d(2)
        self._bn1 = nn.BatchNorm2d(8)
        self._avg_pooling = nn.AdaptiveAvgPool2d(1)
        self._fc = nn.Linear(8, 1000)
        self._fc.weight.data[967].abs_()  # every feature speaks for the class, so that Grad-CAM is not zero

    def forward(self, x):
        x = self.stem(x)
        for block in self._blocks[:15]:
            x = block(x)
        x = self._blocks[15](self._pool(x))
        return self._fc(self._avg_pooling(nn.functional.relu6(self._bn1(x))).flatten(1))


@pytest.fixture
def case():
    board = np.add.outer(np.arange(64) // 16, np.arange(64) // 8)[..., None] % 2 * [250, 120, 60]
    photo = Photo("board", lambda: board.astype(np.uint8), (0, 0), 64, (967,))
    return Case(Classifier().eval(), photo, 4)


def found(name, note=lambda: None):
    def run(case):
        note()
        return Finding(torch.ones(1, 3, 224, 224), "once")

    return Method(name, run)


def test_every_method_finds_what_it_promises(case):
    assert len({method.key for method in METHODS}) == len(METHODS)
    findings = [method.run(case) for method in METHODS]
    for method, finding in zip(METHODS, findings, strict=True):
        assert finding.values.isfinite().all(), method.title
        assert finding.values.any(), method.title
        assert finding.gap is None or finding.gap < 0.3, method.title
    by_name = dict(zip([method.title for method in METHODS], findings, strict=True))
    # What is promised exactly is kept exactly.
    for name in ("DeepLIFT", "Shapley values", "kernel SHAP", "Gaussian process SHAP"):
        assert by_name[name].gap < 1e-3
    assert by_name["integrated gradients"].values.equal(af.ig(case.model, case.x, n_steps=4, **case.compared))


def test_each_picture_is_there_before_the_next_method_runs(case, tmp_path):
    seen = []

    def look():
        seen.append(sorted(path.name for path in tmp_path.rglob("*.png")))

    studio = Studio(case, tmp_path, [found(name, look) for name in ("one", "two words", "three")])
    assert explain_all([studio]) == 0
    assert seen == [[], ["01-one.png"], ["01-one.png", "02-two-words.png"]]
    assert imread(tmp_path / "board.png").shape[1] == 1600
    assert not list(tmp_path.rglob("*.pt"))
    assert not (tmp_path / ".unfinished").exists()


class TestInterruption:
    @pytest.fixture
    def calls(self):
        return []

    def studio(self, case, folder, calls, stop):
        """Three methods, of which one is interrupted as by Ctrl-C."""

        def run(name):
            calls.append(name)
            if name == stop:
                signal.raise_signal(signal.SIGINT)

        return Studio(case, folder, [found(name, lambda name=name: run(name)) for name in ("one", "two", "three")])

    def test_leaves_what_was_done_and_goes_on(self, case, tmp_path, calls, capsys):
        assert explain_all([self.studio(case, tmp_path, calls, "two")]) == demo.INTERRUPTED
        assert "Interrupted: 1 of 3" in capsys.readouterr().out
        assert [path.name for path in (tmp_path / "board").iterdir()] == ["01-one.png"]
        first = imread(tmp_path / "board.png")
        assert explain_all([self.studio(case, tmp_path, calls, None)]) == 0
        assert calls == ["one", "two", "two", "three"]
        assert len(list((tmp_path / "board").iterdir())) == 3
        assert not np.array_equal(first, imread(tmp_path / "board.png"))

    def test_before_anything_is_done(self, case, tmp_path, calls, capsys):
        assert explain_all([self.studio(case, tmp_path, calls, "one")]) == demo.INTERRUPTED
        assert "0 of 3" in capsys.readouterr().out
        assert not list(tmp_path.rglob("*.png"))

    def test_of_the_second_photograph_keeps_the_first(self, case, tmp_path, calls):
        other = replace(case, photo=replace(case.photo, name="other"))
        studios = [self.studio(case, tmp_path, calls, None), self.studio(other, tmp_path, calls, "three")]
        assert explain_all(studios) == demo.INTERRUPTED
        assert explain_all([self.studio(one, tmp_path, calls, None) for one in (case, other)]) == 0
        assert calls == ["one", "two", "three"] * 2 + ["three"]

    def test_other_steps_start_anew(self, case, tmp_path, calls):
        explain_all([self.studio(case, tmp_path, calls, "two")])
        explain_all([self.studio(replace(case, steps=6), tmp_path, calls, None)])
        assert calls == ["one", "two", "one", "two", "three"]

    def test_a_method_that_fails_leaves_the_page_too(self, case, tmp_path):
        def fail():
            raise af.ModelError("no")

        with pytest.raises(af.ModelError):
            explain_all([Studio(case, tmp_path, [found("one"), found("two", fail)])])
        assert (tmp_path / "board.png").exists()


class TestCaptions:
    def lines(self, values, **finding):
        panel = Panel(Method("m", None, "nats"), Finding(values, "4 points", **finding), 1.25)
        found = heat_map(panel)
        (scale, effort), caution = captions(panel, found)
        return found, scale, effort, caution

    def test_a_scale_that_few_pixels_stretch_is_clipped_and_says_so(self):
        values = torch.full((1, 3, 224, 224), 1 / 3)
        values[..., :6, :6] = 30
        found, scale, effort, caution = self.lines(values, gap=0.01)
        assert found.top < found.peak / 2
        assert f"peak {found.peak / found.top:.1f} x" in scale
        assert (effort, caution) == ("4 points, gap 1%, 1.2 s", "")

    def test_an_even_map_is_not(self):
        found, scale, _, _ = self.lines(torch.full((1, 3, 224, 224), 2.0))
        assert (found.top, scale) == (pytest.approx(6), "±6 nats")

    def test_few_pixels_alone_are_shown(self):
        values = torch.zeros(1, 3, 224, 224)
        values[..., 5, 5] = 1e-3
        found, *_ = self.lines(values)
        assert 0 < found.top <= found.peak < 1e-3

    def test_a_wide_gap_is_marked(self):
        *_, caution = self.lines(torch.ones(1, 1, 7, 7), gap=0.2)
        assert "off by 20%" in caution

    def test_nothing_found_is_pale(self):
        found, *_ = self.lines(torch.zeros(1, 1, 7, 7))
        assert (found.heat == 0).all()
        assert found.top > 0


def test_a_method_blind_to_the_class_is_named(case):
    # Guided backpropagation of a network with one unit before its last layer shows one picture for all classes.
    single = nn.Sequential(nn.Conv2d(3, 1, 4, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 1000))
    method = next(method for method in METHODS if method.title == "guided backpropagation")
    assert "blind to the class" in method.run(replace(case, model=single)).caution


@pytest.mark.parametrize(
    ("arguments", "names"),
    [([], ["coffee"]), (["all"], [photo.name for photo in PHOTOS]), (["rocket", "camera"], ["camera", "rocket"])],
)
def test_which_photographs(arguments, names):
    assert [photo.name for photo in demo.parse_arguments(arguments).photos] == names


@pytest.mark.parametrize("arguments", [["cofee"], ["--steps", "1"]])
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit):
        demo.parse_arguments(arguments)
    assert arguments[-1] in capsys.readouterr().err
