"""Bad input to pictures: each error names the function, the argument, what came, and a way out that works."""

import re
import subprocess
import sys

import numpy as np
import pytest
import torch

import attrfunc as af

HEAT, PHOTO = torch.randn(3, 8, 6), torch.rand(3, 8, 6)
SERIES = torch.randn(2, 30)
TABLE = torch.randn(6, 3)

BAD = {
    "positions": (
        lambda: af.viz.image(torch.randn(1, 7, 7), torch.rand(3, 224, 224), style="overlay"),
        "image: argument `attributions`: got a map of 7 x 7 positions; expected those of the image, 224 x 224",
        "af.viz.interpolate",
    ),
    "channels last": (
        lambda: af.viz.image(torch.randn(32, 24, 3)),
        "image: argument `attributions`: got a tensor of shape (32, 24, 3) and dtype torch.float32; expected (C, H, W)",
        'It looks like (H, W, C): pass channels="last" if all arguments are, or attributions.permute(2, 0, 1)',
    ),
    "photograph last": (
        lambda: af.viz.image(torch.randn(3, 32, 24), np.zeros((32, 24, 3)), style="overlay"),
        "image: argument `image`: got an array of shape (32, 24, 3) and dtype float64; expected (C, H, W)",
        "numpy.transpose(image, (2, 0, 1))",
    ),
    "channels first": (
        lambda: af.viz.image(torch.randn(3, 32, 24), channels="last"),
        "image: argument `attributions`: got a tensor of shape (3, 32, 24)",
        'pass channels="first" if all arguments are, or attributions.permute(1, 2, 0)',
    ),
    "a batch": (lambda: af.viz.image(HEAT[None]), "got a tensor of shape (1, 3, 8, 6)", "attributions[0]"),
    "a batch of photographs": (lambda: af.viz.image(HEAT, PHOTO[None]), "argument `image`", "image[0]"),
    "a vector": (lambda: af.viz.image(HEAT[0, 0]), "(C, H, W)", "Bring it into the form"),
    "sign": (lambda: af.viz.image(HEAT, sign="both"), "'both'", "'all', 'positive', 'negative', 'absolute'"),
    "style": (lambda: af.viz.image(HEAT, style="heatmap"), "'heatmap'", "'heat', 'overlay', 'masked', 'alpha'"),
    "colour map": (lambda: af.viz.image(HEAT, cmap="virdis"), "'virdis'", "viridis, "),
    "colour map of a mask": (
        lambda: af.viz.image(HEAT, PHOTO, style="masked", sign="positive", cmap="Reds"),
        "argument `cmap`: got str 'Reds'",
        'style="overlay"',
    ),
    "a mask of both signs": (lambda: af.viz.image(HEAT, PHOTO, style="alpha"), "argument `sign`", "absolute"),
    "no photograph": (lambda: af.viz.image(HEAT, style="overlay"), "argument `image`: got None", 'style="heat"'),
    "outliers": (lambda: af.viz.image(HEAT, outliers=100), "argument `outliers`: got int 100", "percent"),
    "limit": (lambda: af.viz.image(HEAT, limit=-1.0), "argument `limit`: got float -1.0", "above 0"),
    "opacity": (lambda: af.viz.image(HEAT, PHOTO, style="overlay", opacity=2), "argument `opacity`", "0 to 1"),
    "colour bar": (lambda: af.viz.image(HEAT, colorbar="left"), "argument `colorbar`: got 'left'", "'bottom'"),
    "axes": (lambda: af.viz.image(HEAT, ax=3), "argument `ax`: got int 3", "figure.subplots()"),
    "empty": (lambda: af.viz.image(torch.zeros(3, 0, 4)), "attributions`: got", "which is empty"),
    "complex": (lambda: af.viz.image(HEAT.to(torch.complex64)), "real numbers", "value.abs()"),
    "no numbers": (lambda: af.viz.image([["a", "b"]]), "argument `attributions`: got list", "numpy.ndarray"),
    "ragged": (lambda: af.viz.bars([[1.0], [1.0, 2.0]]), "argument `values`: got list", "list of numbers"),
    "meta": (lambda: af.viz.image(torch.zeros(3, 4, 4, device="meta")), "holds no numbers", "outside transforms"),
    "five channels": (lambda: af.viz.image(HEAT, torch.rand(5, 8, 6)), "got 5 channels", "image[[3, 2, 1]]"),
    "normalised": (
        lambda: af.viz.image(HEAT, PHOTO * 4 - 2),
        "argument `image`: got values from -",
        "image * std + mean",
    ),
    "photograph with NaN": (lambda: af.viz.image(HEAT, PHOTO / 0 * 0), "argument `image`", "floats from 0 to 1"),
    "grid: numbers": (
        lambda: af.viz.images({"a": [HEAT, HEAT], "b": [HEAT]}),
        "images: argument `attributions`: got numbers of maps {'a': 2, 'b': 1}",
        "each method",
    ),
    "grid: photographs": (lambda: af.viz.images({"a": [HEAT]}, [PHOTO] * 2), "got 2 photographs", "expected 1"),
    "grid: names": (lambda: af.viz.images({"a": [HEAT]}, names=["a", "b"]), "argument `names`: got 2 names", "1"),
    "grid: a map": (lambda: af.viz.images({"a": HEAT[0]}), "argument `attributions['a']`", "attributions['a'][None]"),
    "grid: one does not fit": (
        lambda: af.viz.images({"a": [HEAT, HEAT[:, :4]]}, [PHOTO, PHOTO]),
        "argument `attributions['a'][1]`: got a map of 4 x 6 positions",
        "8 x 6",
    ),
    "grid: nothing": (lambda: af.viz.images({}), "argument `attributions`", "at least one method"),
    "grid: shared": (lambda: af.viz.images({"a": [HEAT]}, shared="row"), "'row'", "'picture', 'method', 'all'"),
    "series: shape": (lambda: af.viz.series(SERIES[:, :9], SERIES), "got shape (2, 9); expected (2, 30)", "mT"),
    "series: batch": (lambda: af.viz.series(SERIES[None], SERIES[None]), "argument `series`", "series[0]"),
    "series: many channels": (
        lambda: af.viz.series(torch.ones(50, 3), torch.ones(50, 3)),
        "50 channels of 3 times",
        'channels="last"',
    ),
    "series: times": (lambda: af.viz.series(SERIES, SERIES, times=[0] * 30), "argument `times`", "increase"),
    "series: NaN": (lambda: af.viz.series(SERIES, SERIES / 0 * 0), "argument `series`", "not finite"),
    "series: names": (lambda: af.viz.series(SERIES, SERIES, names=["a"]), "argument `names`: got 1 names", "2"),
    "series: style": (lambda: af.viz.series(SERIES, SERIES, style="lines"), "'lines'", "'line'"),
    "tokens: count": (
        lambda: af.viz.tokens(["a", "b"], torch.ones(3)),
        "tokens: argument `values`: got 3 values; expected 2, as many as tokens",
        "padding",
    ),
    "tokens: embeddings": (lambda: af.viz.tokens(["a", "b"], torch.ones(2, 8)), "(2, 8)", "attributions.sum(-1)[0]"),
    "tokens: of a method": (lambda: af.viz.tokens(["a"], {"IG": [1.0, 2.0]}), "argument `values['IG']`", "1, as many"),
    "tokens: none": (lambda: af.viz.tokens([], []), "argument `tokens`: got list []", "convert_ids_to_tokens"),
    "tokens: a text": (lambda: af.viz.tokens("abc", [1.0] * 3), "argument `tokens`: got str 'abc'", "list"),
    "tokens: ids": (lambda: af.viz.tokens([1, 2], [1.0] * 2), "argument `tokens`", "tokenizer.decode([i])"),
    "tokens: no method": (lambda: af.viz.tokens(["a"], {}), "argument `values`", "at least one method"),
    "tokens: terminal": (lambda: af.viz.tokens(["a"], [1.0]).terminal(3), "terminal: argument `columns`", "10"),
    "bars: two examples": (lambda: af.viz.bars(TABLE), "argument `values`", "values[0].flatten()"),
    "bars: errors": (lambda: af.viz.bars(TABLE[0], errors=[1.0]), "argument `errors`: got shape (1,)", "(3,)"),
    "bars: negative errors": (lambda: af.viz.bars([1.0], errors=[-1.0]), "argument `errors`: got 1 negative", "sizes"),
    "bars: top": (lambda: af.viz.bars([1.0], top=0), "argument `top`: got int 0", "at least 1"),
    "bars: a name": (lambda: af.viz.bars([1.0], names="age"), "argument `names`: got str 'age'", "list of 1"),
    "convergence: order": (lambda: af.viz.convergence([4, 2], [1.0, 2.0]), "argument `counts`", "increase"),
    "convergence: sizes": (lambda: af.viz.convergence([2, 4], [1.0, -2.0]), "argument `errors`", "errors.abs()"),
    "convergence: count": (lambda: af.viz.convergence([2, 4], {"a": [1.0]}), "argument `errors['a']`", "(2, 1)"),
    "convergence: reported": (
        lambda: af.viz.convergence([2], {"a": [1.0]}, reported={"b": [1.0]}),
        "argument `reported`: got errors of ['b']",
        "'a'",
    ),
    "interactions: square": (lambda: af.viz.interactions(TABLE), "argument `pairs`", "(n, n)"),
    "interactions: batch": (lambda: af.viz.interactions(torch.ones(1, 3, 3)), "argument `pairs`", "pairs[0]"),
    "interactions: order": (
        lambda: af.viz.interactions(torch.triu(torch.ones(3, 3))),
        "argument `pairs`: got a matrix that is not symmetric",
        "(pairs + pairs.mT) / 2",
    ),
    "interactions: single": (lambda: af.viz.interactions(torch.ones(3, 3), [1.0]), "argument `single`", "(3,)"),
    "interactions: style": (lambda: af.viz.interactions(torch.ones(3, 3), style="x"), "'x'", "'matrix', 'network'"),
    "beeswarm: one example": (lambda: af.viz.beeswarm(TABLE[0]), "argument `values`", "af.viz.waterfall"),
    "beeswarm: data": (lambda: af.viz.beeswarm(TABLE, TABLE[:, :2]), "beeswarm: argument `data`", "(6, 3)"),
    "beeswarm: NaN": (lambda: af.viz.beeswarm(TABLE / 0 * 0), "18 values that are not finite", "Leave"),
    "waterfall: batch": (lambda: af.viz.waterfall(TABLE, base=0.0), "argument `values`", "values[0]"),
    "waterfall: base": (lambda: af.viz.waterfall(TABLE[0], base=[0.0, 1.0]), "argument `base`", "one finite number"),
    "waterfall: prediction": (
        lambda: af.viz.waterfall(TABLE[0], base=0.0, prediction=float("nan")),
        "argument `prediction`",
        "model(x)[0, target]",
    ),
    "dependence: feature": (
        lambda: af.viz.dependence(TABLE, TABLE, "ag", names=["age", "dose", "sex"]),
        "argument `feature`: got 'ag'",
        "'age'",
    ),
    "dependence: number": (lambda: af.viz.dependence(TABLE, TABLE, 3), "argument `feature`: got int 3", "from 0"),
    "explanation: base": (
        lambda: af.viz.explanation(TABLE, base=[0.0, 1.0]),
        "argument `base`: got shape (2,)",
        "(6,)",
    ),
    "explanation: names": (lambda: af.viz.explanation(TABLE, names=["a"]), "argument `names`: got 1 names", "3"),
    "interaction values: batch": (
        lambda: af.viz.interaction_values((torch.ones(2, 3), torch.ones(2, 3, 3))),
        "interaction_values: argument `interactions`: got shapes [(2, 3), (2, 3, 3)]",
        "tuple(part[0] for part in interactions)",
    ),
    "interaction values: index": (
        lambda: af.viz.interaction_values((torch.ones(3),), index="SV"),
        "argument `index`: got str 'SV'",
        "'k-SII'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, *told = BAD[case]
    with pytest.raises(af.ArgumentError) as caught:
        call()
    for part in told:
        assert part in str(caught.value)
    assert re.match(r"\w+: argument `[^`]+`: got .+; expected .+\. [A-Z].+", str(caught.value), re.DOTALL)


def test_the_fixes_work():
    last = HEAT.permute(1, 2, 0).repeat(2, 2, 1)  # 16 x 12
    af.viz.image(last, channels="last")
    af.viz.image(last.permute(2, 0, 1))
    af.viz.image(af.viz.interpolate(torch.randn(1, 1, 2, 2), PHOTO.shape[-2:])[0], PHOTO, style="overlay")
    pairs = torch.triu(torch.ones(3, 3))
    af.viz.interactions((pairs + pairs.mT) / 2)


def test_inside_a_transform():
    def draw(one):
        af.viz.bars(one)
        return one

    with pytest.raises(af.ArgumentError, match=r"bars: argument `values`.*Return the attributions from vmap"):
        torch.vmap(draw)(torch.ones(2, 3))


WITHOUT = """
import sys
import attrfunc as af
af.viz.image([[1.0]]), af.viz.bars([1.0]), af.viz.tokens(["a"], [1.0]).figure()
print("matplotlib.pyplot" in sys.modules)
calls = {
    "shap": lambda: af.viz.beeswarm([[1.0], [2.0]]),
    "shapiq": lambda: af.viz.interaction_values(([1.0],)),
    "matplotlib": lambda: af.viz.image([[1.0]]),
}
for name, call in calls.items():
    for module in [one for one in sys.modules if one.partition(".")[0] == name]:
        sys.modules[module] = None
    sys.modules[name] = None
    try:
        call()
    except af.AttributionError as error:
        print(error)
print(af.viz.tokens(["a"], [1.0]).plain())
"""


def test_what_is_imported_and_what_is_missing():
    """In another process: `pyplot` is not imported, and an extra that is missing is named."""
    printed = subprocess.run([sys.executable, "-c", WITHOUT], check=True, capture_output=True, text=True).stdout
    assert printed.splitlines() == [
        "False",
        "beeswarm: shap is not installed, which this needs. Install the extra: pip install 'attrfunc[shap]'.",
        "interaction_values: shapiq is not installed, which this needs. Install the extra: pip install "
        "'attrfunc[shapiq]'.",
        "image: matplotlib is not installed, which this needs. Install the extra: pip install 'attrfunc[viz]'.",
        "a (+1)",
    ]
