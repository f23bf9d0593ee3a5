"""The classes of `captum.insights` as Captum 0.8 had them: its signatures and what it shows, written out."""

import base64
import inspect
import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image as Pictures
from torch import nn

import attrfunc as af
from attrfunc.captum import insights
from attrfunc.captum.insights.attr_vis import app, features
from attrfunc.insights.task import examples_of

EMPTY = inspect.Parameter.empty
# Of Captum 0.8.0, which is not installed.
SIGNATURES = {
    (insights.AttributionVisualizer, "__init__"): {
        "models": EMPTY,
        "classes": EMPTY,
        "features": EMPTY,
        "dataset": EMPTY,
        "score_func": None,
        "use_label_for_attr": True,
    },
    (insights.AttributionVisualizer, "render"): {"debug": True},
    (insights.AttributionVisualizer, "serve"): {"blocking": False, "debug": False, "port": None, "bind_all": False},
    (insights.AttributionVisualizer, "visualize"): {},
    (insights.Batch, "__init__"): {"inputs": EMPTY, "labels": EMPTY, "additional_args": None},
    (features.BaseFeature, "__init__"): {
        "name": EMPTY,
        "baseline_transforms": EMPTY,
        "input_transforms": EMPTY,
        "visualization_transform": EMPTY,
    },
    (features.ImageFeature, "__init__"): {
        "name": EMPTY,
        "baseline_transforms": EMPTY,
        "input_transforms": EMPTY,
        "visualization_transform": None,
    },
    (features.TextFeature, "__init__"): {
        "name": EMPTY,
        "baseline_transforms": EMPTY,
        "input_transforms": EMPTY,
        "visualization_transform": EMPTY,
    },
    (features.GeneralFeature, "__init__"): {"name": EMPTY, "categories": EMPTY},
    (features.EmptyFeature, "__init__"): {
        "name": "empty",
        "baseline_transforms": None,
        "input_transforms": None,
        "visualization_transform": None,
    },
    (features.ImageFeature, "visualize"): {"attribution": EMPTY, "data": EMPTY, "contribution_frac": EMPTY},
}


def test_signatures():
    for (kind, method), expected in SIGNATURES.items():
        found = inspect.signature(getattr(kind, method)).parameters
        assert {name: one.default for name, one in found.items() if name != "self"} == expected, (kind, method)
    assert features.FeatureOutput._fields == ("name", "base", "modified", "type", "contribution")
    fields = ("feature_outputs", "actual", "predicted", "active_index", "model_index")
    assert app.VisualizationOutput._fields == fields
    assert app.OutputScore._fields == ("score", "index", "label")


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5)).eval()


def halved(x):
    return (x - 0.5) / 0.25


def photographs(**options):
    data = torch.rand(6, 3, 12, 12, generator=torch.Generator().manual_seed(3))
    batches = [insights.Batch(data[:4], torch.arange(4)), insights.Batch(data[4:], torch.tensor([4, 0]))]
    feature = features.ImageFeature("Photo", baseline_transforms=[lambda x: x * 0], input_transforms=[halved])
    softmax = lambda output: output.softmax(1)
    made = insights.AttributionVisualizer(
        [net()], list("abcde"), [feature], **{"dataset": batches, "score_func": softmax, **options}
    )
    return made, data


def test_visualize_is_what_captum_computes():
    visualizer, data = photographs()
    found = visualizer.visualize()
    assert len(found) == 4
    model = visualizer.models[0]
    for number, (output,) in enumerate(found):
        x = halved(data[number : number + 1])
        shares, order = model(x).softmax(1)[0].topk(4)
        assert [int(one.index) for one in output.predicted] == order.tolist()
        torch.testing.assert_close(torch.stack([one.score for one in output.predicted]), shares)
        assert output.predicted[0].label == "abcde"[order[0]]
        assert output.actual == (100, number, "abcde"[number])
        assert int(output.active_index) == order[0]
        (shown,) = output.feature_outputs
        assert (shown.name, shown.type) == ("Photo", "image")
        # One feature has the whole share, of the sign of the sum.
        expected = af.ig(model, x, target=int(order[0]), n_steps=25).sum().sign()
        assert shown.contribution == pytest.approx(float(expected))
        for picture in (shown.base, shown.modified):
            assert Pictures.open(io.BytesIO(base64.b64decode(picture))).format == "PNG"
    assert len(visualizer.visualize()) == 2


