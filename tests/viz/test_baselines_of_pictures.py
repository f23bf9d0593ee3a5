"""Every kind of picture looks as it did when somebody looked at it."""

import pictures
import pytest
from matplotlib.testing.compare import compare_images
from pictures import BASELINE, PICTURES, TOLERANCE, draw


def difference(expected, drawn, tmp_path):
    """None where the picture is the same within the tolerance; otherwise what matplotlib says."""
    actual = tmp_path / "drawn.png"
    actual.write_bytes(drawn)
    return compare_images(str(expected), str(actual), tol=TOLERANCE)


@pytest.mark.parametrize("name", PICTURES)
def test_looks_as_before(name, tmp_path):
    expected = tmp_path / "expected.png"
    expected.write_bytes((BASELINE / f"{name}.png").read_bytes())
    assert difference(expected, draw(name), tmp_path) is None


def test_baselines_are_small_and_all_in_use():
    sizes = {path.stem: path.stat().st_size for path in BASELINE.iterdir()}
    assert set(sizes) == set(PICTURES)
    assert max(sizes.values()) < 15_000


@pytest.mark.parametrize(
    ("name", "source", "wrong"),
    [
        ("image_heat", "heat", lambda right: -right),
        ("images", "heat", lambda right: -right),
        ("series_line", "waves", lambda right: (-right[0], *right[1:])),
        ("interactions_network", "pairs", lambda right: (-right[0], right[1])),
        ("dependence", "table", lambda right: (-right[0], right[1])),
    ],
)
def test_a_wrong_picture_is_told_from_a_right_one(name, source, wrong, tmp_path, monkeypatch):
    right = getattr(pictures, source)
    monkeypatch.setattr(pictures, source, lambda: wrong(right()))
    expected = tmp_path / "expected.png"
    expected.write_bytes((BASELINE / f"{name}.png").read_bytes())
    assert "RMS" in difference(expected, draw(name), tmp_path)
