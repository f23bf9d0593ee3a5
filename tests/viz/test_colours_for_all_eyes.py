"""The default colours, as colour-blind eyes see them.

Machado, Oliveira, Fernandes: A Physiologically-based Model for Simulation of Color Vision Deficiency, IEEE TVCG 2009
(doi 10.1109/TVCG.2009.113): their matrices for the full deficiency, on linear red, green and blue. Differences are CIE
Lab distances (1976), of which 2.3 is just noticed; skimage's conversion is the oracle.
"""

import numpy as np
import pytest
from matplotlib import colors
from skimage.color import rgb2lab

from attrfunc.viz.canvas import AGAINST, FOR, MISSING, colour_map
from attrfunc.viz.coloured import MISSING as MISSING_IN_TEXTS
from attrfunc.viz.coloured import colour, dark
from attrfunc.viz.convergence import COLOURS
from attrfunc.viz.series import CYCLE

EYES = {
    "full": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
APART = 20.0


def seen(rgb, eye):
    """Colours from 0 to 1, `(N, 3)`, in CIE Lab as an eye sees them."""
    rgb = np.atleast_2d(np.asarray(rgb, dtype=float))[..., :3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    found = np.clip(linear @ np.array(EYES[eye]).T, 0, 1)
    return rgb2lab(np.where(found <= 0.0031308, found * 12.92, 1.055 * found ** (1 / 2.4) - 0.055))


def apart(first, second, eye):
    return float(np.linalg.norm(seen(first, eye) - seen(second, eye)))


def at(shares, sign="all"):
    place = 0.5 + np.asarray(shares) / 2 if sign == "all" else np.asarray(shares)
    return colour_map(None, sign)(place)


@pytest.mark.parametrize("eye", EYES)
class TestEyes:
    @pytest.mark.parametrize("size", [0.5, 0.75, 1.0])
    def test_for_against_and_zero(self, eye, size):
        for found in (lambda share: at(share), lambda share: np.array(colour(share)) / 255):
            ends = [found(size), found(0.0), found(-size)]
            assert apart(ends[0], ends[1], eye) > APART
            assert apart(ends[2], ends[1], eye) > APART
            assert apart(ends[0], ends[2], eye) > APART

    @pytest.mark.parametrize("sign", ["positive", "negative", "absolute"])
    def test_sizes_grow_darker(self, eye, sign):
        lightness = seen(at(np.linspace(0, 1, 21), sign), eye)[:, 0]
        assert (np.diff(lightness) < 0).all()
        assert lightness[0] - lightness[-1] > 50

    def test_what_is_missing_is_on_no_scale(self, eye):
        for sign in ("all", "positive", "negative", "absolute"):
            for share in np.linspace(-1 if sign == "all" else 0, 1, 41):
                assert apart(MISSING, at(share, sign), eye) > APART
        text = [np.array(colour(share)) / 255 for share in np.linspace(-1, 1, 41)]
        assert min(apart(np.array(MISSING_IN_TEXTS) / 255, one, eye) for one in text) > APART
        assert min(apart(MISSING, np.full(3, grey), eye) for grey in np.linspace(0.6, 1, 9)) > APART

    def test_bars(self, eye):
        assert apart(colors.to_rgb(FOR), colors.to_rgb(AGAINST), eye) > APART

    @pytest.mark.parametrize("cycle", [COLOURS, CYCLE])
    def test_lines(self, eye, cycle):
        """The first five; markers and dashes tell the rest apart."""
        found = [colors.to_rgb(one) for one in cycle[:5]]
        pairs = [apart(a, b, eye) for i, a in enumerate(found) for b in found[:i]]
        assert min(pairs) > 10


def test_red_and_green_would_fail():
    """So the test can fail: halves of the way from white to matplotlib's red and green."""
    red, green = (np.array([1, 0.5, 0.5]), np.array([0.5, 0.75, 0.5]))
    assert apart(red, green, "full") > 60
    assert min(apart(red, green, eye) for eye in EYES) < APART


@pytest.mark.parametrize("share", np.linspace(-1, 1, 21))
def test_letters_have_contrast(share):
    """At least 4.5 to 1, as WCAG 2 asks for."""

    def luminance(rgb):
        part = np.asarray(rgb) / 255
        linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    behind = colour(float(share))
    letters = (255, 255, 255) if dark(behind) else (0, 0, 0)
    light, dim = sorted([luminance(behind), luminance(letters)], reverse=True)
    assert (light + 0.05) / (dim + 0.05) > 4.5
