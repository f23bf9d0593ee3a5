"""Every kind of picture once, of numbers that are written out here: what baselines are made of.

Baselines are of the matplotlib and the shap that constraints.txt names: other versions set texts some pixels apart.
Write them anew by `PYTHONPATH=src python tests/viz/pictures.py`, and look at each of them.
"""

import functools
import io
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image

import attrfunc as af

BASELINE = Path(__file__).parent / "baseline"
DPI = 46
# Root mean square of 0 to 255, over all pixels and colours: rounding of other processors is below 1, and attributions
# of the other sign give 7 (a thin coloured curve) to 55. Fonts are not fitted to pixels, since that moves all else.
TOLERANCE = 4.0


def bump(height, width, across, up):
    """A hill at a place from -1 to 1."""
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    return np.exp(-6 * ((x - across) ** 2 + (y - up) ** 2))


def heat():
    """For at the upper left, against at the lower right, and one pixel far out."""
    found = bump(24, 24, -0.4, -0.4) - 0.6 * bump(24, 24, 0.5, 0.5)
    found[1, 22] = 5.0
    return torch.tensor(found)


def photo():
    """Stripes in three colours."""
    y, x = np.mgrid[:24, :24]
    return torch.tensor(np.stack([(x // 4) % 2, (y // 6) % 2, (x + y) / 46]) * 0.9)


def waves():
    t = torch.linspace(0, 6, 40)
    series = torch.stack([t.sin(), 2 * (1.5 * t).cos()])
    return series * (-((t - 3) ** 2) / 3).exp(), series, t


def table():
    x = torch.tensor(np.sin(np.arange(160.0).reshape(40, 4) ** 1.3))
    return x * torch.tensor([3.0, -2.0, 1.0, 0.5]) + x * x.flip(1), x


def pairs():
    found = torch.tensor([[0, 2, -1, 0.5], [2, 0, 0.25, -2], [-1, 0.25, 0, 0], [0.5, -2, 0, 0]])
    return found, torch.tensor([1.0, -2.5, 0.5, 0.0])


NAMES = ["age", "dose", "blood pressure", "site"]
TOKENS = ["[CLS]", "un", "##believ", "##able", "<b>", "story", "&", "a", "rather", "dull", "film", "[SEP]"]
VALUES = [0.0, 0.3, 0.4, 0.1, 0.0, 0.05, 0.0, 0.0, -0.3, -1.0, -0.1, float("nan")]


def series(style):
    values, curves, times = waves()
    return af.viz.series(values, curves, style=style, times=times, names=["flow", "pressure"], unit="nats", title=style)


def images():
    maps = {"saliency": [heat(), heat().T], "integrated gradients": [-heat(), heat().flip(0)]}
    return af.viz.images(maps, [photo(), photo().flip(2)], names=["first", "second"], title="Two methods")


PICTURES = {
    "image_heat": lambda: af.viz.image(heat(), title="heat", unit="nats"),
    "image_overlay": lambda: af.viz.image(heat(), photo(), style="overlay", sign="absolute", colorbar="bottom"),
    "image_masked": lambda: af.viz.image(heat(), photo(), style="masked", sign="positive"),
    "image_alpha": lambda: af.viz.image(heat(), photo(), style="alpha", sign="negative"),
    "images": images,
    "series_overlay": functools.partial(series, "overlay"),
    "series_combined": functools.partial(series, "combined"),
    "series_line": functools.partial(series, "line"),
    "tokens": lambda: af.viz.tokens(TOKENS, VALUES, title="A review", words=True, unit="nats").figure(),
    "bars": lambda: af.viz.bars([1.0, -2.0, 0.5, 0.1, 0.2, -0.4], errors=[0.2] * 6, top=3, title="bars", unit="nats"),
    "convergence": lambda: af.viz.convergence(
        [4, 8, 16, 32],
        {"sampling": [[0.5, 0.4, 0.6], [0.3, 0.2, 0.4], [0.2, 0.1, 0.3], [0.1, 0.1, 0.2]], "exact": [0.1, 0.01, 0, 0]},
        reported={"sampling": [0.4, 0.3, 0.2, 0.1]},
        title="convergence",
    ),
    "interactions_matrix": lambda: af.viz.interactions(*pairs(), names=NAMES, unit="nats", title="matrix"),
    "interactions_network": lambda: af.viz.interactions(*pairs(), names=NAMES, style="network", title="network"),
    "beeswarm": lambda: af.viz.beeswarm(*table(), names=NAMES, top=3, title="beeswarm"),
    "waterfall": lambda: af.viz.waterfall(
        [1.0, -2.0, 0.5, 0.25], base=0.5, prediction=1.0, data=[50, 0.2, 3, 4], names=NAMES, title="waterfall"
    ),
    "dependence": lambda: af.viz.dependence(*table(), "age", color="site", names=NAMES, title="dependence"),
}


def draw(name):
    """The bytes of a PNG, whatever the user's settings are."""
    stream = io.BytesIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"text.hinting": "none", "font.family": "DejaVu Sans"})
        PICTURES[name]().savefig(stream, dpi=DPI, format="png")
    return stream.getvalue()


def write(folder=BASELINE):
    for name in PICTURES:
        drawn = Image.open(io.BytesIO(draw(name))).convert("RGB")
        drawn.save(folder / f"{name}.png", optimize=True)


if __name__ == "__main__":
    write()