def test_features_show_their_attributions():
    text = features.TextFeature("words", None, None, lambda data: [f"w{number}" for number in data[0].tolist()])
    shown = text.visualize(torch.tensor([[[1.0, 1.0], [-3.0, -1.0]]]), torch.tensor([[7, 8]]), 0.25)
    assert shown == ("words", ["w7", "w8"], [50.0, -100.0], "text", 0.25)
    general = features.GeneralFeature("row", ["age", "dose"])
    shown = general.visualize(torch.tensor([[3.0, -4.0]]), torch.tensor([[40.0, 0.126]]), -1.0)
    assert shown.base == ["age: 40.00", "dose: 0.13"]
    np.testing.assert_allclose(shown.modified, [60.0, -80.0], rtol=1e-6)
    zeros = general.visualize(torch.zeros(1, 2), torch.zeros(1, 2), 0.0)
    assert zeros.modified == [0.0, 0.0]
    empty = features.EmptyFeature().visualize(torch.ones(1), torch.ones(1), 0.5)
    assert empty == ("empty", None, None, "empty", 0.5)
    with pytest.raises(NotImplementedError):
        features.BaseFeature("base", None, None, None).visualize(None, None, 0.0)


def test_several_features_and_further_arguments():
    class Both(nn.Module):
        def forward(self, image, row, scale):
            return scale[:, None] * torch.stack([image.flatten(1).sum(1), row.sum(1), 0 * row[:, 0]], 1)

    batch = insights.Batch((torch.rand(2, 3, 4, 4), torch.rand(2, 2)), torch.tensor([0, 1]), torch.tensor([2.0, 3.0]))
    kinds = [features.ImageFeature("image", None, None), features.GeneralFeature("row", ["a", "b"])]
    visualizer = insights.AttributionVisualizer(Both(), ["x", "y", "z"], kinds, [batch])
    for (output,) in visualizer.visualize():
        assert [one.contribution for one in output.feature_outputs] == [1.0, 0.0]
    visualizer = insights.AttributionVisualizer(Both(), ["x", "y", "z"], kinds, [batch])
    with pytest.raises(af.ArgumentError, match="additional_args"):
        examples_of(visualizer.task())


def test_the_page_of_a_visualizer_draws_the_data_and_explains_what_is_transformed(tmp_path, monkeypatch):
    def endless():
        while True:
            yield insights.Batch(torch.rand(4, 3, 12, 12), torch.arange(4))

    visualizer, _ = photographs(dataset=endless())
    task = visualizer.task()
    examples = examples_of(task)
    assert len(examples) == 200
    one, model = examples[1], visualizer.models[0]
    torch.testing.assert_close(one.x[0], halved(one.shown[0]))
    request = af.insights.Request("Sequential 1", one.x, target=2, shown=one.shown)
    picture = af.insights.explain(task, request)
    assert torch.equal(picture.attributions, af.ig(model, one.x[0], target=2))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.npz").write_bytes(picture.arrays())
    names = {"model": model}
    exec(picture.code, names)
    assert torch.equal(names["attributions"], picture.attributions)
    assert (tmp_path / "picture.png").read_bytes() == picture.png()


def test_serve_starts_the_page(capsys):
    import httpx

    visualizer, _ = photographs()
    port = visualizer.serve()
    try:
        assert f"http://localhost:{port}/" in capsys.readouterr().out
        assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
    finally:
        visualizer.close()


def test_gradio_is_not_imported_before_it_is_served():
    code = (
        "import sys, attrfunc.captum.insights; print([one for one in ('gradio', 'matplotlib') if one in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"
